"""Draws how costs grow, from the results of the benchmarks; `benchmark_all.py` writes the files."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from tf_earlyticket.report import drawing
from tf_earlyticket.report.report import read_timings


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


def draw_latency(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws latency by the dense one's, with intervals, a panel for each network.

    Args:
        rows: Those of `latency.json`; what is not told has no mark.
    """
    timings = read_timings(rows)
    single = [item for item in timings if item.batch == 1 and not item.told.startswith("–")]
    networks = list(dict.fromkeys(item.path.split()[0] for item in timings))
    places = list(dict.fromkeys(f"{item.runtime}, {item.precision}" for item in timings))
    title = "Latency of tickets of whole channels beside the dense network, batch 1, one thread"
    figure = drawing.new_figure(1.6 + 0.3 * len(places), title)
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        drawing.style(axes, f"{network}, / dense", "")
        axes.axvline(1, color=drawing.INK, linewidth=1)
        for share, label, colour in (
            ("0.5", "half of the multiply-adds", drawing.BLUE),
            ("0.25", "a quarter", drawing.VERMILLION),
        ):
            own = [item for item in single if item.path == f"{network} {share}"]
            ratios = [item.ratio for item in own]
            spread = [
                [item.ratio - item.ratio_low for item in own],
                [item.ratio_high - item.ratio for item in own],
            ]
            y = [places.index(f"{item.runtime}, {item.precision}") for item in own]
            look = {"fmt": "o", "color": colour, "markersize": 4, "capsize": 2}
            named = {"label": label} if axes is panels[0] else {}
            axes.errorbar(ratios, y, xerr=spread, **look, **named)
        axes.set_xlim(0, 1.2)
        axes.set_yticks(range(len(places)), places)
        axes.set_ylim(len(places) - 0.5, -0.5)
    drawing.legend(figure, 2)
    return figure
