"""The figures of a run, as PNG files.

Input is what `report.json` and `metrics.csv` hold. Accuracies and sparsities
are fractions in [0, 1] there and percent in the figures; epochs are counted
from 1, and a value at epoch e was measured at the end of that epoch. Figures
are drawn with Matplotlib's objects only, so no backend, style or figure of the
caller is touched.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import Rows, column, number, percents
from tf_earlyticket.report.weight_figures import (
    draw_layer_rates,
    draw_mask_distance,
    draw_weight_std,
)


def _ppr_title(report: Mapping[str, Any], probes: int) -> str:
    start, detected = report.get("start_epoch"), (report.get("decision") or {}).get("detected")
    if not probes:
        return "Validation accuracy of the run; no probe was made"
    if start is None:
        return "Accuracy of the pruned-then-retrained probes; no start epoch was chosen"
    if detected is None:
        return f"Accuracy of the pruned-then-retrained probes; pruning starts at epoch {start}"
    if detected:
        return f"Accuracy after pruning and a short retraining saturates by epoch {start}"
    return f"The probes showed no saturation in time: pruning had to start at epoch {start}"


def draw_ppr(report: Mapping[str, Any], metrics: Rows) -> Figure:
    """Draws the probes' accuracies and the start epoch (Fig. 4 and 6 of the paper)."""
    probe, start = report.get("probe") or {}, report.get("start_epoch")
    epochs = list(probe.get("epochs") or [])
    figure = drawing.new_figure(3.8, _ppr_title(report, len(epochs)))
    axes = figure.subplots()
    drawing.style(axes, "Epoch", "Validation accuracy (%)")
    curves = [
        ("dense", probe.get("dense_accuracy"), drawing.GREEN, "^:"),
        ("pruned, then retrained (PPR)", probe.get("ppr_accuracy"), drawing.BLUE, "o-"),
        ("pruned, not retrained", probe.get("pruned_accuracy"), drawing.VERMILLION, "s--"),
    ]
    if not epochs:
        epochs = column(metrics, "epoch")
        curves = [("the model as trained", column(metrics, "val_accuracy"), *curves[0][2:])]
    every = max(1, len(epochs) // 30)  # more markers would hide the line
    for label, values, colour, form in curves:
        if values:
            look = {"color": colour, "markersize": 4, "markevery": every, "linewidth": 1.5}
            axes.plot(epochs, percents(values), form, label=label, **look)
    if axes.lines:
        figure.legend(loc="outside lower center", ncols=3, fontsize=drawing.SMALL, frameon=False)
    else:
        drawing.nothing(axes)
    # What comes after the last probe is in the figure of the sparsity.
    drawing.epoch_axis(axes, max([*epochs, start or 0]))
    if start is not None:
        reason = textwrap.shorten(report.get("start_reason") or "", 56, placeholder=" …")
        drawing.mark(axes, start, drawing.plain(f"start epoch {start}: {reason}", 80).rstrip(": "))
    return figure


def _staircase(report: Mapping[str, Any], metrics: Rows) -> list[tuple[float, float]]:
    """Returns (epoch, sparsity as a fraction); each sparsity holds until the next epoch."""
    schedule = report.get("schedule") or {}
    updates, steps_per_epoch = schedule.get("updates"), schedule.get("steps_per_epoch")
    if updates and steps_per_epoch:
        points = [(step / steps_per_epoch, float(sparsity)) for step, sparsity in updates]
    else:
        # When within its epoch a row's sparsity was reached is not known; its end is safe.
        points = [(number(row["epoch"]), number(row.get("sparsity"))) for row in metrics]
    return [(0.0, 0.0), *points]


def _sparsity_title(changes: Sequence[tuple[float, float]]) -> str:
    if not changes:
        return "Sparsity: nothing was pruned"
    first, last = (f"{epoch:.1f}".removesuffix(".0") for epoch, _ in (changes[0], changes[-1]))
    goal = f"{100 * changes[-1][1]:.1f} %"
    if len(changes) == 1:
        return f"Sparsity goes to {goal} at once, after epoch {first}"
    return f"Sparsity rises to {goal} in {len(changes)} updates (epochs {first} to {last})"


def draw_sparsity(report: Mapping[str, Any], metrics: Rows) -> Figure:
    """Draws sparsity and, below it, validation accuracy over epochs and steps."""
    points = _staircase(report, metrics)
    changes = [
        point
        for point, previous in zip(points[1:], points, strict=False)
        if point[1] != previous[1] and not math.isnan(point[1])
    ]
    last_epoch = drawing.last_epoch(metrics, [points[-1][0]])
    points.append((last_epoch, points[-1][1]))
    figure = drawing.new_figure(4.8, _sparsity_title(changes))
    top, bottom = figure.subplots(2, 1, sharex=True)
    drawing.style(top, "", "Sparsity (%)")
    x, y = zip(*points, strict=True)
    top.step(x, percents(y), where="post", color=drawing.BLUE, linewidth=1.6)
    top.set_ylim(-3, 103)
    drawing.style(bottom, "Epoch", "Validation accuracy (%)")
    marker = "o" if len(metrics) < 40 else ""
    accuracy = percents(column(metrics, "val_accuracy"))
    look = {"color": drawing.GREEN, "marker": marker, "markersize": 3, "linewidth": 1.6}
    bottom.plot(column(metrics, "epoch"), accuracy, **look)
    if not metrics:
        drawing.nothing(bottom)
    drawing.epoch_axis(bottom, last_epoch)
    if len(changes) > 1:
        for axes in (top, bottom):
            axes.axvspan(changes[0][0], changes[-1][0], color=drawing.SHADE, zorder=0)
        figure.supxlabel(
            "Grey: from the first to the last change of the mask", fontsize=drawing.SMALL
        )
    if per_epoch := (report.get("schedule") or {}).get("steps_per_epoch"):
        there_and_back = (lambda epoch: epoch * per_epoch, lambda step: step / per_epoch)
        steps = top.secondary_xaxis("top", functions=there_and_back)
        steps.set_xlabel("Training step", fontsize=drawing.NORMAL)
        steps.tick_params(labelsize=drawing.SMALL)
        steps.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    return figure


def draw_layer_sparsity(report: Mapping[str, Any]) -> Figure:
    """Draws the ticket's sparsity per layer, the input at the top, and over all layers."""
    ticket = report.get("ticket") or {}
    layers = ticket.get("layers") or []
    values, overall = percents([layer["sparsity"] for layer in layers]), ticket.get("sparsity")
    title = "Sparsity per layer"
    if layers and overall is not None:
        title = (
            f"Overall {100 * overall:.1f} % sparse; single layers range from "
            f"{min(values):.1f} to {max(values):.1f} %"
        )
    figure = drawing.new_figure(max(2.2, 1.1 + 0.16 * len(layers)), title)
    axes = figure.subplots()
    drawing.style(axes, "Sparsity (%)", "")
    axes.set_xlim(0, 112)  # the numbers stand at 102, where neither bar nor line can be
    axes.set_xticks(range(0, 101, 20))
    if not layers:
        drawing.nothing(axes)
        return figure
    places = range(len(layers))
    axes.barh(places, values, height=0.72, color=drawing.BLUE)
    for place, value in zip(places, values, strict=True):
        axes.text(102, place, f"{value:.1f}", va="center", fontsize=7.5, color=drawing.INK)
    names = [drawing.plain(layer["name"], 34) for layer in layers]
    axes.set_yticks(places, names, fontsize=7.5)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.grid(False, axis="y")
    if overall is not None:
        axes.axvline(100 * overall, color=drawing.VERMILLION, linewidth=1.4, label="all layers")
        figure.legend(loc="outside lower center", fontsize=drawing.SMALL, frameon=False)
    return figure


def draw_all(
    report: Mapping[str, Any], metrics: Rows, weight_std: Mapping[str, Any], directory: Path
) -> dict[str, Path]:
    """Writes every figure of a run to `directory`, which is made where it is missing.

    Args:
        report: The content of `report.json`; fractions in [0, 1].
        metrics: The rows of `metrics.csv`, in the order of their epochs.
        weight_std: {"epochs": [int], "layers": {name: [float per epoch]}}, input layer first.
        directory: Where the PNG files go.

    Returns:
        The path of each figure by its name, which is the file's name without `.png`, in the
        order to show them in. `layer_rates` and `mask_distance` need the report's `signals`,
        which runs before these were recorded do not have.
    """
    drawn = {"ppr": draw_ppr(report, metrics), "sparsity": draw_sparsity(report, metrics)}
    if (report.get("signals") or {}).get("epochs"):
        drawn["layer_rates"] = draw_layer_rates(report)
        drawn["mask_distance"] = draw_mask_distance(report)
    drawn["weight_std"] = draw_weight_std(report, metrics, weight_std)
    drawn["layer_sparsity"] = draw_layer_sparsity(report)
    paths = {}
    for name, figure in drawn.items():
        paths[name] = Path(directory) / f"{name}.png"
        drawing.save(figure, paths[name])
    return paths
