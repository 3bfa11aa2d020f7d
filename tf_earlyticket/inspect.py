"""Shows the weights of a run, ticket, SavedModel, checkpoint, Keras or TFLite file.

    python -m tf_earlyticket.inspect PATH
    python -m tf_earlyticket.inspect PATH --json

Columns: name, shape, type, kept (values that are not zero), sparsity, bytes as stored. Only weights
are read; nothing in a file is executed.
"""

import json
from pathlib import Path

from absl import flags
from rich.table import Table

from tf_earlyticket import command_line
from tf_earlyticket.errors import InputError

_COLUMNS = ("Name", "Shape", "Type", "Kept", "Sparsity", "Bytes")


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_bool("json", False, "Print JSON for other programs")


def main(argv: list[str]) -> None:
    """Shows what the argument names."""
    if len(argv) != 2:
        raise InputError(f"PATH: expected one argument, got {len(argv) - 1}.")
    command_line.quiet_tensorflow()
    found = inspect(Path(argv[1]))
    if flags.FLAGS.json:
        print(json.dumps(found, indent=1))
        return
    _print(found)


def inspect(path: Path) -> dict:
    """Returns what lies at a path.

    Returns:
        {"kind", "path", "rows", "totals", "about"}: rows and totals as `weight_table` and
        `totals` give them; "about" holds what a run or ticket says of itself, else is empty.

    Raises:
        InputError: If there is nothing that can be read.
    """
    from tf_earlyticket.core.ticket_files import RECORD_FILE
    from tf_earlyticket.deployment.weight_tables import (
        about_run,
        about_ticket,
        totals,
        weight_table,
    )

    about, place, run = {}, path, about_run(path)
    if run is not None:
        about, place = run, path / "ticket"
    elif (path / RECORD_FILE).exists():
        about = about_ticket(path)
    kind, rows = weight_table(place)
    return {
        "kind": kind if run is None else "run",
        "path": str(path),
        "about": about,
        "rows": rows,
        "totals": totals(rows),
    }


def _print(found: dict) -> None:
    console = command_line.console()
    print(f"{found['path']}: {found['kind']}")
    for name, value in found["about"].items():
        # Accuracies were computed in float32: more digits say nothing.
        print(f"  {name}: {value:.4g}" if isinstance(value, float) else f"  {name}: {value}")
    table = Table(*_COLUMNS)
    table.columns[0].overflow = "fold"
    for column in table.columns[3:]:
        column.justify = "right"
    for row in found["rows"]:
        table.add_row(
            row["name"],
            " x ".join(map(str, row["shape"])),
            row["dtype"] + (", sparse" if row.get("sparse") else ""),
            f"{row['kept']:,}",
            f"{100 * row['sparsity']:.2f} %",
            f"{row['bytes']:,}",
        )
    total = found["totals"]
    table.add_section()
    table.add_row(
        "All",
        f"{total['weights']:,}",
        "",
        f"{total['kept']:,}",
        f"{100 * total['sparsity']:.2f} %",
        f"{total['bytes']:,}",
    )
    console.print(table)


if __name__ == "__main__":
    command_line.run_program(define_flags, main)
