"""What the figures have in common: palette, axes, text that is safe to draw, file writing."""

import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Rows = Sequence[Mapping[str, Any]]

# Okabe and Ito's palette: told apart with every common colour vision.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, SHADE = "#222222", "#6B6B6B", "#EFEFEF"
SMALL, NORMAL, LARGE = 9, 10, 10.5  # points; a phone shows about half of it


def replace_file(path: Path, content: bytes) -> None:
    """Writes `content` to `path`; a reader finds the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    image = io.BytesIO()
    figure.savefig(image, format="png", facecolor="white")
    replace_file(path, image.getvalue())


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


def plain(text: str, width: int) -> str:
    """Returns `text` on one line of about `width` characters, with no TeX in it."""
    text = " ".join(str(text).split())
    if len(text) > width:
        # Layer names differ at both ends, so the middle is what can go.
        text = text[: width // 2] + "…" + text[-(width // 2) :]
    return text.replace("$", r"\$")


def new_figure(height: float, title: str) -> Figure:
    """Returns a figure of 6 by `height` inches, unknown to pyplot."""
    figure = Figure(figsize=(6, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    # Broken here, as the layout reserves one line for a title that Matplotlib breaks itself;
    # into lines of about equal length.
    width = len(title) // math.ceil(len(title) / 64) + 8
    figure.suptitle(textwrap.fill(title, width), fontsize=LARGE, color=INK)
    return figure


def style(axes: Axes, x_label: str, y_label: str) -> None:
    """Gives axes their labels and the common look."""
    axes.set_facecolor("white")
    axes.set_axisbelow(True)
    axes.grid(True, color="#E3E3E3", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    axes.set_xlabel(x_label, fontsize=NORMAL)
    axes.set_ylabel(y_label, fontsize=NORMAL)


def epoch_axis(axes: Axes, last_epoch: float) -> None:
    """Lets x run from 0 to just beyond `last_epoch`, with ticks at whole epochs."""
    axes.set_xlim(0, max(last_epoch, 1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def nothing(axes: Axes) -> None:
    """Says in the middle of empty axes that they are empty on purpose."""
    axes.set_yticks([])
    axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center", color=GREY)


def mark(axes: Axes, x: float, label: str, line: str = "-") -> None:
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
