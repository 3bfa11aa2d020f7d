"""The program `compare`: finished runs side by side."""

import json
from dataclasses import asdict
from pathlib import Path

from absl import flags

from tf_earlyticket.commands import command_line
from tf_earlyticket.errors import InputError


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_string("output", "comparison.png", "The figure; empty: none")
    flags.DEFINE_bool("json", False, "Print JSON for other programs")


def main(argv: list[str]) -> None:
    """Compares the runs that the arguments name."""
    if len(argv) < 2:
        raise InputError("RUN: expected the directories of one or more runs, got none.")
    from tf_earlyticket.report.comparison import COLUMNS, cells, draw, read_run
    from tf_earlyticket.report.drawing import save

    values = flags.FLAGS
    command_line.check_file("output", values.output, ".png")
    runs = [read_run(Path(name)) for name in argv[1:]]
    if values.json:
        print(json.dumps([asdict(run) for run in runs], indent=1))
    else:
        command_line.print_table(COLUMNS, cells(runs), texts=3)
    if values.output:
        save(draw(runs), Path(values.output))
        if not values.json:
            print(f"Figure: {values.output}")
