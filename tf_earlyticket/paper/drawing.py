"""What the figures of the paper's items and of the detector study have in common."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tf_earlyticket.report import drawing

_COLOURS = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "os^Dvp"


def heat_map(
    title: str,
    rows: Sequence[Mapping],
    x: tuple[str, str],
    y: tuple[str, str],
    value: str,
    scale: float = 100,
) -> Figure:
    """Draws a mean as a map, its number in each cell; cells that are missing stay empty.

    Args:
        title: Above it.
        rows: Of a summary.
        x: Key and label of the horizontal axis.
        y: Key and label of the vertical axis.
        value: Whose mean is drawn.
        scale: Factor of the numbers, 100 for percent.
    """
    columns, lines = (sorted({row[key] for row in rows}) for key in (x[0], y[0]))
    figure = drawing.new_figure(1.4 + 0.34 * max(len(lines), 3), title)
    axes = figure.subplots()
    axes.set_xlabel(x[1], fontsize=drawing.NORMAL)
    axes.set_ylabel(y[1], fontsize=drawing.NORMAL)
    if not rows:
        drawing.nothing(axes)
        return figure
    values = np.full((len(lines), len(columns)), np.nan)
    for row in rows:
        values[lines.index(row[y[0]]), columns.index(row[x[0]])] = scale * row[f"{value}_mean"]
    image = axes.imshow(values, cmap="viridis", aspect="auto", origin="lower")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (line, column), number in np.ndenumerate(values):
        if not np.isnan(number):
            colour = "white" if number < middle else drawing.INK
            look = {"ha": "center", "va": "center", "fontsize": drawing.SMALL, "color": colour}
            axes.text(column, line, f"{number:.3f}" if scale == 1 else f"{number:.1f}", **look)
    axes.set_xticks(range(len(columns)), [str(value) for value in columns])
    axes.set_yticks(range(len(lines)), [str(value) for value in lines])
    axes.tick_params(labelsize=drawing.SMALL)
    figure.colorbar(image, ax=axes, pad=0.02).ax.tick_params(labelsize=drawing.SMALL)
    return figure


def curves(
    title: str,
    series: Mapping[str, tuple[str, Sequence[Mapping]]],
    x: tuple[str, str],
    y_label: str,
) -> Figure:
    """Draws means in percent as lines, with bands from the least to the greatest seed.

    Args:
        title: Above it.
        series: By label, the value that is drawn and the rows of a summary.
        x: Key and label of the horizontal axis.
        y_label: Of the vertical axis.
    """
    figure, axes = drawing.new_axes(4, title, x[1], y_label)
    if not any(rows for _, rows in series.values()):
        drawing.nothing(axes)
        return figure
    for place, (label, (value, rows)) in enumerate(series.items()):
        form = f"{_MARKERS[place % len(_MARKERS)]}-"
        at, spread = [row[x[0]] for row in rows], ("mean", "min", "max")
        lines = [[row[f"{value}_{name}"] for row in rows] for name in spread]
        several = any(row["seeds"] > 1 for row in rows)
        band(axes, at, lines if several else lines[:1], label, _COLOURS[place % 6], form)
    drawing.legend(figure, 2)
    return figure


def band(
    axes: Axes, at: Sequence, lines: Sequence[Sequence[float]], label: str, colour: str, form: str
) -> None:
    """Draws a mean in percent, and a band from the least to the greatest.

    Args:
        axes: Where to.
        at: Places on the horizontal axis.
        lines: Fractions: the mean, and if there are several runs, the least and the greatest.
        label: In the legend.
        colour: Of both.
        form: Marker and line, as Matplotlib has it.
    """
    mean, *extremes = 100 * np.asarray(lines, np.float64)
    axes.plot(at, mean, form, label=label, color=colour, markersize=4, linewidth=1.5)
    if extremes:
        axes.fill_between(at, *extremes, color=colour, alpha=0.16, linewidth=0)
