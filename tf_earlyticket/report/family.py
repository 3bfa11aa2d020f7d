"""The report of a family of tickets: what each goal came to, as JSON, figure and page."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tf_earlyticket import files
from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import count, percent
from tf_earlyticket.report.html import render
from tf_earlyticket.report.report import Dense, Report, Timing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Member:
    """The ticket of one goal.

    Attributes:
        goal: As the command has it, such as "0.8" or "macs-0.5".
        start_epoch: At whose end pruning started.
        sparsity: Of the prunable weights, a fraction.
        test_accuracy: A fraction, as are all accuracies.
        predicted_accuracy: The dense network's on the test set, less what the last probe before
            the start found lost; None without dense network or probe.
        macs: Multiply-adds of one example.
        bytes: Of the SavedModel, its files compressed one by one.
        ticket: Its directory, from that of the family.
        network_sparsity: Of all kernels, a fraction.
    """

    goal: str
    start_epoch: int | None
    sparsity: float
    test_accuracy: float
    predicted_accuracy: float | None
    macs: int | None
    bytes: int
    ticket: str
    network_sparsity: float | None = None


@dataclass(frozen=True)
class FamilyCost:
    """In epochs, as `report.Cost`.

    Attributes:
        total_epochs: Of all that the family took.
        dense_epochs: Of these, in the dense training that all share.
        probe_epochs: Of these, in probes.
        single_runs_epochs: Of a run for each ticket by itself, each with its dense baseline.
        ratio: Of the two.
    """

    total_epochs: float
    dense_epochs: float
    probe_epochs: float
    single_runs_epochs: float
    ratio: float


@dataclass(frozen=True)
class Candidate:
    """A ticket that could have been trained for a goal; accuracies are on held-out data."""

    goal: str
    predicted_accuracy: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class GoalOutcome:
    """What became of a goal.

    Attributes:
        text: As it was given.
        met: Whether a ticket meets it, on held-out data.
        ticket: The directory of that ticket, or of the one that comes nearest.
        missed: What that one misses, in words.
        dense_validation_accuracy: What accuracies are held to.
        candidates: From the densest on.
    """

    text: str
    met: bool
    ticket: str
    missed: list[str]
    dense_validation_accuracy: float
    candidates: list[Candidate]


@dataclass(frozen=True)
class FamilyReport:
    """What `report.json` of a family holds.

    Attributes:
        dense: The dense network; None if it was not trained to the end.
        family: A ticket for each goal.
        dense_macs: Multiply-adds of the dense network.
        goal: If one was given in place of sparsities.
    """

    schema_version: int
    config: dict[str, Any]
    environment: dict[str, Any]
    command: str
    dense: Dense | None
    family: list[Member]
    cost: FamilyCost
    dense_macs: int | None = None
    goal: GoalOutcome | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        return json.loads(json.dumps(msgspec.to_builtins(self)))


# What the table shows of a ticket, by heading.
_CELLS: dict[str, Callable[[Member], str]] = {
    "Goal": lambda member: member.goal,
    "Start epoch": lambda member: count(member.start_epoch),
    "Sparsity (%)": lambda member: percent(member.sparsity, 2, sign=""),
    "Of all kernels (%)": lambda member: percent(member.network_sparsity, 2, sign=""),
    "Multiply-adds": lambda member: count(member.macs),
    "Bytes, compressed": lambda member: count(member.bytes),
    "Predicted (%)": lambda member: percent(member.predicted_accuracy, 2, sign=""),
    "Test accuracy (%)": lambda member: percent(member.test_accuracy, 2, sign=""),
}
COLUMNS = (*_CELLS, "Of dense (points)")


def cells(report: FamilyReport) -> list[list[str]]:
    """Returns the cells of the table of a family, under `COLUMNS`."""
    dense = report.dense
    return [
        [
            *(cell(member) for cell in _CELLS.values()),
            f"{100 * (member.test_accuracy - dense.test_accuracy):+.2f}" if dense else "",
        ]
        for member in report.family
    ]


def write_family(report: FamilyReport, workdir: Path) -> None:
    """Writes figure, page and, last, `report.json` of a family into its directory."""
    timings = {
        member.goal: Report.read(workdir / member.ticket / ".." / "report.json").bench
        for member in report.family
    }
    figure = workdir / "figures" / "family.png"
    drawing.save(draw(report, timings), figure)
    page = render(
        "family.html.jinja",
        report=report,
        figure=figure,
        columns=COLUMNS,
        rows=cells(report),
        config=json.dumps(report.config, indent=2, default=str, ensure_ascii=False),
    )
    files.write_text(workdir / "report.html", page)
    files.write_json(workdir / "report.json", report.to_json())


def draw(report: FamilyReport, timings: dict[str, list[Timing]]) -> "Figure":
    """Draws accuracy against sparsity, size and multiply-adds, and latency where it was measured.

    Args:
        report: Of the family.
        timings: What `bench` measured, by goal; the first runtime that all have is drawn.
    """
    members = report.family
    axes_of: dict[str, list[float]] = {
        "Sparsity (%)": [100 * member.sparsity for member in members],
        "Size, compressed (kB)": [member.bytes / 1000 for member in members],
    }
    if all(member.macs is not None for member in members):
        axes_of["Multiply-adds (M)"] = [(member.macs or 0) / 1e6 for member in members]
    dense_at: dict[str, float | None] = {"Sparsity (%)": 0.0}
    if report.dense_macs is not None:
        dense_at["Multiply-adds (M)"] = report.dense_macs / 1e6
    measured = [
        {(t.runtime, t.precision, t.batch, t.threads): t for t in each} for each in timings.values()
    ]
    shared = [key for key in (measured or [{}])[0] if all(key in each for each in measured)]
    if shared:
        name = f"Latency (ms, {shared[0][0]})"
        axes_of[name] = [each[shared[0]].ms for each in measured]
        dense_at[name] = measured[0][shared[0]].dense_ms
    figure = drawing.new_figure(3.4, "A family of tickets from one dense training")
    all_axes = figure.subplots(1, len(axes_of), sharey=True, squeeze=False)[0]
    for axes, (label, x) in zip(all_axes, axes_of.items(), strict=True):
        drawing.style(axes, label, "Test accuracy (%)" if axes is all_axes[0] else "")
        order = sorted(range(len(x)), key=x.__getitem__)
        y = [100 * member.test_accuracy for member in members]
        axes.plot([x[i] for i in order], [y[i] for i in order], "o-", color=drawing.BLUE)
        for rank, i in enumerate(order):
            look = {"textcoords": "offset points", "fontsize": drawing.SMALL, "color": drawing.INK}
            # Above and below by turns: neighbours may be close.
            axes.annotate(members[i].goal, (x[i], y[i]), xytext=(-6, (6, -13)[rank % 2]), **look)
        axes.margins(0.12)
        if report.dense is not None:
            dense = 100 * report.dense.test_accuracy
            axes.axhline(dense, color=drawing.GREEN, linewidth=1, linestyle=":")
            if (place := dense_at.get(label)) is not None:
                axes.plot(place, dense, "o", color=drawing.GREEN, fillstyle="none")
    all_axes[0].plot([], [], "o-", color=drawing.BLUE, label="ticket")
    if report.dense is not None:
        all_axes[0].plot([], [], "o:", color=drawing.GREEN, fillstyle="none", label="dense")
    drawing.legend(figure, 2)
    return figure
