"""Draws how costs grow, from the results of the benchmarks; `benchmark_all.py` writes the files."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tf_earlyticket.report import drawing


def draw_masks(masks: Mapping[str, Any], scaling: Mapping[str, Any]) -> Figure:
    """Draws time and memory of masks against the number of weights, both logarithmic.

    Args:
        masks: The content of `masks.json`.
        scaling: The content of `scaling.json`.
    """
    figure = drawing.new_figure(3.2, "Masks, from 0.1 to 100 million weights")
    left, right = figure.subplots(1, 2)
    sizes = [row["weights"] for row in masks["ranking"]]
    updates = [row for row in scaling["rows"] if row["replicas"] == 1]
    prunable = [row["prunable"] for row in updates]
    for name, label, colour, form in (
        ("first", "ranking, first mask", drawing.BLUE, "o-"),
        ("restricted", "ranking, within a mask", drawing.GREEN, "s--"),
    ):
        times = [1e3 * row["seconds"][name] for row in masks["ranking"]]
        left.plot(sizes, times, form, label=label, color=colour, markersize=4)
    times = [1e3 * row["seconds"]["mask_update"] for row in updates]
    look = {"color": drawing.VERMILLION, "markersize": 5}
    left.plot(prunable, times, "^", label="whole update of a ResNet", **look)
    megabytes = [row["peak_bytes"] / 1e6 for row in masks["ranking"]]
    right.plot(sizes, megabytes, "s--", color=drawing.GREEN, markersize=4)
    drawing.style(left, "Prunable weights", "Time (ms)")
    drawing.style(right, "Prunable weights", "Peak memory of ranking (MB)")
    for axes in (left, right):
        axes.loglog()
    drawing.legend(figure, 3)
    return figure


def draw_probes(probe: Mapping[str, Any]) -> Figure:
    """Draws the time of a probe, and of its training and evaluation, against its part of an epoch.

    Args:
        probe: The content of `probe.json`.
    """
    rows = probe["probe"]
    about = f"{rows[0]['network']}, batch {rows[0]['batch_size']}"
    figure = drawing.new_figure(3.0, f"Cost of a probe: {about}")
    axes = figure.subplots()
    parts = [row["fraction"] for row in rows]
    for name, label, colour, form in (
        ("probe", "probe", drawing.BLUE, "o-"),
        ("plain", "the same training and evaluation alone", drawing.VERMILLION, "s--"),
    ):
        times = [row["seconds"][name] for row in rows]
        axes.plot(parts, times, form, label=label, color=colour, markersize=4)
    drawing.style(axes, "Part of an epoch that it retrains on", "Time (s)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    drawing.legend(figure, 2)
    return figure
