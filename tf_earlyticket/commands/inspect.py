"""The program `inspect`: the weights of a run, ticket, checkpoint or network file."""

import json
from dataclasses import asdict
from pathlib import Path

import msgspec
from absl import flags

from tf_earlyticket.commands import command_line
from tf_earlyticket.config import config_from_dict
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.channels import LayerCost
from tf_earlyticket.report.drawing import count, percent, short
from tf_earlyticket.report.report import COST_COLUMNS, Report, cost_rows

_COLUMNS = ("Name", "Shape", "Type", "Kept", "Sparsity", "Bytes")


def define_flags() -> None:
    """Defines the flags."""
    flags.DEFINE_bool("json", False, "Print JSON for other programs")
    flags.DEFINE_bool("xnnpack", False, "Which rule keeps a .tflite from sparse inference on ARM")


def main(argv: list[str]) -> None:
    """Shows what the argument names."""
    if len(argv) != 2:
        raise InputError(f"PATH: expected one argument, got {len(argv) - 1}.")
    found = inspect(Path(argv[1]))
    if flags.FLAGS.xnnpack:
        from tf_earlyticket.deploy.xnnpack import broken_rules, read_operations

        found["xnnpack"] = broken_rules(read_operations(Path(argv[1])))
    if flags.FLAGS.json:
        print(json.dumps(found, indent=1))
        return
    _print(found)


def inspect(path: Path) -> dict:
    """Returns what lies at a path.

    Returns:
        {"kind", "path", "rows", "totals", "about"}: rows and totals as `weight_table` and
        `totals` give them, "network_sparsity" in the totals of a run or ticket; "about" holds what
        it says of itself, else is empty.

    Raises:
        InputError: If there is nothing that can be read.
    """
    from tf_earlyticket.deploy.weight_tables import (
        about_ticket,
        totals,
        weight_table,
    )
    from tf_earlyticket.tickets.storage import RECORD_FILE
    from tf_earlyticket.tickets.ticket import Ticket

    about, place, run = {}, path, about_run(path)
    if run is not None:
        about, place = run, path / "ticket"
        if channels := about_ticket(place).get("channels"):
            about["channels"] = channels
    elif (path / RECORD_FILE).exists():
        about = about_ticket(path)
    kind, rows = weight_table(place)
    found = totals(rows)
    if about:
        found["network_sparsity"] = Ticket.load(place).network_sparsity
    return {
        "kind": kind if run is None else "run",
        "path": str(path),
        "about": about,
        "rows": rows,
        "totals": found,
    }


def about_run(path: Path) -> dict[str, object] | None:
    """Returns what the report of a run says in short; None if the path is no run.

    Raises:
        InputError: If the run has no report yet.
    """
    paths = RunPaths(path)
    if not paths.config.is_file():
        return None
    if not paths.report.exists():
        try:
            config_from_dict(read_json(paths.config))
        except InputError:
            # A file of this name that others wrote.
            return None
        raise InputError(
            f"PATH={str(path)!r} is a run that has not ended: expected one with report.json; the "
            "same train command continues it."
        )
    report = Report.read(paths.report)
    return {
        "data": report.recipe.data.name,
        "model": report.recipe.model.name,
        "start_epoch": report.start_epoch,
        "start_reason": report.start_reason,
        "dense_test_accuracy": report.dense and report.dense.test_accuracy,
        "ticket_test_accuracy": report.ticket.test_accuracy,
        "total_epochs": report.cost.total_epochs,
        "left_dense": {entry.name: entry.reason for entry in report.left_dense},
        "layers": [asdict(layer) for layer in report.layers],
    }


def _print(found: dict) -> None:
    print(f"{found['path']}: {found['kind']}")
    for rule in found.get("xnnpack", ()) or ["every rule holds"] * ("xnnpack" in found):
        print(f"  sparse inference by XNNPACK: {rule}")
    left_dense = found["about"].get("left_dense") or {}
    channels = found["about"].get("channels") or []
    for name, value in found["about"].items():
        if name in ("left_dense", "layers", "channels"):
            continue
        # Accuracies were computed in float32: more digits say nothing.
        print(f"  {name}: {short(value) if isinstance(value, float) else value}")
    rows = [
        [
            row["name"],
            " x ".join(map(str, row["shape"])),
            row["dtype"] + (", sparse" if row.get("sparse") else ""),
            *_numbers(row),
        ]
        for row in found["rows"]
    ]
    totals = found["totals"]
    total = ["All", count(totals["weights"]), "", *_numbers(totals)]
    command_line.print_table(_COLUMNS, rows, texts=3, total=total)
    if (network := totals.get("network_sparsity")) is not None:
        print(f"  of all kernels of the network {percent(network, 2)} are pruned")
    if layers := msgspec.convert(found["about"].get("layers") or [], list[LayerCost]):
        *cells, total = cost_rows(layers)
        title = "Multiply-adds of one example (–: not counted) and parameters"
        command_line.print_table(COST_COLUMNS, cells, title=title, total=total)
    for name, reason in left_dense.items():
        print(f"  {name} is left dense: {reason}")
    for family in channels:
        stays = f": {family['pinned']}" if family["pinned"] else ""
        name = family["name"] or "input"
        print(f"  channels of {name}: {family['kept']} of {family['size']}{stays}")


def _numbers(row: dict) -> list[str]:
    return [count(row["kept"]), percent(row["sparsity"], 2), count(row["bytes"])]
