"""Several runs side by side: accuracy against cost and sparsity."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tf_earlyticket import checks
from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import UNKNOWN, percent
from tf_earlyticket.report.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    "Run",
    "Data",
    "Network",
    "Seed",
    "Sparsity (%)",
    "Ticket (%)",
    "Dense (%)",
    "Start epoch",
    "Epochs",
    "In probes",
)


@dataclass(frozen=True)
class Run:
    """The numbers of a finished run that are compared.

    Attributes:
        name: Its directory.
        data: Name of the data set.
        model: Name of the network.
        seed: Of the run.
        sparsity: Of the ticket, a fraction.
        accuracy: Of the ticket on the test set, a fraction.
        dense_accuracy: Of the dense network; None if not trained.
        dense_epochs: Epochs of the dense network's training.
        start_epoch: None if the ticket was given.
        epochs: Of cost, all together.
        probe_epochs: Of these, in probes.
    """

    name: str
    data: str
    model: str
    seed: int
    sparsity: float
    accuracy: float
    dense_accuracy: float | None
    dense_epochs: int
    start_epoch: int | None
    epochs: float
    probe_epochs: float


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
        accuracy=report.ticket.test_accuracy,
        dense_accuracy=report.dense and report.dense.test_accuracy,
        dense_epochs=recipe.train.epochs,
        start_epoch=report.start_epoch,
        epochs=report.cost.total_epochs,
        probe_epochs=report.cost.probe_epochs,
    )


def cells(runs: Sequence[Run]) -> list[list[str]]:
    """Returns the cells of a table of runs, under `COLUMNS`."""
    return [
        [
            run.name,
            run.data,
            run.model,
            str(run.seed),
            percent(run.sparsity, 2, sign=""),
            percent(run.accuracy, 2, sign=""),
            percent(run.dense_accuracy, 2, sign=""),
            UNKNOWN if run.start_epoch is None else str(run.start_epoch),
            f"{run.epochs:.1f}",
            f"{run.probe_epochs:.1f}",
        ]
        for run in runs
    ]


def draw(runs: Sequence[Run]) -> "Figure":
    """Draws test accuracy over epochs of cost and over sparsity, a number per run.

    Hollow: the dense network of the same run, at its own cost.
    """
    figure = drawing.new_figure(
        2.9 + 0.2 * len(runs), "Tickets of several runs: accuracy against cost and sparsity"
    )
    left, right = figure.subplots(1, 2, sharey=True)
    drawing.style(left, "Epochs of cost, probes included", "Test accuracy (%)")
    drawing.style(right, "Sparsity (%)", "")
    for number, run in enumerate(runs, start=1):
        accuracy = 100 * run.accuracy
        label = f"{number}: {drawing.plain(run.name, 60)}"
        left.plot(run.epochs, accuracy, "o", color=drawing.BLUE, label=label)
        right.plot(100 * run.sparsity, accuracy, "o", color=drawing.BLUE)
        for axes, x in ((left, run.epochs), (right, 100 * run.sparsity)):
            axes.annotate(
                str(number),
                (x, accuracy),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=drawing.SMALL,
                color=drawing.INK,
            )
        if run.dense_accuracy is not None:
            dense = 100 * run.dense_accuracy
            left.plot(run.dense_epochs, dense, "o", color=drawing.GREEN, fillstyle="none")
            right.plot(0, dense, "o", color=drawing.GREEN, fillstyle="none")
    if any(run.dense_accuracy is not None for run in runs):
        look = {"color": drawing.GREEN, "fillstyle": "none"}
        left.plot([], [], "o", label="the dense network of a run", **look)
    figure.legend(
        loc="outside lower left", fontsize=drawing.SMALL, frameon=False, handlelength=0, ncols=1
    )
    return figure
