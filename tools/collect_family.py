"""Keeps the report of a family of tickets and writes its table.

    python tools/collect_family.py runs/family results/family/digits_resnet20 --into=README.md

Copies `report.json`, draws the figure, writes `README.md` beside them, and, with --into, puts the
table between the markers `<!-- family:begin -->` and `<!-- family:end -->` of that document.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from collect_results import insert

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_record, write_text
from tf_earlyticket.report import drawing
from tf_earlyticket.report.family import COLUMNS, FamilyReport, cells, draw

# Of the short table.
FIRST = ("Goal", "Start epoch", "Multiply-adds", "Bytes, compressed", "Test accuracy (%)")


def table(report: FamilyReport, columns: Sequence[str] = COLUMNS) -> str:
    """Returns the table of a family in Markdown, with what it cost."""
    places = [COLUMNS.index(column) for column in columns]
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    lines += [f"| {' | '.join(row[place] for place in places)} |" for row in cells(report)]
    cost, dense = report.cost, report.dense
    reached = f"The dense network has {100 * dense.test_accuracy:.2f} %. " if dense else ""
    return "\n".join(lines) + (
        f"\n\n{reached}All together took {cost.total_epochs:.0f} epochs, probes counted; a run for "
        f"each ticket would take {cost.single_runs_epochs:.0f}. Multiply-adds leave out zeros.\n"
    )


def page(report: FamilyReport) -> str:
    """Returns the page beside the kept files."""
    config, machine = report.config, report.environment
    return (
        f"# A family of tickets: {config['data']['name']}, {config['model']['name']}\n\n"
        f"    {report.command}\n\n{table(report)}\n![Accuracy of each ticket](family.png)\n\n"
        f"Seed {config['seed']}, on {machine['cpu_count']} CPU cores, TensorFlow "
        f"{machine['packages']['tensorflow']}.\n"
    )


def main(argv: list[str]) -> None:
    """Collects, and writes the table."""
    if len(argv) != 3:
        raise app.UsageError("expected RUN and OUTPUT")
    source, output = map(Path, argv[1:])
    try:
        report = read_record(source / "report.json", FamilyReport)
        output.mkdir(parents=True, exist_ok=True)
        if source != output:
            shutil.copyfile(source / "report.json", output / "report.json")
        drawing.save(draw(report, {}), output / "family.png")
        write_text(output / "README.md", page(report))
        if flags.FLAGS.into:
            insert(table(report, FIRST), Path(flags.FLAGS.into), "family")
    except (InputError, json.JSONDecodeError) as error:
        raise app.UsageError(str(error)) from error


if __name__ == "__main__":
    flags.DEFINE_string("into", None, "Document that gets the table between its markers")
    app.run(main)
