"""The figures of a run: each with its name, how it is drawn, and what stands under it.

The toolkit's own are registered as users register theirs. Accuracies and sparsities are fractions
in [0, 1] in the data and percent in the figures; epochs are counted from 1, and a value at epoch e
was measured at the end of that epoch. Matplotlib is imported when the first figure is drawn.
"""

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.config import config_from_dict
from tf_earlyticket.detectors.base import Observation, WeightSignals, make_detector
from tf_earlyticket.detectors.ppr_saturation import GatedPPR, PPRSaturation
from tf_earlyticket.detectors.weight_signals import LayerRateConvergence, MaskDistance
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.statistics import predicted_std
from tf_earlyticket.registry import Registry
from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import Rows, column, number, percent, percents, points
from tf_earlyticket.report.report import Report, Signals
from tf_earlyticket.report.timings import draw_timings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# {"epochs": [int], "layers": {name: [float per epoch]}}, the input layer first.
WeightStd = Mapping[str, Any]


# From the report, the rows of `metrics.csv` and the spread of the weights to a Figure, or None.
Draw = Callable[[Report, Rows, WeightStd], Any]


@dataclass(frozen=True)
class RunFigure:
    """How a figure is drawn, and the sentences under it."""

    draw: Draw
    caption: str


FIGURES: Registry[RunFigure] = Registry("figure")


def register_figure(name: str, draw: Draw, caption: str, *, own: bool = False) -> None:
    """Adds a figure to those of every run: to `figures/`, the page and TensorBoard.

    Args:
        name: That of the file, without `.png`; a figure that was registered before is replaced.
        draw: From the report, the rows of `metrics.csv` (dicts) and the spread of the weights
            ({"epochs": [int], "layers": {name: [float per epoch]}}) to a Matplotlib figure, or
            None where there is nothing to show.
        caption: What stands under it.
        own: Whether it is the toolkit's own, which cannot be replaced.

    Raises:
        InputError: If an argument is of another kind, or the name is one of the toolkit's.

    Example:
        >>> def draw_loss(report, metrics, weight_std):
        ...     figure = matplotlib.figure.Figure()
        ...     figure.subplots().plot([row["loss"] for row in metrics])
        ...     return figure
        >>> et.register_figure("loss", draw_loss, "The loss on the training data.")
    """
    checks.function("draw", draw)
    if not isinstance(caption, str):
        raise checks.refuse("caption", caption, "a text")
    FIGURES.register(name, RunFigure(draw, caption), own=own)


def draw_all(
    report: Report,
    metrics: Rows,
    weight_std: WeightStd,
    directory: Path,
    names: Iterable[str] | None = None,
) -> dict[str, Path]:
    """Writes figures of a run, all or those named, to `directory`, made where it is missing.

    Returns:
        The path of each figure by its name, in the order to show them in. `layer_rates` and
        `mask_distance` need signals, which runs before these were recorded do not have.
    """
    paths = {}
    for name in FIGURES if names is None else names:
        figure = FIGURES.get(name).draw(report, metrics, weight_std)
        if figure is not None:
            paths[name] = Path(directory) / f"{name}.png"
            drawing.save(figure, paths[name])
    return paths


def drawn_figures(directory: Path) -> dict[str, Path]:
    """Returns the figures that are in a directory as `draw_all` does; others come last."""
    found = {
        path.relative_to(directory).as_posix().removesuffix(".png"): path
        for path in sorted(directory.rglob("*.png"))
    }
    return {name: found[name] for name in FIGURES if name in found} | found


def caption_of(name: str) -> str:
    """Returns what stands under a figure; of one that nobody registered here, its name."""
    return FIGURES.get(name).caption if name in FIGURES else name.replace("_", " ")


def _own(name: str, caption: str) -> Callable[[Draw], Draw]:
    """Registers the function that it stands above as one of the toolkit's."""

    def registered(draw: Draw) -> Draw:
        register_figure(name, draw, caption, own=True)
        return draw

    return registered


def _mark_start(axes: "Axes", start: int | None) -> None:
    if start is not None:
        drawing.mark(axes, start, f"start epoch {start}")


def _ppr_title(report: Report) -> str:
    start, detected = report.start_epoch, report.decision.detected
    if not report.probe.epochs:
        return "Validation accuracy of the run; no probe was made"
    if start is None:
        return "Accuracy of the pruned-then-retrained probes; no start epoch was chosen"
    if detected is None:
        return f"Accuracy of the pruned-then-retrained probes; pruning starts at epoch {start}"
    if detected:
        return f"Accuracy after pruning and a short retraining saturates by epoch {start}"
    return f"The probes showed no saturation in time: pruning had to start at epoch {start}"


@_own(
    "ppr",
    "The probes. After each probed epoch a copy of the network is pruned at once to the final "
    "sparsity, retrained for a short while and measured on validation data, then thrown away. "
    "The curve, with its standard deviation, is what the start was decided on; dotted from the end "
    "of the ramp on: what waiting would have had to gain. Compare Fig. 4 and 6 of the paper.",
)
def draw_ppr(report: Report, metrics: Rows, _: WeightStd) -> "Figure":
    """Draws the probes' accuracies and the start epoch (Fig. 4 and 6 of the paper)."""
    probe, start, epochs = report.probe, report.start_epoch, list(report.probe.epochs)
    figure, axes = drawing.new_axes(4.4, _ppr_title(report), "Epoch", "Validation accuracy (%)")
    lines = [
        ("dense", percents(probe.dense_accuracy), drawing.GREEN, "^:"),
        ("pruned, then retrained (PPR)", percents(probe.ppr_accuracy), drawing.BLUE, "o-"),
        ("pruned, not retrained", percents(probe.pruned_accuracy), drawing.VERMILLION, "s--"),
    ]
    if not epochs:
        # The training of a rewound ticket counts its epochs from 1 again.
        rows = [row for row in metrics if row.get("phase") != "retrain"] or metrics
        epochs, accuracy = column(rows, "epoch"), percents(column(rows, "val_accuracy"))
        lines = [("the model as trained", accuracy, drawing.GREEN, "^:")]
    drawing.curves(axes, epochs, lines)
    last = drawing.last_epoch(metrics, [*epochs, start or 0])
    if start is not None and len(probe.epochs):
        # The curve may lead far away from what was seen.
        limits = axes.get_ylim()
        _draw_decision(axes, report, last)
        axes.set_ylim(limits)
    if axes.lines:
        drawing.legend(figure, 2)
    else:
        drawing.nothing(axes)
    drawing.epoch_axis(axes, last)
    if ramp := _ramp_epochs(report):
        axes.axvspan(start, start + ramp, color=drawing.SHADE, zorder=0)
    words = ["Epoch (grey: the ramp, in which sparsity rises)" if ramp else "Epoch"]
    words += [textwrap.fill(drawing.plain(report.start_reason, 400), 80)]
    axes.set_xlabel("\n".join(filter(None, words)), fontsize=drawing.SMALL)
    _mark_start(axes, start)
    return figure


def _ramp_epochs(report: Report) -> float:
    schedule = report.schedule
    if report.start_epoch is None or schedule.begin_step is None or not schedule.steps_per_epoch:
        return 0.0
    return (schedule.end_step - schedule.begin_step) / schedule.steps_per_epoch


def _draw_decision(axes: "Axes", report: Report, last: float) -> None:
    """Draws the curve through the probes that a detector of PPR accuracy decided on, if one did."""
    detector = _judge(report)
    first, lead = report.probe.epochs[0], detector.lead_epochs if detector else 0
    end = report.start_epoch + lead
    grid = np.linspace(first, max(last, end), 200)
    found = detector.expected(np.append(grid, end)) if detector else None
    if found is None:
        return
    mean, deviation, until = found
    low, high = 100 * (mean - deviation)[:-1], 100 * np.minimum(mean + deviation, 1)[:-1]
    axes.fill_between(grid, low, high, color=drawing.BLUE, alpha=0.15, linewidth=0, zorder=0)
    axes.plot(grid, 100 * mean[:-1], color=drawing.BLUE, linewidth=1, label="fitted PPR accuracy")
    level = 100 * (mean[-1] + detector.tolerance)
    label = f"{points(detector.tolerance)} more: worth waiting for"
    axes.plot([end, until + lead], [level, level], ":", color=drawing.INK, label=label)


def _judge(report: Report) -> PPRSaturation | None:
    """Returns the detector of PPR accuracy of a run as it was when it decided."""
    latest, lead = report.decision.latest_start_epoch, round(_ramp_epochs(report))
    try:
        name = config_from_dict(report.config).probe.detector
        made = make_detector(name, latest or 1, lead_epochs=lead)
        detector = made.ppr if isinstance(made, GatedPPR) else made
        if latest is None or not isinstance(detector, PPRSaturation):
            return None
        for epoch, accuracy, dense in zip(
            report.probe.epochs, report.probe.ppr_accuracy, report.probe.dense_accuracy, strict=True
        ):
            detector.update(epoch, Observation(accuracy, dense_accuracy=dense))
    except InputError:
        # A detector or field that is not known here.
        return None
    return detector


def _staircase(report: Report, metrics: Rows) -> list[tuple[float, float]]:
    """Returns (epoch, sparsity as a fraction); each sparsity holds until the next epoch."""
    updates, steps_per_epoch = report.schedule.updates, report.schedule.steps_per_epoch
    if updates and steps_per_epoch:
        reached = [(step / steps_per_epoch, float(sparsity)) for step, sparsity in updates]
    else:
        # When within its epoch a row's sparsity was reached is not known; its end is safe.
        reached = [(number(row["epoch"]), number(row.get("sparsity"))) for row in metrics]
    # A rewound ticket is pruned before its first epoch.
    rewound = bool(metrics) and metrics[0].get("phase") == "retrain"
    return [(0.0, reached[0][1] if rewound else 0.0), *reached]


def _sparsity_title(changes: Sequence[tuple[float, float]]) -> str:
    if not changes:
        return "Sparsity: nothing is pruned on the way"
    first, last = (f"{epoch:.1f}".removesuffix(".0") for epoch, _ in (changes[0], changes[-1]))
    goal = percent(changes[-1][1])
    if len(changes) == 1:
        return f"Sparsity goes to {goal} at once, after epoch {first}"
    return f"Sparsity rises to {goal} in {len(changes)} updates (epochs {first} to {last})"


@_own(
    "sparsity",
    "Sparsity and validation accuracy over the run. Gradual pruning follows its schedule, unless "
    "another was chosen equation 6 of the paper, in steps.",
)
def draw_sparsity(report: Report, metrics: Rows, _: WeightStd) -> "Figure":
    """Draws sparsity and, below it, validation accuracy over epochs and steps."""
    from matplotlib.ticker import FuncFormatter

    # The training of a rewound ticket counts its epochs from 1 again.
    metrics = [row for row in metrics if row.get("phase") == "retrain"] or metrics
    stairs = _staircase(report, metrics)
    changes = [
        stair
        for previous, stair in itertools.pairwise(stairs)
        if stair[1] != previous[1] and not math.isnan(stair[1])
    ]
    last_epoch = drawing.last_epoch(metrics, [stairs[-1][0]])
    stairs.append((last_epoch, stairs[-1][1]))
    figure = drawing.new_figure(4.8, _sparsity_title(changes))
    top, bottom = figure.subplots(2, 1, sharex=True)
    drawing.style(top, "", "Sparsity (%)")
    x, y = zip(*stairs, strict=True)
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
        words = "Grey: from the first to the last change of the mask"
        figure.supxlabel(words, fontsize=drawing.SMALL)
    if per_epoch := report.schedule.steps_per_epoch:
        there_and_back = (lambda epoch: epoch * per_epoch, lambda step: step / per_epoch)
        steps = top.secondary_xaxis("top", functions=there_and_back)
        steps.set_xlabel("Training step", fontsize=drawing.NORMAL)
        steps.tick_params(labelsize=drawing.SMALL)
        steps.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    return figure


def _draw_by_depth(
    figure: "Figure", axes: "Axes", epochs: Sequence[int], layers: Sequence[Sequence[float]]
) -> None:
    """Draws a line over epochs per layer, coloured by depth, and a bar that tells the depth."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

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
    return f"{title}; rates moved by up to {points(moved)} since epoch {epochs[-recent]}"


def draw_layer_rates(
    epochs: Sequence[int], rates: Sequence[Sequence[float]], start: int | None = None
) -> "Figure":
    """Draws the pseudo pruning rate of each layer per epoch (Fig. 2b of the paper), in percent.

    Args:
        epochs: From 1, or from 0 for the initial weights.
        rates: Fractions [epoch][layer].
        start: The start epoch, to be marked.
    """
    title = _rates_title(epochs, rates)
    figure, axes = drawing.new_axes(4, title, "Epoch", "Pseudo pruning rate (%)")
    drawing.epoch_axis(axes, max([*epochs, start or 0]))
    if not epochs:
        drawing.nothing(axes)
        return figure
    _draw_by_depth(figure, axes, epochs, [percents(layer) for layer in zip(*rates, strict=True)])
    _mark_start(axes, start)
    return figure


@_own(
    "layer_rates",
    "How much of each layer would go if the network were pruned at once after the epoch; "
    "nothing is pruned, and no training is needed to know it. Compare Fig. 2b of the paper: "
    "once the rates settle, the layers' shares of the ticket are known.",
)
def _draw_layer_rates(report: Report, _: Rows, __: WeightStd) -> "Figure | None":
    signals = report.signals
    if not signals.epochs:
        return None
    return draw_layer_rates(signals.epochs, signals.pruning_rates, report.start_epoch)


def _early_bird_epoch(signals: Signals) -> int | None:
    """Returns the epoch at which `MaskDistance` would have started pruning, if any."""
    detector = MaskDistance()
    lists = (signals.pruning_rates, signals.mask_distances, signals.similarities)
    for epoch, *lists_of_epoch in zip(signals.epochs, *lists, strict=True):
        values = map(tuple, lists_of_epoch)
        if detector.update(epoch, Observation(signals=WeightSignals(*values))).saturated:
            return epoch
    return None


@_own(
    "mask_distance",
    "How far the mask that pruning at once would give is from those of the epochs before: "
    "normalised Hamming distance, the share of weights that only one of both keeps. "
    "Early-Bird tickets (You et al., 2020) are drawn when five masks in a row are within the "
    "dotted line of each other. Unrelated masks of sparsity p differ in 2p(1 - p) of the weights. "
    "Compare Fig. 3 of the paper: equally good tickets can be far apart.",
)
def draw_mask_distance(report: Report, _: Rows, __: WeightStd) -> "Figure | None":
    """Draws how far each epoch's mask is from those before (compare Fig. 3 of the paper).

    Normalised Hamming distances in percent, and the threshold of Early-Bird tickets.
    """
    signals, start, epochs = report.signals, report.start_epoch, report.signals.epochs
    if not epochs:
        return None
    every = zip(epochs, signals.mask_distances, strict=True)
    found = [(epoch, percents(values)) for epoch, values in every if values]
    threshold = 100 * MaskDistance().threshold
    title = "Distance between the masks of successive epochs"
    if found:
        met = _early_bird_epoch(signals)
        title = (
            f"Early-Bird's criterion, {MaskDistance().window} masks in a row within "
            f"{threshold:g}\u00a0% of each other, is "
            + (f"not met by epoch {epochs[-1]}" if met is None else f"first met at epoch {met}")
        )
    figure, axes = drawing.new_axes(3.8, title, "Epoch", "Mask distance (%)")
    drawing.epoch_axis(axes, max([*epochs, start or 0]))
    if not found:
        drawing.nothing(axes)
        return figure
    seen, values = zip(*found, strict=True)
    largest = f"to the farthest of up to {max(map(len, values))} before"
    previous = [value[0] for value in values]
    lines = [
        (largest, [*map(max, values)], drawing.VERMILLION, "s--"),
        ("to the epoch before", previous, drawing.BLUE, "o-"),
    ]
    limit = {"color": drawing.INK, "linestyle": ":", "label": f"Early-Bird: {threshold:g} %"}
    drawing.curves(axes, seen, lines)
    axes.axhline(threshold, linewidth=1.4, **limit)
    axes.set_ylim(bottom=0)
    drawing.legend(figure, 3)
    _mark_start(axes, start)
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


def _steady_stretches(rows: Rows) -> Iterator[tuple[list[float], float]]:
    """Yields (epochs, learning rate) where neither rate nor mask changes after the first drop.

    The first epoch of a stretch is the one after which it begins.
    """
    epochs, sparsity = column(rows, "epoch"), column(rows, "sparsity")
    rates, drops = column(rows, "learning_rate"), learning_rate_drops(rows)

    def steady_rate(i: int) -> float | None:
        after = drops and epochs[i] > drops[0][0] and not math.isnan(rates[i])
        return rates[i] if after and sparsity[i] == sparsity[i - 1] else None

    for rate, places in itertools.groupby(range(1, len(epochs)), steady_rate):
        first, *more = places
        # A ramp with rare updates also has single epochs without one: too short to compare.
        if rate is not None and more:
            yield epochs[first - 1 : more[-1] + 1], rate


def draw_weight_std(
    metrics: Rows,
    weight_std: WeightStd,
    *,
    weight_decay: float | None = None,
    momentum: float | None = None,
    steps_per_epoch: int | None = None,
) -> "Figure":
    """Draws W_std, the standard deviation of each layer's weights, per epoch (paper, Fig. 2a).

    Dashed, for three layers: the low-gradient law (paper, eq. 5), where the last three are known.

    Args:
        metrics: The rows of all phases; those of the search and what went on from it count.
        weight_std: {"epochs": [int], "layers": {name: [float per epoch]}}, input layer first.
        weight_decay: The paper's lambda.
        momentum: Of SGD.
        steps_per_epoch: Optimizer steps of an epoch.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    rows = [row for row in metrics if row.get("phase", "search") in ("search", "shrunk")]
    epochs = weight_std.get("epochs") or []
    layers = [list(map(number, values)) for values in (weight_std.get("layers") or {}).values()]
    title = "Standard deviation of the weights of each layer"
    if epochs and layers:
        first, last = ([values[i] for values in layers] for i in (0, -1))
        title = (
            f"Spread of the weights per layer: {min(first):.2g} to {max(first):.2g} at epoch "
            f"{epochs[0]}, {min(last):.2g} to {max(last):.2g} at epoch {epochs[-1]}"
        )
    y_label = "Standard deviation of kept weights (log)"
    figure, axes = drawing.new_axes(4, title, "Epoch", y_label)
    drawing.epoch_axis(axes, drawing.last_epoch(rows, epochs))
    if not epochs or not layers:
        drawing.nothing(axes)
        return figure
    _draw_by_depth(figure, axes, epochs, layers)
    # More layers than three would hide what was measured.
    chosen = [layers[i] for i in sorted({0, len(layers) // 2, len(layers) - 1})]
    line = None
    if None not in (weight_decay, momentum, steps_per_epoch):
        for values, (stretch, rate) in itertools.product(chosen, _steady_stretches(rows)):
            stds = [dict(zip(epochs, values, strict=True)).get(stretch[0], math.nan)]
            if not math.isnan(stds[0]):
                for _ in stretch[1:]:
                    std = predicted_std(stds[-1], steps_per_epoch, rate, weight_decay, momentum)
                    stds.append(std)
                (line,) = axes.plot(stretch, stds, "--", color=drawing.GREY, linewidth=1.6)
    if line is not None:
        line.set_label("eq. 5: weight decay alone (first, middle and last layer)")
        drawing.legend(figure)
    # Weight decay shrinks by a factor, and equal factors are parallel on a log scale only.
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    for epoch, rate in learning_rate_drops(rows):
        drawing.mark(axes, epoch, f"LR {rate:.3g}", line=":")
    return figure


@_own(
    "weight_std",
    "How far the kept weights of each layer spread; pruning removes the small ones, so lines "
    "rise. Compare Fig. 2a of the paper, where nothing is pruned: once lines run in parallel, "
    "the layers' shares of the kept weights change little. Dashed: equation 5 of the paper, "
    "the shrinkage by weight decay alone, for stretches after the first drop of the learning "
    "rate (LR) in which neither it nor the mask changes.",
)
def _draw_weight_std(report: Report, metrics: Rows, weight_std: WeightStd) -> "Figure":
    train = report.recipe.train
    # Eq. 5 is of plain momentum.
    plain = train.optimizer == "sgd" and train.clip_norm is None
    return draw_weight_std(
        metrics,
        weight_std,
        weight_decay=train.weight_decay if plain else None,
        momentum=train.momentum,
        steps_per_epoch=report.schedule.steps_per_epoch,
    )


@_own(
    "layer_sparsity",
    "How much of each layer the ticket does without. Compare the last epoch of Fig. 2b of the "
    "paper, where one ranking over all layers decides.",
)
def draw_layer_sparsity(report: Report, _: Rows, __: WeightStd) -> "Figure":
    """Draws the ticket's sparsity per layer, the input at the top, and over all layers."""
    layers, overall = report.ticket.layers, report.ticket.sparsity
    values = percents([layer.sparsity for layer in layers])
    title = "Sparsity per layer"
    if layers:
        title = (
            f"Overall {percent(overall)} sparse; single layers range from {min(values):.1f} to "
            f"{max(values):.1f}\u00a0%"
        )
    figure, axes = drawing.new_axes(max(2.2, 1.1 + 0.16 * len(layers)), title, "Sparsity (%)", "")
    axes.set_xlim(0, 112)  # the numbers stand at 102, where neither bar nor line can be
    axes.set_xticks(range(0, 101, 20))
    if not layers:
        drawing.nothing(axes)
        return figure
    places = range(len(layers))
    axes.barh(places, values, height=0.72, color=drawing.BLUE)
    for place, value in zip(places, values, strict=True):
        axes.text(102, place, f"{value:.1f}", va="center", fontsize=7.5, color=drawing.INK)
    names = [drawing.plain(layer.name, 34) for layer in layers]
    axes.set_yticks(places, names, fontsize=7.5)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.axvline(100 * overall, color=drawing.VERMILLION, linewidth=1.4, label="all layers")
    drawing.legend(figure)
    return figure


@_own(
    "timings",
    "The ticket's files as `python -m tf_earlyticket.bench` timed them: left is faster, up is "
    "better. Hollow marks are the dense network.",
)
def _draw_timings(report: Report, _: Rows, __: WeightStd) -> "Figure | None":
    return draw_timings(report.bench)
