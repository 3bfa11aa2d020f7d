"""The figures of a detector study: what the probes saw, and which start epoch was best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tf_earlyticket.report import drawing

_MODES = {"gradual": ("gradual", drawing.BLUE, "o-"), "one_shot": ("one-shot", "#CC79A7", "s--")}


def _band(axes, epochs, values: Sequence[Sequence[float]], label: str, colour: str, form: str):
    """Draws the mean over rows (seeds), in percent, and a band from the least to the greatest."""
    values = 100 * np.array(values)
    look = {"color": colour, "markersize": 4, "linewidth": 1.5}
    axes.plot(epochs, values.mean(axis=0), form, label=label, **look)
    if len(values) > 1:
        band = {"color": colour, "alpha": 0.18, "linewidth": 0}
        axes.fill_between(epochs, values.min(axis=0), values.max(axis=0), **band)


def _name(study: Mapping[str, Any]) -> str:
    config, seeds = study["config"], len(study["seeds"])
    return f"{config['model']['name']} on {config['data']['name']}, {seeds} seed{'s' * (seeds > 1)}"


def draw_probes(study: Mapping[str, Any]) -> Figure:
    """Draws PPR, pruned and dense accuracy of every epoch, as the paper's Fig. 4."""
    figure = drawing.new_figure(3.8, f"Probes at every epoch: {_name(study)} (mean, min to max)")
    axes = figure.subplots()
    drawing.style(axes, "Epoch", "Validation accuracy (%)")
    probes = [result["probe"] for result in study["seeds"].values()]
    epochs = probes[0]["epochs"]
    for name, label, colour, form in (
        ("dense_accuracy", "dense", drawing.GREEN, "^:"),
        ("ppr_accuracy", "pruned, then retrained (PPR)", drawing.BLUE, "o-"),
        ("pruned_accuracy", "pruned, not retrained", drawing.VERMILLION, "s--"),
    ):
        _band(axes, epochs, [probe[name] for probe in probes], label, colour, form)
    figure.legend(loc="outside lower center", ncols=3, fontsize=drawing.SMALL, frameon=False)
    drawing.epoch_axis(axes, max(epochs))
    for epoch in study["config"]["train"]["drop_epochs"]:
        if epoch < max(epochs):
            axes.axvline(epoch, color=drawing.GREY, linewidth=1, linestyle=":")
    drawing.mark(axes, study["latest_start_epoch"], "latest start; dotted: learning rate drops")
    return figure


def draw_tickets(study: Mapping[str, Any]) -> Figure:
    """Draws the tickets' test accuracy by start epoch and, below, what the detectors chose."""
    detectors = [row["detector"] for row in study["summary"]]
    height = 3.0 + 0.22 * len(detectors)
    figure = drawing.new_figure(height, f"Tickets by start epoch: {_name(study)} (mean, range)")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 0.16 * len(detectors)])
    drawing.style(top, "", "Test accuracy (%)")
    results = list(study["seeds"].values())
    for mode, (label, colour, form) in _MODES.items():
        cells = [result["tickets"].get(mode, {}) for result in results]
        epochs = sorted(set.intersection(*(set(map(int, cell)) for cell in cells)))
        if epochs:
            values = [[cell[str(e)]["test_accuracy"] for e in epochs] for cell in cells]
            _band(top, epochs, values, label, colour, form)
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


def draw_study(study: Mapping[str, Any], directory: Path) -> dict[str, Path]:
    """Writes the figures of a study to `directory` and returns their paths by name.

    Args:
        study: The content of `study.json`; accuracies are fractions in [0, 1].
        directory: Made where it is missing.
    """
    paths = {}
    for name, figure in (("probes", draw_probes(study)), ("tickets", draw_tickets(study))):
        paths[name] = Path(directory) / f"{name}.png"
        drawing.save(figure, paths[name])
    return paths
