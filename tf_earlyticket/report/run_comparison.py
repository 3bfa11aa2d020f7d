"""Several runs side by side: accuracy against cost and sparsity."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tf_earlyticket.errors import InputError
from tf_earlyticket.report import drawing

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


def read_run(directory: Path) -> dict[str, Any]:
    """Returns the numbers of a finished run that are compared.

    Returns:
        "name", "data", "model", "seed", "sparsity", "accuracy", "dense_accuracy" (fractions, the
        last None if not trained), "start_epoch" (None if given), "epochs" and "probe_epochs" of
        cost, "dense_epochs".

    Raises:
        InputError: If there is no `report.json` in it, or it is damaged.
    """
    path = directory / "report.json"
    try:
        report = json.loads(path.read_text())
        return {
            "name": str(directory),
            "data": report["config"]["data"]["name"],
            "model": report["config"]["model"]["name"],
            "seed": report["config"]["seed"],
            "sparsity": report["ticket"]["sparsity"],
            "accuracy": report["ticket"]["test_accuracy"],
            "dense_accuracy": (report["dense"] or {}).get("test_accuracy"),
            "dense_epochs": report["config"]["train"]["epochs"],
            "start_epoch": report["start_epoch"],
            "epochs": report["cost"]["total_epochs"],
            "probe_epochs": report["cost"]["probe_epochs"],
        }
    except OSError as error:
        raise InputError(
            f"RUN={str(directory)!r}: expected the directory of a finished run with report.json, "
            f"got: {error.strerror}."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged: {type(error).__name__}: {error!s:.200}") from None


def cells(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Returns the cells of a table of runs, under `COLUMNS`."""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.2f}"

    return [
        [
            run["name"],
            run["data"],
            run["model"],
            str(run["seed"]),
            percent(run["sparsity"]),
            percent(run["accuracy"]),
            percent(run["dense_accuracy"]),
            "–" if run["start_epoch"] is None else str(run["start_epoch"]),
            f"{run['epochs']:.1f}",
            f"{run['probe_epochs']:.1f}",
        ]
        for run in runs
    ]


def draw(runs: Sequence[Mapping[str, Any]]) -> Figure:
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
        accuracy = 100 * run["accuracy"]
        label = f"{number}: {drawing.plain(run['name'], 60)}"
        left.plot(run["epochs"], accuracy, "o", color=drawing.BLUE, label=label)
        right.plot(100 * run["sparsity"], accuracy, "o", color=drawing.BLUE)
        for axes, x in ((left, run["epochs"]), (right, 100 * run["sparsity"])):
            axes.annotate(
                str(number),
                (x, accuracy),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=drawing.SMALL,
                color=drawing.INK,
            )
        if run["dense_accuracy"] is not None:
            dense = 100 * run["dense_accuracy"]
            left.plot(run["dense_epochs"], dense, "o", color=drawing.GREEN, fillstyle="none")
            right.plot(0, dense, "o", color=drawing.GREEN, fillstyle="none")
    if any(run["dense_accuracy"] is not None for run in runs):
        look = {"color": drawing.GREEN, "fillstyle": "none"}
        left.plot([], [], "o", label="the dense network of a run", **look)
    figure.legend(
        loc="outside lower left", fontsize=drawing.SMALL, frameon=False, handlelength=0, ncols=1
    )
    return figure


def write_figure(runs: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes the figure of `draw` as PNG, whole or not at all."""
    drawing.save(draw(runs), path)
