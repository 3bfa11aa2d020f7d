"""The figures of what the weights of a run tell: their spread, and which of them would stay.

As in `figures.py`: fractions in the data are percent in the figures, and a value at epoch e,
from 1, was measured at the end of that epoch.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tf_earlyticket.detectors.base import Observation, WeightSignals
from tf_earlyticket.detectors.weight_signals import LayerRateConvergence, MaskDistance
from tf_earlyticket.pruning.statistics import predicted_std
from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import Rows, column, number, percents


def _draw_by_depth(
    figure: Figure, axes: Axes, epochs: Sequence[int], layers: Sequence[Sequence[float]]
) -> None:
    """Draws a line over epochs per layer, coloured by depth, and a bar that tells the depth."""
    depth = len(layers)
    # The yellow end of the palette is too faint on white.
    palette = mpl.colormaps["viridis"]([0.92 * i / max(depth - 1, 1) for i in range(depth)])
    for colour, values in zip(palette, layers, strict=True):
        axes.plot(epochs, values, "o" if len(epochs) == 1 else "-", color=colour, linewidth=1.2)
    scale = ScalarMappable(BoundaryNorm(range(1, depth + 2), depth), ListedColormap(palette))
    ticks = sorted({1 + round((depth - 1) * i / 6) for i in range(7)})
    bar = figure.colorbar(scale, ax=axes, ticks=[tick + 0.5 for tick in ticks], pad=0.02)
    bar.ax.set_yticklabels([str(tick) for tick in ticks], fontsize=drawing.SMALL)
    bar.ax.tick_params(which="both", length=0)
    bar.ax.invert_yaxis()
    bar.set_label("Layer, 1 = nearest the input", fontsize=drawing.NORMAL)


def _rates_title(epochs: Sequence[int], rates: Sequence[Sequence[float]]) -> str:
    if not epochs:
        return "Share of each layer that pruning would take"
    latest = percents(rates[-1])
    title = (
        f"Pruned after epoch {epochs[-1]}, layers would lose {min(latest):.0f} to "
        f"{max(latest):.0f}\u00a0% of their weights"
    )
    if len(epochs) == 1:
        return title
    recent = min(LayerRateConvergence().window, len(epochs))
    moved = max(max(layer) - min(layer) for layer in zip(*rates[-recent:], strict=True))
    return f"{title}; rates moved by up to {100 * moved:.1f} points since epoch {epochs[-recent]}"


def draw_layer_rates(report: Mapping[str, Any]) -> Figure:
    """Draws the pseudo pruning rate of each layer per epoch (Fig. 2b of the paper), in percent.

    Args:
        report: Its `signals` hold "epochs" and "pruning_rates", fractions [epoch][layer].
    """
    signals, start = report.get("signals") or {}, report.get("start_epoch")
    epochs, rates = signals.get("epochs") or [], signals.get("pruning_rates") or []
    figure = drawing.new_figure(4, _rates_title(epochs, rates))
    axes = figure.subplots()
    drawing.style(axes, "Epoch", "Pseudo pruning rate (%)")
    drawing.epoch_axis(axes, max([*epochs, start or 0]))
    if not epochs:
        drawing.nothing(axes)
        return figure
    _draw_by_depth(figure, axes, epochs, [percents(layer) for layer in zip(*rates, strict=True)])
    if start is not None:
        drawing.mark(axes, start, f"start epoch {start}")
    return figure


def _early_bird_epoch(signals: Mapping[str, Any]) -> int | None:
    """Returns the epoch at which `MaskDistance` would have started pruning, if any."""
    detector = MaskDistance()
    names = ("epochs", "pruning_rates", "mask_distances", "similarities")
    for epoch, *values in zip(*(signals[name] for name in names), strict=True):
        if detector.update(epoch, Observation(signals=WeightSignals(*values))).saturated:
            return epoch
    return None


def draw_mask_distance(report: Mapping[str, Any]) -> Figure:
    """Draws how far each epoch's mask is from those before (compare Fig. 3 of the paper).

    Normalised Hamming distances in percent, and the threshold of Early-Bird tickets.

    Args:
        report: Its `signals` hold lists over epochs as `WeightSignals` describes them; the
            "mask_distances" of an epoch are fractions, that to the epoch before first.
    """
    signals, start = report.get("signals") or {}, report.get("start_epoch")
    epochs, distances = signals.get("epochs") or [], signals.get("mask_distances") or []
    found = [(e, percents(values)) for e, values in zip(epochs, distances, strict=True) if values]
    threshold = 100 * MaskDistance().threshold
    title = "Distance between the masks of successive epochs"
    if found:
        met = _early_bird_epoch(signals)
        title = (
            f"Early-Bird's criterion, {MaskDistance().window} masks in a row within "
            f"{threshold:g}\u00a0% of each other, is "
            + (f"not met by epoch {epochs[-1]}" if met is None else f"first met at epoch {met}")
        )
    figure = drawing.new_figure(3.8, title)
    axes = figure.subplots()
    drawing.style(axes, "Epoch", "Mask distance (%)")
    drawing.epoch_axis(axes, max([*epochs, start or 0]))
    if not found:
        drawing.nothing(axes)
        return figure
    seen, values = zip(*found, strict=True)
    look = {"markersize": 4, "markevery": max(1, len(seen) // 30), "linewidth": 1.5}
    largest = f"to the farthest of up to {max(map(len, values))} before"
    axes.plot(seen, list(map(max, values)), "s--", color=drawing.VERMILLION, label=largest, **look)
    previous = [value[0] for value in values]
    axes.plot(seen, previous, "o-", color=drawing.BLUE, label="to the epoch before", **look)
    limit = {"color": drawing.INK, "linestyle": ":", "label": f"Early-Bird: {threshold:g} %"}
    axes.axhline(threshold, linewidth=1.4, **limit)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=3, fontsize=drawing.SMALL, frameon=False)
    if start is not None:
        drawing.mark(axes, start, f"start epoch {start}")
    return figure


def learning_rate_drops(metrics: Rows) -> list[tuple[float, float]]:
    """Returns (epoch, new rate) where the learning rate left a plateau for half or less."""
    rates, epochs = column(metrics, "learning_rate"), column(metrics, "epoch")
    # Without the plateau, the last epochs of a cosine schedule would count as drops.
    return [
        (epochs[i - 1], rates[i])
        for i in range(1, len(rates))
        if rates[i] <= 0.51 * rates[i - 1] and (i == 1 or rates[i - 1] == rates[i - 2])
    ]


def _steady_stretches(rows: Rows) -> list[tuple[list[float], float]]:
    """Returns (epochs, learning rate) where neither rate nor mask changes after the first drop.

    The first epoch of a stretch is the one after which it begins.
    """
    epochs, sparsity = column(rows, "epoch"), column(rows, "sparsity")
    rates, drops = column(rows, "learning_rate"), learning_rate_drops(rows)
    stretches: list[tuple[list[float], float]] = []
    for i in range(1, len(epochs)):
        if not drops or epochs[i] <= drops[0][0] or sparsity[i] != sparsity[i - 1]:
            continue
        if stretches and stretches[-1][0][-1] == epochs[i - 1] and stretches[-1][1] == rates[i]:
            stretches[-1][0].append(epochs[i])
        else:
            stretches.append(([epochs[i - 1], epochs[i]], rates[i]))
    # A ramp with rare updates also has single epochs without one: too short to compare.
    return [stretch for stretch in stretches if len(stretch[0]) > 2]


def _predictions(
    report: Mapping[str, Any], rows: Rows, epochs: Sequence[int], layers: Sequence[Sequence[float]]
) -> Iterator[tuple[list[float], list[float]]]:
    """Yields (epochs, W_std) as eq. 5 has it, from the W_std measured where a stretch begins."""
    train = (report.get("config") or {}).get("train") or {}
    decay, momentum = train.get("weight_decay"), train.get("momentum")
    steps_per_epoch = (report.get("schedule") or {}).get("steps_per_epoch")
    if None in (decay, momentum, steps_per_epoch):
        return
    for values in layers:
        measured = dict(zip(epochs, values, strict=True))
        for stretch, rate in _steady_stretches(rows):
            predicted = [measured.get(stretch[0], math.nan)]
            if math.isnan(predicted[0]):
                continue
            for _ in stretch[1:]:
                std = predicted_std(predicted[-1], steps_per_epoch, rate, decay, momentum)
                predicted.append(std)
            yield stretch, predicted


def draw_weight_std(
    report: Mapping[str, Any], metrics: Rows, weight_std: Mapping[str, Any]
) -> Figure:
    """Draws W_std, the standard deviation of each layer's weights, per epoch (paper, Fig. 2a).

    Dashed, for three layers: the low-gradient law (paper, eq. 5), where the report tells enough.

    Args:
        report: Of it the training recipe and the steps per epoch are used.
        metrics: The rows of all phases; those of the search count.
        weight_std: {"epochs": [int], "layers": {name: [float per epoch]}}, input layer first.
    """
    rows = [row for row in metrics if row.get("phase", "search") == "search"]
    epochs = weight_std.get("epochs") or []
    layers = [list(map(number, values)) for values in (weight_std.get("layers") or {}).values()]
    title = "Standard deviation of the weights of each layer"
    if epochs and layers:
        first, last = ([values[i] for values in layers] for i in (0, -1))
        title = (
            f"Spread of the weights per layer: {min(first):.2g} to {max(first):.2g} at epoch "
            f"{epochs[0]}, {min(last):.2g} to {max(last):.2g} at epoch {epochs[-1]}"
        )
    figure = drawing.new_figure(4, title)
    axes = figure.subplots()
    drawing.style(axes, "Epoch", "Standard deviation of kept weights (log)")
    drawing.epoch_axis(axes, drawing.last_epoch(rows, epochs))
    if not epochs or not layers:
        drawing.nothing(axes)
        return figure
    _draw_by_depth(figure, axes, epochs, layers)
    # More layers than three would hide what was measured.
    chosen = [layers[i] for i in sorted({0, len(layers) // 2, len(layers) - 1})]
    line = None
    for stretch, predicted in _predictions(report, rows, epochs, chosen):
        (line,) = axes.plot(stretch, predicted, "--", color=drawing.GREY, linewidth=1.6)
    if line is not None:
        line.set_label("eq. 5: weight decay alone (first, middle and last layer)")
        figure.legend(loc="outside lower center", fontsize=drawing.SMALL, frameon=False)
    # Weight decay shrinks by a factor, and equal factors are parallel on a log scale only.
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    for epoch, rate in learning_rate_drops(rows):
        drawing.mark(axes, epoch, f"LR {rate:.3g}", line=":")
    return figure
