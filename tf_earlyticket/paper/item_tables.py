"""The tables of the paper's experiments, and the files of an item."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_earlyticket.files import write_json, write_text
from tf_earlyticket.paper.item_figures import describe, draw_figures
from tf_earlyticket.report import drawing
from tf_earlyticket.report.tables import draw_table, markdown_table, spread_text

Results = Mapping[str, Any]
_METHODS = {
    "dense": "dense",
    "early_ticket": "early ticket (gradual)",
    "iterative": "iterative pruning, rewound",
}


def item_table(results: Results) -> tuple[list[str], list[list[str]]] | None:
    """Returns (header, rows) of an item's table, None if it has none.

    Args:
        results: The content of its `results.json`.
    """
    make = {
        "fig1": _controls,
        "fig5": _capacity,
        "table1": _shots,
        "table2": _start_epochs,
        "table3": _start_epochs,
        "table4": _costs,
        "table5": _capacity,
    }.get(results["item"])
    return make(results["summary"]) if make else None


def _crossed(
    rows: Sequence[Mapping], keys: Sequence[str], across: str, value: str
) -> tuple[list, list[tuple[tuple, list[str]]]]:
    """Returns the values of `across`, and for each value of `keys` the texts under them."""
    columns = sorted({row[across] for row in rows})
    lines: dict[tuple, dict] = {}
    for row in rows:
        lines.setdefault(tuple(row[key] for key in keys), {})[row[across]] = row
    return columns, [
        (line, [spread_text(cells[c], value) if c in cells else "-" for c in columns])
        for line, cells in sorted(lines.items())
    ]


def _controls(rows: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    controls = [row for row in rows if row["control"] != "none"]
    where = {(row["mask_epoch"], row["rewind_epoch"], row["group_size"]) for row in controls}
    compared = [
        row for row in rows if (row["mask_epoch"], row["rewind_epoch"], row["group_size"]) in where
    ]
    names = {"none": "the ticket", "random": "random mask", "shuffled": "shuffled mask"}
    return ["s", "v", "", "test accuracy (%)"], [
        [
            str(row["mask_epoch"]),
            str(row["rewind_epoch"]),
            names.get(row["control"], "reinitialized weights"),
            spread_text(row, "test_accuracy"),
        ]
        for row in compared
    ]


def _capacity(rows: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    keys = ("group_size", "mask_epoch", "rewind_epoch")
    columns, lines = _crossed(rows, keys, "examples", "capacity")
    header = ["group size", "mask of epoch", "weights of epoch", *(f"N = {n:,}" for n in columns)]
    return header, [[*map(str, line), *texts] for line, texts in lines]


def _shots(rows: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    columns, lines = _crossed(rows, ("examples", "mask_epoch", "sparsity"), "mode", "capacity")
    names = {"one_shot": "one shot (%)", "gradual": "step by step (%)"}
    header = ["N", "epoch", "sparsity (%)", *(names[c] for c in columns)]
    return header, [
        [f"{n:,}", str(epoch), f"{100 * sparsity:g}", *texts]
        for (n, epoch, sparsity), texts in lines
    ]


def _start_epochs(rows: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    keys = ("mask_epoch", "rewind_epoch")
    columns, lines = _crossed(rows, keys, "mode", "test_accuracy")
    names = {"one_shot": "one-shot (%)", "gradual": "gradual (%)"}
    header = ["pruned from epoch", "weights of epoch", *(names[c] for c in columns)]
    return header, [[*map(str, line), *texts] for line, texts in lines]


def _costs(rows: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    header = [
        "method",
        "sparsity (%)",
        "test accuracy (%)",
        "epochs in total",
        "in probes",
        "share",
    ]
    last = max((row["epochs_mean"] for row in rows if row["method"] == "iterative"), default=None)
    return header, [
        [
            _METHODS[row["method"]],
            f"{100 * row['sparsity']:.1f}",
            spread_text(row, "test_accuracy"),
            spread_text(row, "epochs", scale=1),
            spread_text(row, "probe_epochs", scale=1),
            f"{100 * row['epochs_mean'] / last:.1f} %" if last else "-",
        ]
        for row in rows
    ]


def write_item(results: Results, directory: Path) -> None:
    """Writes the files of an item: results.json, results.csv, its figures and its table.

    Args:
        results: The content of `results.json`.
        directory: Made where it is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "results.csv", to_csv(results["summary"]))
    figures = draw_figures(results)
    table = item_table(results)
    if table is not None:
        write_text(directory / "table.md", markdown_table(*table))
        figures["table"] = draw_table(f"{results['title']}: {describe(results)}", *table)
    for name, figure in figures.items():
        drawing.save(figure, directory / f"{name}.png")
    # Last: it stands for the others.
    write_json(directory / "results.json", results)


def to_csv(rows: Sequence[Mapping]) -> str:
    """Returns rows as CSV text; None becomes an empty cell."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
