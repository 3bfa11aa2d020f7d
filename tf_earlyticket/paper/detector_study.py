"""Which detector finds the best start epoch? Replays all of them over recorded dense runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.ppr_probe import ProbeResult
from tf_earlyticket.config import Config
from tf_earlyticket.detectors.base import Observation, make_detector
from tf_earlyticket.detectors.replay import replay
from tf_earlyticket.detectors.weight_signals import SignalTracker
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json, typed, write_csv, write_json
from tf_earlyticket.job.build import plan_of
from tf_earlyticket.job.phases import Run
from tf_earlyticket.paper.item import MODES, band, check_seeds, summarize
from tf_earlyticket.paper.reproduction import open_runs, seeded
from tf_earlyticket.paper.tickets import (
    DENSE,
    prunable,
    record_dense,
    recorded_weights,
    train_ticket,
)
from tf_earlyticket.pruning.plan import Plan
from tf_earlyticket.report import drawing
from tf_earlyticket.report.report import environment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Accuracies = Mapping[int, float]
_ACCURACIES = ("ppr_accuracy", "pruned_accuracy", "dense_accuracy")


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
        config: As for `reproduction.reproduce`, with `workdir`, `data_dir`, `strategy`, `command`
            and `finished_only`.
        seeds: At least one.
        start_epochs: Epochs (from 1) at which tickets are made; default `default_start_epochs`.
        modes: Of "gradual" and "one_shot".

    Returns:
        The content of `study.json`.

    Raises:
        InputError: Before any work, for an argument that cannot be used.
    """
    plan = plan_of(config)
    start_epochs = default_start_epochs(config) if start_epochs is None else list(start_epochs)
    check_seeds(seeds)
    for epoch in start_epochs:
        checks.integer("start_epochs", epoch, 1, plan.latest_start_epoch)
    for mode in modes:
        checks.choice("modes", mode, MODES)
    with open_runs(config, workdir, seeds, data_dir, strategy) as runs:
        if not finished_only:
            for run in runs.values():
                seeded(run, record_dense, True)
            # All seeds of a cell before the next cell: a study cut short still has means.
            for mode, epoch in product(modes, sorted(start_epochs, reverse=True)):
                for run in runs.values():
                    seeded(run, train_ticket, epoch, mode)
        first = runs[seeds[0]]
        recorded = {str(seed): _recorded(run, plan) for seed, run in runs.items()}
        study = {
            "schema_version": 1,
            "command": command,
            "config": config.to_dict(),
            "environment": environment(strategy, first.strategy.num_replicas_in_sync),
            "latest_start_epoch": plan.latest_start_epoch,
            "ramp_epochs": plan.ramp_epochs,
            "steps_per_epoch": first.steps_per_epoch,
            "seeds": recorded,
            "summary": summarize_choices(recorded),
        }
    workdir = Path(workdir)
    write_json(workdir / "study.json", study)
    rows = [{**r, "start_epochs": " ".join(map(str, r["start_epochs"]))} for r in study["summary"]]
    write_csv(workdir / "study.csv", rows, list(rows[0]))
    drawing.save(draw_probes(study), workdir / "figures" / "probes.png")
    drawing.save(draw_tickets(study), workdir / "figures" / "tickets.png")
    return study


def _recorded(run: Run, plan: Plan) -> dict:
    """Returns what is known of one seed's dense run and its finished tickets."""
    dense = run.result(DENSE)
    if dense is None:
        raise InputError(
            f"{run.paths.workdir}: its dense run is not finished; expected it to be, or "
            "--finished_only=false."
        )
    probes = typed(dense["probes"], list[ProbeResult])
    pruning = run.config.pruning
    tracker = SignalTracker(pruning.final_sparsity, pruned(run.model).criterion)
    observations = {}
    for probe in probes:
        signals = tracker.update(prunable(run, recorded_weights(run, probe.epoch)))
        observations[probe.epoch] = replace(probe.observation, signals=signals)
    tickets: dict[str, dict] = {}
    for path in sorted(run.paths.checkpoints.glob("*/result.json")):
        result = read_json(path)
        if "mode" in result:
            cell = {name: result[name] for name in ("test_accuracy", "validation_accuracy")}
            tickets.setdefault(result["mode"], {})[str(result["start_epoch"])] = cell
    seconds, costs = [p.seconds for p in probes], {p.epoch: p.cost_epochs for p in probes}
    return {
        "dense_test_accuracy": dense["test_accuracy"],
        "dense_seconds": sum(row["seconds"] for row in dense["rows"]) - sum(seconds),
        "probe": {
            "epochs": list(costs),
            "cost_epochs": list(costs.values()),
            "seconds": seconds,
            **{name: [getattr(o, name) for o in observations.values()] for name in _ACCURACIES},
        },
        "signals": {
            name: [list(getattr(o.signals, name)) for o in observations.values()]
            for name in ("pruning_rates", "mask_distances", "similarities")
        },
        "tickets": tickets,
        "choices": choices(observations, costs, plan.latest_start_epoch, plan.ramp_epochs),
    }


def studied_detectors(latest: int, ramp_epochs: int) -> dict[str, tuple[str, int, int]]:
    """Returns what a study compares: name in tables, detector, lead epochs, probe spacing."""
    ppr = "ppr_saturation"
    return {
        "PPRSaturation": (ppr, ramp_epochs, 1),
        "PPRSaturation, probes every 2 epochs": (ppr, ramp_epochs, 2),
        "PPRSaturation, probes every 3 epochs": (ppr, ramp_epochs, 3),
        "PPRSaturation(tolerance=0.02)": (f"{ppr}(tolerance=0.02)", ramp_epochs, 1),
        "PPRSaturation(tolerance=0.005)": (f"{ppr}(tolerance=0.005)", ramp_epochs, 1),
        "PPRSaturation(lead_epochs=0)": (ppr, 0, 1),
        "GatedPPR(LayerRateConvergence)": ("gated_ppr", ramp_epochs, 1),
        "GatedPPR(MaskDistance)": ("gated_ppr(gate='mask_distance')", ramp_epochs, 1),
        "MaskDistance": ("mask_distance", 0, 1),
        "LayerRateConvergence": ("layer_rate_convergence", 0, 1),
        "LayerRateConvergence(0.01)": ("layer_rate_convergence(tolerance=0.01)", 0, 1),
        "SubnetSimilarity": ("subnet_similarity", 0, 1),
        "SubnetSimilarity(0.99)": ("subnet_similarity(threshold=0.99)", 0, 1),
        "FixedEpoch(first third)": (f"fixed_epoch(epoch={max(1, latest // 3)})", 0, 1),
        "FixedEpoch(latest)": ("fixed_epoch", 0, 1),
    }


def choices(
    observations: Mapping[int, Observation],
    costs: Mapping[int, float],
    latest: int,
    ramp_epochs: int,
) -> dict[str, dict]:
    """Replays every studied detector on one recorded run.

    Args:
        observations: By epoch (from 1), as for `replay`.
        costs: Cost of each epoch's probe, in epochs.
        latest: Last epoch (from 1) at whose end pruning can start.
        ramp_epochs: Epochs from there until a gradual ticket's mask is final.

    Returns:
        By detector: the `Choice` as a dict, and "probe_cost_epochs".
    """
    chosen = {}
    for name, (text, lead_epochs, spacing) in studied_detectors(latest, ramp_epochs).items():
        detector = make_detector(text, latest, lead_epochs=lead_epochs)
        choice = replay(detector, observations, latest, probe_every=spacing)
        cost = sum(costs[epoch] for epoch in choice.probed_epochs)
        chosen[name] = {**asdict(choice), "probe_cost_epochs": cost}
    return chosen


def accuracy_at(tickets: Accuracies, epoch: int) -> float | None:
    """Returns the accuracy of the ticket that starts at `epoch`, from the ones that were trained.

    Between two of them it is interpolated linearly; outside them it is None.
    """
    if not tickets or not min(tickets) <= epoch <= max(tickets):
        return None
    epochs = sorted(tickets)
    return float(np.interp(epoch, epochs, [tickets[e] for e in epochs]))


def best_epoch(tickets_by_seed: Sequence[Accuracies]) -> int | None:
    """Returns the start epoch whose tickets have the best mean accuracy over all seeds.

    Only epochs at which every seed has a ticket count; the earlier of two equals wins. None if
    there is no such epoch.
    """
    shared = sorted(set.intersection(*map(set, tickets_by_seed))) if tickets_by_seed else []
    return max(shared, key=lambda e: np.mean([t[e] for t in tickets_by_seed]), default=None)


def ticket_accuracies(result: Mapping[str, Any], mode: str) -> dict[int, float]:
    """Returns test accuracy (fraction) by start epoch of a seed's tickets of one mode."""
    cells = result["tickets"].get(mode, {})
    return {int(epoch): cell["test_accuracy"] for epoch, cell in cells.items()}


def summarize_choices(seeds: Mapping[str, Mapping[str, Any]]) -> list[dict]:
    """Returns a row per detector, averaged over "seeds" of `study.json`.

    Returns:
        Rows with "detector", "start_epochs" (list, in the order of the seeds), "detected" (number
        of seeds where the detector, not the deadline, decided), "probe_cost_epochs" (mean) and
        for each mode "<mode>_accuracy" and "<mode>_distance", the mean of the best epoch's
        accuracy less the chosen epoch's, with "<mode>_distance_std", its sample standard
        deviation. None where not every seed has the tickets, or there is one seed only.
    """
    rows, results = [], list(seeds.values())
    for name in results[0]["choices"]:
        chosen = [result["choices"][name] for result in results]
        row = {
            "detector": name,
            "start_epochs": [choice["start_epoch"] for choice in chosen],
            "detected": sum(choice["detected"] for choice in chosen),
            "probe_cost_epochs": float(np.mean([c["probe_cost_epochs"] for c in chosen])),
        }
        for mode in MODES:
            tickets = [ticket_accuracies(result, mode) for result in results]
            reached = list(map(accuracy_at, tickets, row["start_epochs"]))
            best = best_epoch(tickets)
            known = best is not None and None not in reached
            gaps = [a[best] - r for a, r in zip(tickets, reached, strict=True)] if known else []
            row[f"{mode}_accuracy"] = float(np.mean(reached)) if gaps else None
            row[f"{mode}_distance"] = float(np.mean(gaps)) if gaps else None
            row[f"{mode}_distance_std"] = float(np.std(gaps, ddof=1)) if len(gaps) > 1 else None
        rows.append(row)
    return rows


def _name(study: Mapping[str, Any]) -> str:
    config, seeds = study["config"], len(study["seeds"])
    return f"{config['model']['name']} on {config['data']['name']}, {seeds} seed{'s' * (seeds > 1)}"


def draw_probes(study: Mapping[str, Any]) -> "Figure":
    """Draws PPR, pruned and dense accuracy of every epoch, as the paper's Fig. 4."""
    title = f"Probes at every epoch: {_name(study)} (mean, min to max)"
    figure, axes = drawing.new_axes(3.8, title, "Epoch", "Validation accuracy (%)")
    names = ("epochs", *_ACCURACIES)
    records = [
        dict(zip(names, values, strict=True))
        for result in study["seeds"].values()
        for values in zip(*(result["probe"][name] for name in names), strict=True)
    ]
    rows = summarize(records, ["epochs"], _ACCURACIES)
    for name, label, colour, form in (
        ("dense_accuracy", "dense", drawing.GREEN, "^:"),
        ("ppr_accuracy", "pruned, then retrained (PPR)", drawing.BLUE, "o-"),
        ("pruned_accuracy", "pruned, not retrained", drawing.VERMILLION, "s--"),
    ):
        band(axes, rows, "epochs", name, label, colour, form)
    drawing.legend(figure, 3)
    last = rows[-1]["epochs"]
    drawing.epoch_axis(axes, last)
    for epoch in study["config"]["train"]["drop_epochs"]:
        if epoch < last:
            axes.axvline(epoch, color=drawing.GREY, linewidth=1, linestyle=":")
    drawing.mark(axes, study["latest_start_epoch"], "latest start; dotted: learning rate drops")
    return figure


def draw_tickets(study: Mapping[str, Any]) -> "Figure":
    """Draws the tickets' test accuracy by start epoch and, below, what the detectors chose."""
    detectors = [row["detector"] for row in study["summary"]]
    height = 3.0 + 0.22 * len(detectors)
    figure = drawing.new_figure(height, f"Tickets by start epoch: {_name(study)} (mean, range)")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.16 * len(detectors)])
    drawing.style(top, "", "Test accuracy (%)")
    results = list(study["seeds"].values())
    for mode, label, colour, form in (
        ("gradual", "gradual", drawing.BLUE, "o-"),
        ("one_shot", "one-shot", "#CC79A7", "s--"),
    ):
        cells = [
            {"epoch": e, "accuracy": a}
            for r in results
            for e, a in ticket_accuracies(r, mode).items()
        ]
        rows = summarize(cells, ["epoch"], ["accuracy"])
        rows = [row for row in rows if row["seeds"] == len(results)]
        if rows:
            band(top, rows, "epoch", "accuracy", label, colour, form)
    dense = 100 * np.mean([result["dense_test_accuracy"] for result in results])
    top.axhline(dense, color=drawing.GREEN, linewidth=1.4, linestyle=":", label="dense")
    top.legend(fontsize=drawing.SMALL, frameon=False)
    drawing.style(bottom, "Start epoch", "")
    for place, detector in enumerate(detectors):
        for result in results:
            choice = result["choices"][detector]
            face = drawing.INK if choice["detected"] else "white"
            look = {"markeredgecolor": drawing.INK, "markerfacecolor": face, "markersize": 4.5}
            bottom.plot(choice["start_epoch"], place, "o", clip_on=False, **look)
    bottom.set_yticks(range(len(detectors)), detectors, fontsize=7.5)
    bottom.set_ylim(len(detectors) - 0.5, -0.5)
    figure.supxlabel("Hollow: no saturation seen, started at the latest", fontsize=drawing.SMALL)
    drawing.epoch_axis(bottom, study["latest_start_epoch"] + 1)
    return figure
