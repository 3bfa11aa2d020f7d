"""What figures and tables have in common: palette, axes, numbers as text, safe text, PNG files.

Figures are drawn with Matplotlib's objects only, so no backend, style or figure of the caller is
touched; it is imported when the first one is made.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_earlyticket import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

# Okabe and Ito's palette: told apart with every common colour vision.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, SHADE = "#222222", "#6B6B6B", "#EFEFEF"
UNKNOWN = "–"
SMALL, NORMAL, LARGE = 9, 10, 10.5  # points; a phone shows about half of it


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")


def number(value: Any) -> float:
    """Returns a cell of `metrics.csv` as a float; NaN for None and the empty string."""
    return math.nan if value is None or value == "" else float(value)


def column(metrics: Rows, name: str) -> list[float]:
    """Returns one column of `metrics.csv`, with NaN where a row has no value."""
    return [number(row.get(name)) for row in metrics]


def last_epoch(metrics: Rows, epochs: Sequence[float] = ()) -> float:
    """Returns the last epoch of `metrics` and `epochs` together, 1 where there is none."""
    return max([*column(metrics, "epoch"), *epochs], default=1.0)


def percents(fractions: Sequence[Any]) -> list[float]:
    """Returns fractions as percent, with NaN where there is none."""
    return [100 * number(value) for value in fractions]


def percent(fraction: Any, digits: int = 1, sign: str = "\u00a0%") -> str:
    """Returns a fraction as text in percent: 0.8 gives "80.0 %", nothing known a dash."""
    value = number(fraction)
    return UNKNOWN if math.isnan(value) else f"{100 * value:.{digits}f}{sign}"


def points(difference: float, digits: int = 1) -> str:
    """Returns a difference of fractions as text: -0.004 gives "0.4 points"."""
    return f"{100 * abs(difference):.{digits}f} points"


def count(value: Any, digits: int = 0) -> str:
    """Returns a number with thousands separators: 1234567 gives "1,234,567"."""
    value = number(value)
    return UNKNOWN if math.isnan(value) else f"{value:,.{digits}f}"


def short(value: Any) -> str:
    """Returns a number with its first four digits: 0.1 stored as float32 gives "0.1"."""
    return UNKNOWN if math.isnan(number(value)) else f"{number(value):.4g}"


def duration(seconds: Any) -> str:
    """Returns seconds as text: 3725 gives "1 h 2 min 5 s"."""
    value = number(seconds)
    if math.isnan(value):
        return UNKNOWN
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min {rest} s"


def plain(text: str, width: int) -> str:
    """Returns `text` on one line of about `width` characters, with no TeX in it."""
    text = " ".join(str(text).split())
    if len(text) > width:
        # Layer names differ at both ends, so the middle is what can go.
        text = text[: width // 2] + "…" + text[-(width // 2) :]
    return text.replace("$", r"\$")


def new_figure(height: float, title: str) -> "Figure":
    """Returns a figure of 6 by `height` inches, unknown to pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    # Broken here, as the layout reserves one line for a title that Matplotlib breaks itself;
    # into lines of about equal length.
    width = len(title) // math.ceil(len(title) / 64) + 8
    figure.suptitle(textwrap.fill(title, width), fontsize=LARGE, color=INK)
    return figure


def new_axes(height: float, title: str, x_label: str, y_label: str) -> "tuple[Figure, Axes]":
    """Returns a figure of 6 by `height` inches with one pair of axes in the common look."""
    figure = new_figure(height, title)
    axes = figure.subplots()
    style(axes, x_label, y_label)
    return figure, axes


def style(axes: "Axes", x_label: str, y_label: str) -> None:
    """Gives axes their labels and the common look."""
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    axes.grid(True, color="#E3E3E3", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.set_xlabel(x_label, fontsize=NORMAL)
    axes.set_ylabel(y_label, fontsize=NORMAL)


def epoch_axis(axes: "Axes", last_epoch: float) -> None:
    """Lets x run from 0 to just beyond `last_epoch`, with ticks at whole epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, max(last_epoch, 1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def curves(axes: "Axes", x: Sequence, lines: Sequence[tuple[str, Sequence, str, str]]) -> None:
    """Draws lines over `x`, given as (label, y, colour, marker and line), where y has values."""
    # More markers would hide the line.
    look = {"markersize": 4, "markevery": max(1, len(x) // 30), "linewidth": 1.5}
    for label, y, colour, form in lines:
        if len(y):
            axes.plot(x, y, form, label=label, color=colour, **look)


def legend(figure: "Figure", columns: int = 1) -> None:
    """Puts the legend of a whole figure below its axes."""
    figure.legend(loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False)


def nothing(axes: "Axes") -> None:
    """Says in the middle of empty axes that they are empty on purpose."""
    axes.set_yticks([])
    axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", color=GREY)


def mark(axes: "Axes", x: float, label: str, line: str = "-") -> None:
    """Draws a vertical line at `x`, labelled above the axes where no curve can be.

    Call it last: where the label goes depends on the limits of the x axis.
    """
    axes.axvline(x, color=INK, linewidth=1.2, linestyle=line)
    left, right = axes.get_xlim()
    # Centred on the line as far as the text, by a guess of its width, stays within the axes.
    half = min(0.5, 0.0068 * len(label))
    place = min(max((x - left) / (right - left), half), 1 - half)
    look = {"ha": "center", "va": "bottom", "fontsize": SMALL, "color": INK}
    axes.text(place, 1.01, label, transform=axes.transAxes, **look)
