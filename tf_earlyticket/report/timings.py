"""What `bench` measured, for people: a table, and accuracy against latency against size."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import count, percent
from tf_earlyticket.report.report import Timing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FIRST = ("Ticket", "Runtime", "Precision")
TIMING_COLUMNS = (
    *(*_FIRST, "Batch", "Threads", "ms", "Dense, ms", "Latency / dense", "Examples a second"),
)
FILE_COLUMNS = (
    *(*_FIRST, "Bytes", "/ dense", "Compressed", "/ dense", "Load, ms", "Dense, ms"),
    *("Memory, MB", "Dense, MB", "Accuracy (%)"),
)
ESTIMATE_COLUMNS = (
    *("Ticket", "Accelerator", "Cycles", "/ dense", "Arithmetic alone", "/ dense"),
    *("Weights, bytes", "/ dense", "Operators left to the CPU"),
)
_COLOURS = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, drawing.INK)
_MARKERS = {"float32": "o", "int8": "s"}
# Of the largest file, in square points.
_AREA = 220


def timing_rows(timings: Sequence[Timing]) -> list[list[str]]:
    """Returns the cells of the table of latencies, under `TIMING_COLUMNS`."""
    return [
        [
            *_first(item),
            count(item.batch),
            count(item.threads),
            count(item.ms, 2),
            count(item.dense_ms, 2),
            item.told,
            count(item.examples_per_second),
        ]
        for item in timings
    ]


def file_rows(timings: Sequence[Timing]) -> list[list[str]]:
    """Returns the cells of the table of files, under `FILE_COLUMNS`: each once."""
    return [
        [
            *_first(item),
            count(item.bytes),
            count(item.bytes / item.dense_bytes, 3),
            count(item.compressed_bytes),
            count(item.compressed_bytes / item.dense_compressed_bytes, 3),
            count(item.load_ms),
            count(item.dense_load_ms),
            count(item.memory_bytes and item.memory_bytes / 1e6, 1),
            count(item.dense_memory_bytes and item.dense_memory_bytes / 1e6, 1),
            percent(item.accuracy, 2, sign=""),
        ]
        for item in {tuple(_first(item)): item for item in timings[::-1]}.values()
    ][::-1]


def estimate_rows(rows: Sequence[Mapping]) -> list[list[str]]:
    """Returns the cells of the table of estimates, `bench.estimates`, under `ESTIMATE_COLUMNS`."""
    return [
        [
            row["path"],
            row["accelerator"],
            *(
                cell
                for what in ("cycles", "arithmetic_cycles", "weight_bytes")
                for cell in (count(row[what]), count(row[what] / row[f"dense_{what}"], 3))
            ),
            count(row["cpu_operators"]),
        ]
        for row in rows
    ]


def _first(item: Timing) -> list[str]:
    return [item.path, item.runtime, item.precision]


def shown(timings: Sequence[Timing]) -> list[Timing]:
    """Returns those that a figure shows: of the smallest batch and number of threads."""
    least = min(((item.batch, item.threads) for item in timings), default=None)
    return [t for t in timings if (t.batch, t.threads) == least and t.accuracy is not None]


def draw_timings(timings: Sequence[Timing]) -> "Figure | None":
    """Returns accuracy over latency, areas as sizes of files; None where no accuracy is known."""
    if not (found := shown(timings)):
        return None
    title = "Accuracy against latency; the area of a mark is the size of its file"
    figure = drawing.new_figure(4.2, title)
    plot_timings(figure.subplots(), found)
    drawing.legend(figure, columns=2)
    return figure


def plot_timings(
    axes: "Axes", timings: Sequence[Timing], numbered: Sequence[str] | None = None
) -> None:
    """Plots them, with a number for each ticket where there are several.

    Args:
        axes: Empty ones.
        timings: As `shown` returns them, at least one.
        numbered: Tickets in the order of their numbers, where a legend has them already.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    first = timings[0]
    threads = f"{first.threads} thread" + "s" * (first.threads > 1)
    drawing.style(axes, f"Latency (ms), batch {first.batch}, {threads}", "Test accuracy (%)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.12)
    runtimes = list(dict.fromkeys(item.runtime for item in timings))
    paths = list(numbered or dict.fromkeys(item.path for item in timings))
    largest = max(max(item.bytes, item.dense_bytes) for item in timings)

    def mark(item: Timing, x: float, accuracy: float, size: int, hollow: bool) -> None:
        colour = _COLOURS[runtimes.index(item.runtime) % len(_COLOURS)]
        marker, area = _MARKERS.get(item.precision, "D"), _AREA * size / largest
        face = "none" if hollow else colour
        axes.scatter(
            x, 100 * accuracy, area, facecolors=face, edgecolors=colour, marker=marker, alpha=0.8
        )

    for item in timings:
        if item.dense_accuracy is not None:
            mark(item, item.dense_ms, item.dense_accuracy, item.dense_bytes, hollow=True)
        mark(item, item.ms, item.accuracy or 0, item.bytes, hollow=False)
        if len(paths) > 1:
            place = (item.ms, 100 * (item.accuracy or 0))
            look = {"textcoords": "offset points", "fontsize": drawing.SMALL, "color": drawing.INK}
            axes.annotate(str(paths.index(item.path) + 1), place, xytext=(7, 5), **look)
    for runtime, colour in zip(runtimes, _COLOURS, strict=False):
        axes.scatter([], [], 40, color=colour, label=runtime)
    for precision in dict.fromkeys(item.precision for item in timings):
        look = {"color": drawing.GREY, "marker": _MARKERS.get(precision, "D")}
        axes.scatter([], [], 40, label=precision, **look)
    if any(item.dense_accuracy is not None for item in timings):
        look = {"facecolors": "none", "edgecolors": drawing.GREY}
        axes.scatter([], [], 40, label="hollow: the dense network", **look)
    for number, path in enumerate(paths if not numbered and len(paths) > 1 else (), start=1):
        axes.plot([], [], " ", label=f"{number}: {drawing.plain(path, 40)}")
