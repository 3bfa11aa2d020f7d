"""How often does a goal hold on test data, and is what probes predict any good?

    python tools/study_goals.py --config.pruning.goal="accuracy>=dense-0.5" --seeds=0,1,2 \
        --workdir=runs/goals --output=results/family/goals

For each seed a run with the goal; the same command continues what was interrupted. Writes
`study.json` and its table, `README.md`, into the output directory.
"""

import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from tf_earlyticket.commands import command_line
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json, write_json, write_text
from tf_earlyticket.job.build import goal_of
from tf_earlyticket.pruning.goals import Measured, parse_goal

_COLUMNS = (
    *("seed", "goal met on held-out data", "ticket", "tickets trained", "dense, test (%)"),
    *("ticket, test (%)", "met on test data", "epochs"),
)


def one_seed(report: dict) -> dict:
    """Returns what is kept of a family's report: the goal, and each trained ticket."""
    goal = report["goal"]
    members = {member["goal"]: member for member in report["family"]}
    chosen = Path(goal["ticket"]).parts[1]
    dense = report["dense"]["test_accuracy"]
    return {
        "met": goal["met"],
        "ticket": chosen,
        "dense_test_accuracy": dense,
        "test_accuracy": members[chosen]["test_accuracy"],
        "total_epochs": report["cost"]["total_epochs"],
        "dense_validation_accuracy": goal["dense_validation_accuracy"],
        "candidates": goal["candidates"],
        "trained": {
            name: {key: each[key] for key in ("start_epoch", "test_accuracy", "sparsity", "bytes")}
            for name, each in members.items()
        },
    }


def kept(path: Path, about: dict) -> dict:
    """Returns the study in a file, to which seeds are added; a new one if it is of something else.

    Args:
        path: Of the file, which may not be there.
        about: What the page says that all its seeds have.
    """
    study = read_json(path) if path.exists() else {}
    same = all(study.get(name) == value for name, value in about.items())
    return study if same else {"seeds": {}}


def page(study: dict) -> str:
    """Returns the study's page in Markdown."""
    goal, seeds = parse_goal(study["goal"]), study["seeds"]
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + " --- |" * len(_COLUMNS)]
    held = 0
    for seed, each in seeds.items():
        on_test = Measured(each["test_accuracy"], each["dense_test_accuracy"])
        held += (holds := not goal.missed(on_test))
        cells = [
            seed,
            "yes" if each["met"] else "no",
            each["ticket"],
            ", ".join(each["trained"]),
            f"{100 * each['dense_test_accuracy']:.2f}",
            f"{100 * each['test_accuracy']:.2f}",
            "yes" if holds else "no",
            f"{each['total_epochs']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    errors = [
        (each["validation_accuracy"] - each["predicted_accuracy"])
        for seed in seeds.values()
        for each in seed["candidates"]
        if None not in (each["validation_accuracy"], each["predicted_accuracy"])
    ]
    text = (
        f"# The goal {study['goal']}: {study['data']}, {study['model']}\n\n"
        f"    {study['command']}\n\n"
        + "\n".join(lines)
        + f"\n\nOn test data it holds in {held} of {len(seeds)} runs."
    )
    if not errors:
        return f"{text}\n"
    return (
        f"{text} What was predicted of the "
        f"{len(errors)} tickets that were trained was off by "
        f"{100 * statistics.mean(map(abs, errors)):.2f} points of held-out accuracy in the mean, "
        f"{100 * max(map(abs, errors)):.2f} at most; tickets were better than predicted by "
        f"{100 * statistics.mean(errors):.2f} points in the mean.\n"
    )


def main(argv: Sequence[str]) -> None:
    """Makes or continues the study."""
    values = flags.FLAGS
    config = command_line.checked_config(argv)
    seeds = command_line.numbers("seeds", values.seeds)
    goal = goal_of(config.pruning)
    if goal is None or not goal.of_accuracy:
        raise InputError(f"config.pruning.goal={config.pruning.goal!r}: expected one of accuracy.")
    command_line.import_tensorflow()
    import tf_earlyticket as et
    from tf_earlyticket.report.report import environment

    workdir, output = Path(values.workdir), Path(values.output)
    path = output / "study.json"
    about = {
        "goal": config.pruning.goal,
        "data": config.data.name,
        "model": config.model.name,
    }
    study = kept(path, about)
    for seed in seeds:
        config.seed = seed
        report = et.train_family(config, workdir / f"seed{seed}", data_dir=values.data_dir)
        study["seeds"][str(seed)] = one_seed(report)
        study |= about | {
            "config": config.to_dict() | {"seed": None},
            "command": shlex.join(["python", "tools/study_goals.py", *sys.argv[1:]]),
            "environment": environment("one_device", 1),
        }
        write_json(path, study)
        write_text(output / "README.md", page(study))


def define_flags() -> None:
    """Defines the flags."""
    command_line.define_common_flags()
    flags.DEFINE_string("workdir", "runs/goals", "Directory of the runs")
    flags.DEFINE_string("output", "results/family/goals", "Directory of the results")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the runs")


if __name__ == "__main__":
    command_line.run_program(define_flags, main)
