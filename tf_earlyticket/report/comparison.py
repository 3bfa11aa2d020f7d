"""Several runs side by side: accuracy against cost and sparsity."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tf_earlyticket import checks
from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import count, percent
from tf_earlyticket.report.report import Report, Timing
from tf_earlyticket.report.timings import plot_timings, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Run:
    """The numbers of a finished run that are compared.

    Attributes:
        name: Its directory.
        sparsity: Of the ticket, a fraction, as are all accuracies, which are on the test set.
        network_sparsity: Of all kernels; None in reports of before.
        accuracy: Of the ticket.
        dense_accuracy: Of the dense network; None if not trained.
        start_epoch: None if the ticket was given.
        epochs: Of cost, all together.
        probe_epochs: Of these, in probes.
        timings: What `bench` measured of its ticket.
    """

    name: str
    data: str
    model: str
    seed: int
    sparsity: float
    network_sparsity: float | None
    accuracy: float
    dense_accuracy: float | None
    dense_epochs: int
    start_epoch: int | None
    epochs: float
    probe_epochs: float
    timings: list[Timing] = field(default_factory=list)


# What the table shows of a run, by heading.
_CELLS: dict[str, Callable[[Run], str]] = {
    "Run": lambda run: run.name,
    "Data": lambda run: run.data,
    "Network": lambda run: run.model,
    "Seed": lambda run: str(run.seed),
    "Sparsity (%)": lambda run: percent(run.sparsity, 2, sign=""),
    "Of all kernels (%)": lambda run: percent(run.network_sparsity, 2, sign=""),
    "Ticket (%)": lambda run: percent(run.accuracy, 2, sign=""),
    "Dense (%)": lambda run: percent(run.dense_accuracy, 2, sign=""),
    "Start epoch": lambda run: count(run.start_epoch),
    "Epochs": lambda run: count(run.epochs, 1),
    "In probes": lambda run: count(run.probe_epochs, 1),
}
COLUMNS = tuple(_CELLS)


def read_run(directory: Path) -> Run:
    """Returns the numbers of a finished run.

    Raises:
        InputError: If there is no `report.json` in it, or it is damaged.
    """
    path = directory / "report.json"
    if not path.exists():
        raise checks.refuse("RUN", str(directory), "the directory of a finished run")
    report = Report.read(path)
    recipe = report.recipe
    return Run(
        name=str(directory),
        data=recipe.data.name,
        model=recipe.model.name,
        seed=recipe.seed,
        sparsity=report.ticket.sparsity,
        network_sparsity=report.ticket.network_sparsity,
        accuracy=report.ticket.test_accuracy,
        dense_accuracy=report.dense and report.dense.test_accuracy,
        dense_epochs=recipe.train.epochs,
        start_epoch=report.start_epoch,
        epochs=report.cost.total_epochs,
        probe_epochs=report.cost.probe_epochs,
        timings=report.bench,
    )


def cells(runs: Sequence[Run]) -> list[list[str]]:
    """Returns the cells of a table of runs, under `COLUMNS`."""
    return [[cell(run) for cell in _CELLS.values()] for run in runs]


def draw(runs: Sequence[Run]) -> "Figure":
    """Draws test accuracy over epochs of cost and over sparsity, a number per run.

    Hollow: the dense network of the same run, at its own cost. Below accuracy over latency, where
    that was measured.
    """
    timed = shown([replace(t, path=run.name) for run in runs for t in run.timings])
    title = "Tickets of several runs: accuracy against cost and sparsity"
    height = 2.9 + 0.2 * len(runs)
    figure = drawing.new_figure(
        height + 3.6 * bool(timed),
        f"{title}, latency and size (area)" if timed else title,
    )
    places = figure.subplot_mosaic([[0, 1], [2, 2]] if timed else [[0, 1]])
    left, right = places[0], places[1]
    right.sharey(left)
    right.tick_params(labelleft=False)
    drawing.style(left, "Epochs of cost, probes included", "Test accuracy (%)")
    drawing.style(right, "Sparsity (%)", "")
    hollow = {"color": drawing.GREEN, "fillstyle": "none"}
    for number, run in enumerate(runs, start=1):
        for axes, x, dense_x in (
            (left, run.epochs, run.dense_epochs),
            (right, 100 * run.sparsity, 0),
        ):
            label = f"{number}: {drawing.plain(run.name, 60)}"
            place = (x, 100 * run.accuracy)
            axes.plot(*place, "o", color=drawing.BLUE, label=label if axes is left else None)
            look = {"textcoords": "offset points", "fontsize": drawing.SMALL, "color": drawing.INK}
            axes.annotate(str(number), place, xytext=(5, 4), **look)
            if run.dense_accuracy is not None:
                axes.plot(dense_x, 100 * run.dense_accuracy, "o", **hollow)
    if any(run.dense_accuracy is not None for run in runs):
        left.plot([], [], "o", label="the dense network of a run", **hollow)
    if timed:
        plot_timings(places[2], timed, [run.name for run in runs])
        look = {"fontsize": drawing.SMALL, "frameon": False, "handlelength": 0.5}
        places[2].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, **look)
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower left",
        fontsize=drawing.SMALL,
        frameon=False,
        handlelength=0,
        ncols=1,
    )
    return figure
