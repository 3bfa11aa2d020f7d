"""Is what probes predict of a ticket any good? Against what it reached, beside two baselines.

    python tools/study_predictions.py --config.pruning.final_sparsity=0.5,0.8,0.9,0.95 \
        --seeds=0,1,2 --workdir=runs/predictions/digits_resnet20 --into=docs/choosing.md

For each seed a family of tickets; the same command continues what was interrupted. Writes
`DATA_NETWORK.json` into the output directory and, with --into, what all studies there say between
the markers `<!-- predictions:begin -->` and `<!-- predictions:end -->` of that document. A loss is
the dense network's accuracy less the ticket's, a fraction.
"""

import csv
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pages
from absl import flags
from collect_results import insert
from scipy import stats

import tf_earlyticket as et
from tf_earlyticket import checks
from tf_earlyticket.commands import command_line
from tf_earlyticket.config import Config
from tf_earlyticket.files import read_json, write_json
from tf_earlyticket.job.build import family_of
from tf_earlyticket.job.family import last_loss
from tf_earlyticket.paper.update_study import difference_text, interval, planned_probe_epochs
from tf_earlyticket.report.report import Report, environment

RESULTS = Path(__file__).resolve().parents[1] / "results" / "family" / "predictions"
# What is compared with the outcome, by the name in the JSON.
GUESSES = {
    "probe": "the last probe",
    "pruned": "just after pruning, without retraining",
    "other_seeds": "one number: the other seeds' mean",
    "other_networks": "one number: the other networks' mean",
}
# Of these by the ticket's own run, as "probe_loss" and "pruned_loss".
OWN = ("probe", "pruned")
# Goals go by held-out data.
DATA = ("validation", "test")
# A prediction is taken at its word where it is off by no more, with its interval; a fraction.
TRUSTED = 0.01


def outcome(seed: int, goal: str, report: Report, rows: Sequence[Mapping[str, str]]) -> dict:
    """Returns what was predicted of a ticket, and what it reached.

    Args:
        seed: Of the family.
        goal: Of the ticket, such as "0.8".
        report: Of its run, with the dense network.
        rows: Of the run's `metrics.csv`.
    """
    seen = report.probe
    probes = [
        accuracies
        for accuracies in zip(
            seen.dense_accuracy, seen.pruned_accuracy, seen.ppr_accuracy, strict=True
        )
        if None not in accuracies
    ]
    of_dense = {row["phase"] == "dense": float(row["val_accuracy"]) for row in rows}
    return {
        "seed": seed,
        "goal": goal,
        "start_epoch": report.start_epoch,
        "probe_loss": last_loss((dense, retrained) for dense, _, retrained in probes),
        "pruned_loss": last_loss((dense, pruned) for dense, pruned, _ in probes),
        "validation_accuracy": of_dense[False],
        "dense_validation_accuracy": of_dense[True],
        "test_accuracy": report.ticket.test_accuracy,
        "dense_test_accuracy": report.dense.test_accuracy,
    }


def _loss(ticket: Mapping, data: str) -> float:
    return ticket[f"dense_{data}_accuracy"] - ticket[f"{data}_accuracy"]


def _guesses(
    name: str, tickets: Sequence[Mapping], elsewhere: Sequence[Mapping], data: str
) -> np.ndarray:
    """Returns the loss of each ticket as one of `GUESSES` has it; NaN where it says nothing."""
    found = []
    for own in tickets:
        others = elsewhere
        if name == "other_seeds":
            others = [each for each in tickets if each["seed"] != own["seed"]]
        losses = [_loss(each, data) for each in others if each["goal"] == own["goal"]]
        found.append(own[f"{name}_loss"] if name in OWN else np.mean(losses) if losses else None)
    return np.array(found, float)


def _correlation(pairs: np.ndarray) -> float:
    """Returns Spearman's of guesses and losses [tickets, 2]; NaN where all of either are equal."""
    return stats.spearmanr(*pairs.T).statistic if np.ptp(pairs, axis=0).all() else np.nan


def _over_seeds(
    name: str,
    seeds: np.ndarray,
    values: np.ndarray,
    of_seed: Callable[[np.ndarray], float] = np.mean,
) -> dict[str, float | None]:
    """Returns the mean over the seeds of what is made of a seed's values, with its interval.

    Args:
        name: Of the mean; with "_low" and "_high" of the 95 % bootstrap interval.
        seeds: Of each ticket.
        values: [tickets, ...], NaN where there is none.
        of_seed: Makes one value of those of a seed; NaN where it cannot.
    """
    known = np.isfinite(values).reshape(len(seeds), -1).all(axis=1)
    made = [float(of_seed(values[known & (seeds == seed)])) for seed in np.unique(seeds[known])]
    made = [value for value in made if np.isfinite(value)]
    low, high = interval(made) or (None, None)
    mean = float(np.mean(made)) if made else None
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def summarize(tickets: Sequence[Mapping], elsewhere: Sequence[Mapping] = ()) -> dict:
    """Returns how near each of `GUESSES` comes to the losses of a network's tickets.

    Args:
        tickets: Each as of `outcome`.
        elsewhere: Those of other networks.

    Returns:
        By "validation" and "test", and by name of the guess: "tickets", of how many it says
        something; means over the seeds of "error", the mean absolute error of a seed's tickets, of
        "correlation", Spearman's of the tickets of a seed, and of "beyond_probe", by how much the
        error is larger than the probe's of the same tickets, each with "_low" and "_high". And as
        "by_goal", of the probe and held-out data: "error" again, and "better", what tickets lost
        less than was said. None where there is no value, or no interval of a single seed.
    """
    seeds, goals = (np.array([own[key] for own in tickets]) for key in ("seed", "goal"))
    found: dict = {}
    for data in DATA:
        lost = np.array([_loss(own, data) for own in tickets])
        guesses = {name: _guesses(name, tickets, elsewhere, data) for name in GUESSES}
        errors = {name: np.abs(guess - lost) for name, guess in guesses.items()}
        found[data] = {
            name: {
                "tickets": int(np.isfinite(guess).sum()),
                **_over_seeds("error", seeds, errors[name]),
                **_over_seeds("correlation", seeds, np.stack([guess, lost], 1), _correlation),
                **_over_seeds("beyond_probe", seeds, errors[name] - errors["probe"]),
            }
            for name, guess in guesses.items()
        }
    found["by_goal"] = {}
    lost = np.array([_loss(own, "validation") for own in tickets])
    better = _guesses("probe", tickets, elsewhere, "validation") - lost
    for goal in dict.fromkeys(goals[np.isfinite(better)].tolist()):
        own = goals == goal
        found["by_goal"][goal] = {
            **_over_seeds("error", seeds[own], np.abs(better[own])),
            **_over_seeds("better", seeds[own], better[own]),
        }
    return found


def keep(study: Mapping, name: str, results: Path = RESULTS) -> None:
    """Writes a study, and into all of them what they say now that it is one of them."""
    results.mkdir(parents=True, exist_ok=True)
    write_json(results / f"{name}.json", study)
    known = studies(results)
    for own, each in known.items():
        elsewhere = [
            ticket for other in known if other != own for ticket in known[other]["tickets"]
        ]
        summary = summarize(each["tickets"], elsewhere)
        write_json(results / f"{own}.json", {**each, "summary": summary})


def studies(results: Path = RESULTS) -> dict[str, dict]:
    """Returns the kept studies by name."""
    return {path.stem: read_json(path) for path in sorted(results.glob("*.json"))}


def section(results: Path = RESULTS) -> str:
    """Returns what the kept studies say, in Markdown; nothing where there is none."""
    known = studies(results)
    if not known:
        return ""
    filters = {"points": points, "share": share, "versus": versus, "verdict": verdict}
    return pages.render(
        "predictions.md.jinja", filters, studies=known, guesses=GUESSES, trusted=100 * TRUSTED
    )


def points(row: Mapping, name: str = "error") -> str:
    """Returns an error in points, with its interval."""
    return difference_text(row, name).replace("+", "")


def share(row: Mapping, name: str = "correlation") -> str:
    """Returns a correlation, with its interval."""
    values = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
    if values[0] is None:
        return "-"
    mean, *ends = (f"{value:.2f}" for value in values if value is not None)
    return f"{mean} ({ends[0]} to {ends[1]})" if ends else mean


def versus(summary: Mapping) -> str:
    """Returns which other guesses are farther off than the probe and which are nearer, in words.

    Of the same tickets each, on held-out data.
    """
    farther, nearer, alike = [], [], []
    for name, words in GUESSES.items():
        row = summary["validation"][name]
        if name == "probe" or row["beyond_probe_low"] is None:
            continue
        farther += [words] * (row["beyond_probe_low"] > 0)
        nearer += [words] * (row["beyond_probe_high"] < 0)
        alike += [words] * (row["beyond_probe_low"] <= 0 <= row["beyond_probe_high"])
    said = {"nearer than": farther, "farther off than": nearer, "not to be told from": alike}
    return " ".join(
        f"Probes are {words} {'; '.join(names)}." for words, names in said.items() if names
    )


def verdict(summary: Mapping) -> str:
    """Returns for which goals a prediction may be trusted, in words; of one seed, nothing."""
    goals = summary["by_goal"]
    if any(row["error_high"] is None for row in goals.values()):
        return "One seed does not tell whether to trust it."
    trusted = [goal for goal, row in goals.items() if row["error_high"] <= TRUSTED]
    words = f"To be trusted for {_listed(trusted)}" if trusted else "To be trusted for no goal"
    others = [
        f"`{goal}`, off by {points(row)} points ({100 * abs(row['better']):.2f} "
        f"{'less' if row['better'] > 0 else 'more'} lost than predicted, in the mean)"
        for goal, row in goals.items()
        if goal not in trusted
    ]
    return f"{words}; not for {', '.join(others)}." if others else f"{words}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def check(config: Config) -> None:
    """Checks that a config is one of a family whose tickets are predicted.

    Raises:
        InputError: If not.
    """
    pruning = config.pruning
    if pruning.goal is not None:
        expected = "None: which tickets are trained would depend on the predictions"
        raise checks.refuse("config.pruning.goal", pruning.goal, expected)
    members = family_of(config)
    if not members:
        expected = "several, such as 0.5,0.8,0.9,0.95"
        raise checks.refuse("config.pruning.final_sparsity", pruning.final_sparsity, expected)
    if not any(map(planned_probe_epochs, members.values())):
        expected = "a detector that makes probes"
        raise checks.refuse("config.probe.detector", config.probe.detector, expected)


def define_flags() -> None:
    """Defines the flags."""
    command_line.define_common_flags()
    flags.DEFINE_string("workdir", "runs/predictions", "Directory of the runs")
    flags.DEFINE_string("output", str(RESULTS), "Directory of the results")
    flags.DEFINE_string("into", None, "Document that gets what came out between its markers")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the families")


def main(argv: Sequence[str]) -> None:
    """Makes or continues the families, and keeps what is finished after each."""
    values = flags.FLAGS
    config = command_line.checked_config(argv)
    check(config)
    config.train.dense_baseline = True
    command_line.import_tensorflow()
    command = " ".join(["python", "tools/study_predictions.py", *sys.argv[1:]])
    name = f"{config.data.name}_{config.model.name}"
    seeds, tickets = command_line.numbers("seeds", values.seeds), []
    for seed in seeds:
        config.seed, workdir = seed, Path(values.workdir) / f"seed{seed}"
        found = et.train_family(config, workdir, data_dir=values.data_dir, strategy=values.strategy)
        for member in found["family"]:
            run = (workdir / member["ticket"]).parent
            with open(run / "metrics.csv", newline="") as file:
                rows = list(csv.DictReader(file))
            report = Report.read(run / "report.json")
            tickets.append(outcome(seed, member["goal"], report, rows))
        study = {
            "command": re.sub(r"--data_dir=\S+", "--data_dir=DIR", command),
            "config": config.to_dict() | {"seed": None},
            "environment": environment(values.strategy, 1),
            "planned_seeds": list(seeds),
            "tickets": tickets,
        }
        keep(study, re.sub(r"\W", "-", name), Path(values.output))
    if values.into:
        insert(section(Path(values.output)), Path(values.into), "predictions")


if __name__ == "__main__":
    command_line.run_program(define_flags, main)
