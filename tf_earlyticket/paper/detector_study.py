"""Which detector finds the best start epoch? Replays all of them over recorded dense runs."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.ppr_probe import ProbeResult
from tf_earlyticket.config import Config
from tf_earlyticket.detectors.base import Observation
from tf_earlyticket.detectors.weight_signals import SignalTracker
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_json, write_text
from tf_earlyticket.job.build import plan_of
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.paper.dense_record import record_dense, recorded_weights
from tf_earlyticket.paper.run_directory import open_runs, seeded
from tf_earlyticket.paper.study import MODES, choices, summarize
from tf_earlyticket.paper.study_figures import draw_study
from tf_earlyticket.paper.tickets import train_ticket
from tf_earlyticket.pruning.plan import Plan
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.report.build import environment


def default_start_epochs(config: Config) -> list[int]:
    """Returns a third, two thirds and all of the epochs until the latest possible start."""
    latest = plan_of(config).latest_start_epoch
    return sorted({max(1, latest // 3), max(1, 2 * latest // 3), latest})


def study_detectors(
    config: Config,
    workdir,
    *,
    seeds: Sequence[int],
    start_epochs: Sequence[int] | None = None,
    modes: Sequence[str] = MODES,
    data_dir=None,
    strategy: str = "auto",
    command: str = "",
    finished_only: bool = False,
) -> dict:
    """Records a dense run per seed, trains its tickets, replays every detector over it.

    Continues what an earlier call left in `workdir`; nothing finished is computed twice.

    Args:
        config: The run; its seed is replaced by each of `seeds`.
        workdir: Directory of the study; a run directory per seed lies in it.
        seeds: At least one.
        start_epochs: Epochs (from 1) at which tickets are made; default `default_start_epochs`.
        modes: Of "gradual" and "one_shot".
        data_dir: Where TFDS data sets lie.
        strategy: Devices, see `make_strategy`.
        command: Command line that repeats the study, for its results.
        finished_only: Train nothing; use whatever tickets are finished.

    Returns:
        The content of `study.json`.

    Raises:
        InputError: Before any work, for an argument that cannot be used.
    """
    plan = plan_of(config)
    start_epochs = default_start_epochs(config) if start_epochs is None else list(start_epochs)
    _check(seeds, start_epochs, modes, plan.latest_start_epoch)
    opened = open_runs(config, workdir, seeds, data_dir, strategy)
    runs = {str(seed): run for seed, run in opened.items()}
    if not finished_only:
        # All seeds of a cell before the next cell: a study cut short still has means.
        cells = [(mode, epoch) for mode in modes for epoch in sorted(start_epochs, reverse=True)]
        for run in runs.values():
            seeded(run, record_dense)
        for mode, epoch in cells:
            for run in runs.values():
                seeded(run, train_ticket, epoch, mode)
    first = next(iter(runs.values()))
    recorded = {seed: _recorded(run, plan) for seed, run in runs.items()}
    study = {
        "schema_version": 1,
        "command": command,
        "config": config.to_dict(),
        "environment": environment(strategy, first.strategy.num_replicas_in_sync),
        "latest_start_epoch": plan.latest_start_epoch,
        "ramp_epochs": plan.ramp_epochs,
        "steps_per_epoch": first.steps_per_epoch,
        "seeds": recorded,
        "summary": summarize(
            {seed: result["choices"] for seed, result in recorded.items()},
            {seed: _by_epoch(result["tickets"]) for seed, result in recorded.items()},
        ),
    }
    write_json(Path(workdir) / "study.json", study)
    write_text(Path(workdir) / "study.csv", _to_csv(study["summary"]))
    draw_study(study, Path(workdir) / "figures")
    return study


def _check(seeds, start_epochs, modes, latest: int) -> None:
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(f"seeds={list(seeds)}: expected different integers of at least 0.")
    for epoch in start_epochs:
        if not 1 <= epoch <= latest:
            raise InputError(f"start_epochs: {epoch} is not one of 1 to {latest}, the latest.")
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"modes: {mode!r} is not one of {', '.join(MODES)}.")


def _recorded(run: Run, plan: Plan) -> dict:
    """Returns what is known of one seed's dense run and its finished tickets."""
    dense = run.result("dense")
    if dense is None:
        raise InputError(
            f"{run.paths.workdir}: its dense run is not finished; expected it to be, or "
            "--finished_only=false."
        )
    probes = [ProbeResult.from_dict(values) for values in dense["probes"]]
    observations = {}
    pruning = run.config.pruning
    tracker = SignalTracker(
        pruning.final_sparsity, resolve_criterion(pruning.ranking, pruning.group_size)
    )
    prunable = list(pruned(run.model).masks())
    for probe in probes:
        weights = recorded_weights(run, probe.epoch)
        signals = tracker.update({name: weights[name] for name in prunable})
        seen = probe.observation
        observations[probe.epoch] = Observation(
            seen.ppr_accuracy, seen.pruned_accuracy, seen.dense_accuracy, signals
        )
    tickets: dict[str, dict] = {}
    for path in sorted(run.paths.checkpoints.glob("*/result.json")):
        result = json.loads(path.read_text())
        if "mode" in result:
            cell = {name: result[name] for name in ("test_accuracy", "validation_accuracy")}
            tickets.setdefault(result["mode"], {})[str(result["start_epoch"])] = cell
    return {
        "dense_test_accuracy": dense["test_accuracy"],
        "dense_seconds": sum(row["seconds"] for row in dense["rows"])
        - sum(probe.seconds for probe in probes),
        "probe": {
            "epochs": [probe.epoch for probe in probes],
            "cost_epochs": [probe.cost_epochs for probe in probes],
            "seconds": [probe.seconds for probe in probes],
            **{
                name: [getattr(o, name) for o in observations.values()]
                for name in ("ppr_accuracy", "pruned_accuracy", "dense_accuracy")
            },
        },
        "signals": {
            name: [list(getattr(o.signals, name)) for o in observations.values()]
            for name in ("pruning_rates", "mask_distances", "similarities")
        },
        "tickets": tickets,
        "choices": choices(
            observations,
            {probe.epoch: probe.cost_epochs for probe in probes},
            plan.latest_start_epoch,
            plan.ramp_epochs,
        ),
    }


def _by_epoch(tickets: dict) -> dict[str, dict[int, float]]:
    return {
        mode: {int(epoch): cell["test_accuracy"] for epoch, cell in cells.items()}
        for mode, cells in tickets.items()
    }


def _to_csv(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, "start_epochs": " ".join(map(str, row["start_epochs"]))})
    return text.getvalue()
