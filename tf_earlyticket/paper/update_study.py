"""Which way to prune gives the best ticket for the epochs spent? Each is a run of the main job.

All spend the same epochs, probes counted: a run with probes trains for as many fewer epochs as its
plan has probes for at most, and its learning rate drops at the same parts of the training. Without
another start, pruning starts in the first third of the epochs in which it can. The dense networks
are runs at sparsity 0, one a seed, which all others are compared with.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.config import Config, config_from_dict
from tf_earlyticket.detectors.base import make_detector, makes_probes
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json, write_csv, write_json
from tf_earlyticket.job.build import dataset_spec, plan_of, shape_of
from tf_earlyticket.job.preflight import check_config, check_run
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.paper.item import Cell, check_seeds
from tf_earlyticket.paper.table4 import iterative_pruning
from tf_earlyticket.report import drawing
from tf_earlyticket.report.report import Report, environment
from tf_earlyticket.tickets.ticket import Ticket

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Values that depend on the epochs of the config.
_TWO_THIRDS, _HALF = "after two thirds", "half of the epochs"
# What variants are made of: the fields of the config that each part sets.
PARTS: dict[str, dict[str, Any]] = {
    "shrink": {"pruning.update": "shrink"},
    "regrow": {"pruning.update": "regrow"},
    "feather": {"pruning.update": "regrow(threshold='feather')"},
    "alternate": {"pruning.update": "alternate"},
    "swap": {"pruning.update": "swap"},
    "cubic": {"pruning.schedule": "cubic"},
    "linear": {"pruning.schedule": "linear"},
    "one_cycle": {"pruning.schedule": "one_cycle"},
    "one_shot": {"pruning.schedule": "one_shot"},
    "long_ramp": {"pruning.ramp_epochs": _HALF},
    "restart": {"train.restart": True},
    "cosine": {"train.schedule": "cosine"},
    "distilled": {"train.distillation": 1.0},
    "layerwise": {"pruning.ranking": "layerwise"},
    "erk": {"pruning.ranking": "erk"},
    "lamp": {"pruning.ranking": "lamp"},
    "taylor": {"pruning.ranking": "global(score='taylor')"},
    "movement": {"pruning.ranking": "global(score='movement')"},
    "wanda": {"pruning.ranking": "global(score='wanda')"},
    "ppr": {"probe.detector": "ppr_saturation"},
    "mask_distance": {"probe.detector": "mask_distance"},
    # The epochs in which pruning can start: two thirds of them, then the last.
    "two_thirds": {"probe.detector": _TWO_THIRDS},
    "late": {"probe.detector": "fixed_epoch"},
}
# Controls that stand alone: random masks with the first variant's layer rates, trained from the
# initial weights, and iterative pruning, which takes many times the epochs.
RANDOM_MASKS, ITERATIVE = "random_masks", "iterative"
_DENSE, _DENSE_RESTART = "dense", "dense+restart"
_ALONE: dict[str, dict[str, Any]] = {
    _DENSE: {},
    _DENSE_RESTART: PARTS["restart"],
    RANDOM_MASKS: {},
    ITERATIVE: {},
}
_PLAIN = {
    "pruning.update": "shrink",
    "pruning.schedule": "cubic",
    "pruning.shrink_after_ramp": False,
    "train.restart": False,
    "train.distillation": 0.0,
}
DEFAULT_VARIANTS = (
    *("shrink", "regrow", "feather", "alternate", "swap", "one_cycle", "restart", "ppr", "late"),
    RANDOM_MASKS,
)
_PRUNE_FRACTION = 0.2
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Outcome:
    """What a run of a study came to.

    Attributes:
        variant: Parts joined by "+", or a control.
        goal: Final sparsity that was asked for, a fraction; 0 of dense networks.
        seed: Of the run.
        test_accuracy: A fraction.
        sparsity: Reached, a fraction.
        start_epoch: Epoch (from 1) at whose end pruning started; 0: it began with the training;
            None: there was no start.
        train_epochs: Passes over the training set in training.
        probe_epochs: The same in probes.
    """

    variant: str
    goal: float
    seed: int
    test_accuracy: float
    sparsity: float
    start_epoch: int | None
    train_epochs: float
    probe_epochs: float = 0.0


def fields_of(variant: str) -> dict[str, Any]:
    """Returns the fields of the config that a variant sets, by their paths.

    Args:
        variant: A control, or `PARTS` joined by "+".

    Raises:
        InputError: If a part is unknown, or two of them set the same field.

    Example:
        >>> fields_of("swap+restart")
        {'pruning.update': 'swap', 'train.restart': True}
    """
    if variant in _ALONE:
        return {**_PLAIN, **_ALONE[variant]}
    fields: dict[str, Any] = {}
    for part in variant.split("+"):
        checks.choice("variants", part, [*PARTS, RANDOM_MASKS, ITERATIVE])
        if part not in PARTS or fields.keys() & PARTS[part]:
            expected = "parts that set different fields; controls stand alone"
            raise checks.refuse("variants", variant, expected)
        fields |= PARTS[part]
    return fields


def config_of(config: Config, variant: str, sparsity: float, seed: int = 0) -> Config:
    """Returns the config of a variant's run, which spends at most the epochs of `config`.

    Args:
        config: Of the dense network; its epochs are what each run may spend.
        variant: As for `fields_of`.
        sparsity: Final one, a fraction.
        seed: Of the run.

    Raises:
        InputError: If a part is unknown, or the epochs do not suffice.
    """
    fields, plain = fields_of(variant), config
    if fields.get("pruning.ramp_epochs") == _HALF:
        ramp = {"pruning.ramp_epochs": config.train.epochs // 2}
        fields, plain = fields | ramp, _with(config, ramp)
    latest = plan_of(plain).latest_start_epoch
    if fields.get("probe.detector") == _TWO_THIRDS:
        fields["probe.detector"] = f"fixed_epoch(epoch={max(1, 2 * latest // 3)})"
    fields |= {"pruning.final_sparsity": sparsity, "pruning.rewind_epoch": 0}
    fields["train.dense_baseline"] = False
    if variant.startswith(_DENSE):
        fields["pruning.initial_sparsity"] = 0.0
    made = _with(config, fields)
    made.seed = seed
    at_once = shape_of(made.pruning).from_first_step
    if at_once and "probe.detector" in fields:
        expected = "no start with a schedule over the whole training"
        raise checks.refuse("variants", variant, expected)
    if "probe.detector" not in fields:
        made.probe.detector = (
            "fixed_epoch" if at_once else f"fixed_epoch(epoch={max(1, latest // 3)})"
        )
    return within_budget(made)


def _with(config: Config, fields: Mapping[str, Any]) -> Config:
    made = config_from_dict(config.to_dict())
    for path, value in fields.items():
        section, _, field = path.partition(".")
        setattr(getattr(made, section), field, value)
    return made


def within_budget(config: Config) -> Config:
    """Returns a config with as many epochs as leave room for its probes within those it has.

    Epochs at which the learning rate drops move with them. Counted are all probes that the plan
    allows; fewer are made where the detector decides before the latest epoch.

    Raises:
        InputError: If the epochs do not suffice for any.
    """
    budget, drops = config.train.epochs, config.train.drop_epochs
    for epochs in range(budget, 0, -1):
        moved = sorted({max(1, round(drop * epochs / budget)) for drop in drops})
        fields = {"train.epochs": epochs, "train.drop_epochs": tuple(moved)}
        shorter = config if epochs == budget else _with(config, fields)
        if epochs + planned_probe_epochs(shorter) <= budget:
            return shorter
    raise checks.refuse("config.train.epochs", budget, "more of them, with probes counted")


def planned_probe_epochs(config: Config) -> float:
    """Returns what the probes of a config's run can cost at most, in epochs."""
    plan = plan_of(config)
    detector = make_detector(config.probe.detector, max(1, plan.latest_start_epoch))
    if not makes_probes(detector):
        return 0.0
    return len(plan.probe_epochs) * plan.probe_steps / plan.steps_per_epoch


def study_updates(
    config: Config,
    workdir,
    *,
    variants: Sequence[str] = DEFAULT_VARIANTS,
    sparsities: Sequence[float],
    seeds: Sequence[int],
    data_dir=None,
    strategy: str = "auto",
    command: str = "",
    finished_only: bool = False,
    dense_from=None,
    tell: Callable[[str], None] = print,
) -> dict:
    """Trains every variant at every sparsity with every seed, and compares them.

    Continues what an earlier call left in `workdir`; nothing finished is trained twice.

    Args:
        config: Of the dense network; `train.epochs` is what each run may spend, probes counted.
        workdir: Each run is in `SPARSITY/VARIANT/seedN` there, a directory as of the main job.
        variants: As for `fields_of`; the first is what the others are compared with.
        sparsities: Final ones, fractions in (0, 1).
        seeds: At least one; runs of one seed begin with the same weights.
        data_dir: Where TFDS data sets lie.
        strategy: Devices, see `make_strategy`.
        command: Command line that repeats it, for its results.
        finished_only: Train nothing; use the runs that are finished.
        dense_from: `study.json` of another study whose dense networks are not trained again.
        tell: Gets a line before each run.

    Returns:
        The content of `study.json`.

    Raises:
        InputError: Before any work, for an argument that cannot be used.
    """
    check_arguments(config, variants, sparsities, seeds, data_dir, strategy)
    check_run(config, data_dir, strategy)
    workdir, outcomes = Path(workdir), []
    runs = list(_runs(variants, sparsities, seeds))
    if dense_from is not None:
        for seed, accuracy in dense_of(Path(dense_from), config, seeds).items():
            epochs = config.train.epochs
            outcomes.append(Outcome(_DENSE, 0.0, seed, accuracy, 0.0, None, epochs))
        runs = [run for run in runs if run[0] != _DENSE]
    for number, (variant, sparsity, seed) in enumerate(runs, start=1):
        place = workdir / f"{sparsity:g}" / variant / f"seed{seed}"
        made = config_of(config, variant, sparsity, seed)
        if not finished_only:
            tell(f"[{number}/{len(runs)}] {variant} at {drawing.percent(sparsity)}, seed {seed}")
            if variant == RANDOM_MASKS:
                first = place.parents[1] / variants[0] / place.name
                made.ticket = str(_random_ticket(first, seed))
            _train(made, place, data_dir, strategy)
        if RunPaths(place).report.exists():
            report = Report.read(RunPaths(place).report)
            outcomes.append(_outcome(report, variant, sparsity, seed))
    if ITERATIVE in variants:
        arguments = (data_dir, strategy, finished_only, tell)
        outcomes += _iterative(config, workdir / ITERATIVE, sparsities, seeds, *arguments)
    study = {
        "schema_version": 1,
        "command": command,
        "config": config.to_dict(),
        "environment": environment(strategy, 1),
        "test_examples": dataset_spec(config).test_examples,
        "dense_from": None if dense_from is None else str(dense_from),
        "variants": list(variants),
        "outcomes": [vars(outcome) for outcome in outcomes],
        "summary": summarize_variants(outcomes, variants),
    }
    rows = [{**row, "start_epochs": _listed(row["start_epochs"])} for row in study["summary"]]
    write_csv(workdir / "study.csv", rows, list(rows[0]) if rows else [])
    drawing.save(draw_differences(study), workdir / "figures" / "differences.png")
    # Last: it stands for the others.
    write_json(workdir / "study.json", study)
    return study


def dense_of(study: Path, config: Config, seeds: Sequence[int]) -> dict[int, float]:
    """Returns test accuracies of a study's dense networks, fractions, if its recipe is this one.

    Args:
        study: `study.json` of a study of channels, detectors or updates.
        config: Whose data, network and training have to be those of the study.
        seeds: Of the networks.

    Raises:
        InputError: The file is no study, a seed is missing, or the recipe differs.
    """
    found = read_json(study)
    there = config_from_dict(found["config"])
    there.train.dense_baseline = config.train.dense_baseline
    for part in ("data", "model", "train"):
        if getattr(there, part) != getattr(config, part):
            raise InputError(f"--dense_from={study}: expected the same config.{part}.")
    if "outcomes" in found:
        runs = [Outcome(**outcome) for outcome in found["outcomes"]]
        dense = {run.seed: run.test_accuracy for run in runs if run.variant == _DENSE}
    else:
        dense = {
            int(seed): run["dense"] if "dense" in run else run["dense_test_accuracy"]
            for seed, run in found["seeds"].items()
        }
    if not dense.keys() >= {*seeds}:
        raise InputError(f"--dense_from={study}: expected each of the seeds {[*seeds]} in it.")
    return {seed: dense[seed] for seed in seeds}


def check_arguments(
    config: Config,
    variants: Sequence[str],
    sparsities: Sequence[float],
    seeds: Sequence[int],
    data_dir=None,
    strategy: str = "auto",
) -> None:
    """Checks the arguments of `study_updates`, each run's config included.

    Raises:
        InputError: For the first that cannot be used.
    """
    check_seeds(seeds)
    if strategy == "multi_worker":
        expected = "another one: machines share a study by seeds or variants"
        raise checks.refuse("strategy", strategy, expected)
    if not sparsities or len(set(sparsities)) < len(sparsities):
        raise checks.refuse("sparsities", list(sparsities), "different fractions in (0, 1)")
    for sparsity in sparsities:
        checks.number("sparsities", sparsity, above=0, below=1)
    pruning = config.pruning
    if config.ticket or pruning.family or pruning.goal or pruning.target:
        expected = "none of ticket, family, goal and target: the study sets the sparsity"
        raise checks.refuse("config", config.run_name(), expected)
    checks.choice("config.pruning.mode", pruning.mode, ["continue"])
    if not variants or len(set(variants)) < len(variants) or variants[0] in _ALONE:
        expected = "different names, the first of them no control"
        raise checks.refuse("variants", list(variants), expected)
    if {_DENSE, _DENSE_RESTART} & {*variants}:
        raise checks.refuse("variants", list(variants), "others than dense, which is always there")
    made: dict[str, str] = {}
    for variant in variants:
        # What cannot be trained is refused now, not after hours.
        own = config_of(config, variant, sparsities[0])
        with checks.prefixed(f"variants={variant!r}: "):
            check_config(own, data_dir)
        same = None if variant in _ALONE else made.setdefault(own.run_name(), variant)
        if same not in (None, variant):
            raise checks.refuse("variants", variant, f"another config than that of {same!r}")


def _runs(
    variants: Sequence[str], sparsities: Sequence[float], seeds: Sequence[int]
) -> Iterable[tuple[str, float, int]]:
    """Yields variant, sparsity and seed of the runs that are needed, the dense ones first.

    All seeds of a cell come before the next cell: a study cut short still has means.
    """
    restarts = any(fields_of(variant).get("train.restart") for variant in variants)
    for variant in (_DENSE, _DENSE_RESTART)[: 1 + restarts]:
        for seed in seeds:
            yield variant, 0.0, seed
    for sparsity in sparsities:
        for variant in variants:
            if variant != ITERATIVE:
                for seed in seeds:
                    yield variant, sparsity, seed


def _train(config: Config, place: Path, data_dir, strategy: str) -> None:
    # TensorFlow, which what is decided here does not need.
    from tf_earlyticket.job.job import train_and_evaluate
    from tf_earlyticket.job.log import Display

    options = {"data_dir": data_dir, "strategy": strategy, "display": Display("quiet")}
    train_and_evaluate(config, place, **options)


def _random_ticket(run: Path, seed: int) -> Path:
    """Returns a ticket with masks at random places and as many weights in each tensor as a run's.

    Args:
        run: Directory of the run, finished.
        seed: Of the places.
    """
    from tf_earlyticket.paper.tickets import random_masks

    place = run.parents[1] / RANDOM_MASKS / f"ticket-{run.name}"
    if not place.exists():
        ticket = Ticket.load(RunPaths(run).ticket)
        masks = random_masks(ticket.masks, seed)
        Ticket(masks, ticket.rewind_weights, rewind_epoch=0).save(place)
    return place


def _outcome(report: Report, variant: str, goal: float, seed: int) -> Outcome:
    return Outcome(
        variant,
        goal,
        seed,
        report.ticket.test_accuracy,
        report.ticket.sparsity,
        report.start_epoch,
        report.cost.train_epochs,
        report.cost.probe_epochs,
    )


def _iterative(
    config: Config,
    workdir: Path,
    sparsities: Sequence[float],
    seeds: Sequence[int],
    data_dir,
    strategy: str,
    finished_only: bool,
    tell: Callable[[str], None],
) -> list[Outcome]:
    """Prunes iteratively to each sparsity, with initial weights; a dense training a seed."""
    from tf_earlyticket.paper.reproduction import fill, open_runs

    def make(run, phase: str, sparsity: float) -> dict:
        pruning = replace(run.config.pruning, final_sparsity=sparsity)
        own = replace(run, config=replace(run.config, pruning=pruning))
        return iterative_pruning(own, phase, _PRUNE_FRACTION, 0)

    cells = [
        Cell(ITERATIVE, seed, {"sparsity": sparsity}, partial(make, sparsity=sparsity), 1)
        for sparsity in sparsities
        for seed in seeds
    ]
    outcomes = []
    with open_runs(_with(config, _PLAIN), workdir, seeds, data_dir, strategy) as runs:
        if not finished_only:
            fill(runs, cells, tell)
        for cell in cells:
            if (made := runs[cell.seed].result(cell.phase)) is not None:
                goal, accuracy = cell.values["sparsity"], made["test_accuracy"]
                last = made["rounds"][-1]["sparsity"]
                outcomes.append(
                    Outcome(ITERATIVE, goal, cell.seed, accuracy, last, None, made["epochs"])
                )
    return outcomes


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95 % bootstrap interval of a mean over seeds; None of a single value."""
    if len(values) < 2:
        return None
    given = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(given.size, size=(_RESAMPLES, given.size))
    low, high = np.percentile(given[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _paired(name: str, own: Mapping[int, float], other: Mapping[int, float]) -> dict[str, Any]:
    """Returns the mean of own less other over the seeds of both, with its interval."""
    gaps = [own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())]
    low, high = interval(gaps) or (None, None)
    mean = float(np.mean(gaps)) if gaps else None
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def summarize_variants(outcomes: Sequence[Outcome], variants: Sequence[str]) -> list[dict]:
    """Returns a row for each variant and sparsity, the dense networks first.

    Args:
        outcomes: Of all runs.
        variants: In the order of the rows; the first is what "gain" is over.

    Returns:
        Rows with "variant", "goal", "seeds" (their number), means of "accuracy", "train_epochs",
        "probe_epochs" and "epochs" (both together), "start_epochs" (a list), and, each with its
        "_low" and "_high": "difference" to the dense networks of the same seeds, "same_rates" to
        those whose learning rate restarts too, where it does, and "gain" over the first variant.
        None where there is nothing to compare with, or no interval of a single seed.
    """
    groups: dict[tuple[float, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda one: one.seed):
        groups.setdefault((outcome.goal, outcome.variant), []).append(outcome)
    accuracies = {
        key: {one.seed: one.test_accuracy for one in group} for key, group in groups.items()
    }
    order = [_DENSE, _DENSE_RESTART, *variants]
    rows = []
    for goal, variant in sorted(groups, key=lambda key: (key[0], order.index(key[1]))):
        group, own = groups[goal, variant], accuracies[goal, variant]
        restarted = bool(fields_of(variant).get("train.restart"))
        reference: Mapping[int, float] = {}
        if goal and variant != variants[0]:
            reference = accuracies.get((goal, variants[0]), {})
        train = float(np.mean([one.train_epochs for one in group]))
        probing = float(np.mean([one.probe_epochs for one in group]))
        with_restart = accuracies.get((0.0, _DENSE_RESTART), {}) if goal and restarted else {}
        dense = accuracies.get((0.0, _DENSE), {}) if variant != _DENSE else {}
        rows.append(
            {
                "variant": variant,
                "goal": goal,
                "seeds": len(group),
                "accuracy": float(np.mean([*own.values()])),
                "train_epochs": train,
                "probe_epochs": probing,
                "epochs": train + probing,
                "start_epochs": [one.start_epoch for one in group],
                **_paired("difference", own, dense),
                **_paired("same_rates", own, with_restart),
                **_paired("gain", own, reference),
            }
        )
    return rows


def difference_text(row: Mapping[str, Any], name: str) -> str:
    """Returns a difference of a row in points, with its interval: "-1.20 (-1.60 to -0.80)"."""
    values = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
    if values[0] is None:
        return "-"
    mean, *ends = (f"{100 * v:+.2f}".replace("-0.00", "+0.00") for v in values if v is not None)
    return f"{mean} ({ends[0]} to {ends[1]})" if ends else mean


def _listed(epochs: Sequence[int | None]) -> str:
    return " ".join("-" if epoch is None else str(epoch) for epoch in epochs)


def draw_differences(study: Mapping[str, Any]) -> "Figure":
    """Draws each variant's mean difference to the dense networks, with intervals, by sparsity."""
    rows = [row for row in study["summary"] if row["goal"] and row["difference"] is not None]
    names = [name for name in study["variants"] if any(row["variant"] == name for row in rows)]
    config = study["config"]
    title = (
        f"Test accuracy less that of the dense network: {config['model']['name']} on "
        f"{config['data']['name']}, {config['train']['epochs']} epochs, probes counted"
    )
    label = "Points, mean over seeds with 95 % bootstrap interval"
    figure, axes = drawing.new_axes(1.8 + 0.42 * max(len(names), 1), title, label, "")
    if not rows:
        drawing.nothing(axes)
        return figure
    goals = sorted({row["goal"] for row in rows})
    looks = ((drawing.BLUE, "o"), (drawing.VERMILLION, "s"), (drawing.GREEN, "^"))
    axes.axvline(0, color=drawing.INK, linewidth=1)
    for place, goal in enumerate(goals):
        colour, marker = looks[place % len(looks)]
        shift = 0.22 * (place - (len(goals) - 1) / 2)
        own = [row for row in rows if row["goal"] == goal]
        heights = [names.index(row["variant"]) + shift for row in own]
        means = [100 * row["difference"] for row in own]
        axes.plot(means, heights, marker, color=colour, label=drawing.percent(goal), markersize=4.5)
        for row, height in zip(own, heights, strict=True):
            if row["difference_low"] is not None:
                ends = [100 * row[f"difference_{end}"] for end in ("low", "high")]
                axes.plot(ends, [height] * 2, color=colour, linewidth=1.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    drawing.legend(figure, len(goals))
    return figure
