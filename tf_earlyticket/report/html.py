"""The page of a run for people: one HTML file with its figures in it.

Takes the content of `report.json` as it is: accuracies and sparsities are
fractions in [0, 1], costs are epochs, times are seconds.
"""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from tf_earlyticket.report.artefact_table import COLUMNS, artefact_rows
from tf_earlyticket.report.captions import CAPTIONS
from tf_earlyticket.report.drawing import number, replace_file

_COSTS = {
    "train_epochs": "Training",
    "probe_epochs": "Probes",
    "total_epochs": "Total",
    "iterative_pruning_epochs": "Iterative pruning to the same sparsity",
    "baseline_epochs": "Dense baseline, for comparison only",
}


def percent(fraction: float | None, digits: int = 1) -> str:
    """Returns a fraction as text in percent: 0.8 gives "80.0 %", nothing known a dash."""
    value = number(fraction)
    return "–" if math.isnan(value) else f"{100 * value:.{digits}f}\u00a0%"


def count(value: int | float | None, digits: int = 0) -> str:
    """Returns a number with thousands separators: 1234567 gives "1,234,567"."""
    value = number(value)
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def short(value: float | None) -> str:
    """Returns a number with its first four digits: 0.1 stored as float32 gives "0.1"."""
    return "–" if math.isnan(number(value)) else f"{number(value):.4g}"


def duration(seconds: float | None) -> str:
    """Returns seconds as text: 3725 gives "1 h 2 min 5 s"."""
    value = number(seconds)
    if math.isnan(value):
        return "–"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min {rest} s"


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf of nested dicts with its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _accuracy_sentence(report: Mapping[str, Any]) -> str:
    ticket = number((report.get("ticket") or {}).get("test_accuracy"))
    dense = number((report.get("dense") or {}).get("test_accuracy"))
    if math.isnan(ticket):
        return "This run has not made a ticket yet."
    if math.isnan(dense):
        return f"The ticket reaches {percent(ticket)} test accuracy; no dense network was trained."
    # The difference of what is printed, so that readers who subtract find the same.
    points = round(100 * ticket, 1) - round(100 * dense, 1)
    relation = f"{abs(points):.1f} points {'above' if points > 0 else 'below'}"
    if abs(points) < 0.05:
        relation = "the same as"
    return (
        f"The ticket reaches {percent(ticket)} test accuracy, {relation} the dense network's "
        f"{percent(dense)}."
    )


def _start_sentence(report: Mapping[str, Any]) -> str:
    start, sparsity = report.get("start_epoch"), (report.get("ticket") or {}).get("sparsity")
    text = "no start epoch for pruning was chosen"
    if start is not None:
        text = f"pruning started at epoch {start}"
    if sparsity is not None:
        text = f"of the prunable weights {percent(sparsity)} are zero, and {text}"
    # The numbers behind it, in parentheses, are under "Probes".
    reason = _reason(report).partition(" (")[0]
    return text[0].upper() + text[1:] + (f": {reason}." if reason else ".")


def _reason(report: Mapping[str, Any]) -> str:
    return " ".join(str(report.get("start_reason") or "").split()).rstrip(".")


def _cost_sentence(report: Mapping[str, Any]) -> str:
    cost = report.get("cost") or {}
    total = number(cost.get("total_epochs"))
    iterative = number(cost.get("iterative_pruning_epochs"))
    if math.isnan(total):
        return "The cost of this run is not known."
    text = f"With its probes it took {count(total, 1)} epochs of training"
    if math.isnan(iterative) or iterative <= 0:
        return f"{text}."
    return (
        f"{text}, {percent(total / iterative)} of the {count(iterative, 1)} that iterative "
        f"pruning takes for the same sparsity."
    )


def summary(report: Mapping[str, Any]) -> list[str]:
    """Returns three sentences: what the ticket reaches, how it was found, what it cost."""
    return [_accuracy_sentence(report), _start_sentence(report), _cost_sentence(report)]


def notes(report: Mapping[str, Any]) -> list[str]:
    """Returns what a reader has to know before relying on the numbers."""
    found = []
    start, cost = report.get("start_epoch"), report.get("cost") or {}
    if start is None:
        found.append("No start epoch was chosen, so this run says nothing about an early ticket.")
    elif (report.get("decision") or {}).get("detected") is False:
        found.append(
            f"Epoch {start} was not found by the probes: they showed no saturation in time, and "
            "pruning started at the last epoch that left room for it."
        )
    if not report.get("dense"):
        found.append(
            "No dense baseline was trained, so the ticket's accuracy is not compared: whether it "
            "is a winning ticket is not known."
        )
    if cost.get("iterative_pruning_source") == "analytic":
        found.append("The cost of iterative pruning is calculated; it was not run here.")
    found.append(
        "This is one run with one seed. Small differences in accuracy can be chance; the paper "
        "gives means of 10 runs."
    )
    return [*found, *report.get("notes", [])]


def _cost_rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    cost = report.get("cost") or {}
    rows = [(label, count(cost[key], 1)) for key, label in _COSTS.items() if key in cost]
    total, iterative = cost.get("total_epochs"), cost.get("iterative_pruning_epochs")
    if total is not None and iterative:
        rows.append(("Total / iterative pruning", percent(total / iterative)))
    return rows


def _layer_rows(report: Mapping[str, Any], weight_std: Mapping[str, Any]) -> list[dict[str, Any]]:
    layers, spread = (
        (report.get("ticket") or {}).get("layers") or [],
        weight_std.get("layers") or {},
    )
    return [
        {
            **layer,
            "weights": math.prod(layer["shape"]),
            "std": number((spread.get(layer["name"]) or [None])[-1]),
        }
        for layer in layers
    ]


def _probe_rows(report: Mapping[str, Any]) -> list[list[Any]]:
    probe = report.get("probe") or {}
    names = ("epochs", "dense_accuracy", "pruned_accuracy", "ppr_accuracy")
    return [list(row) for row in zip(*(probe.get(name) or [] for name in names), strict=True)]


def _embedded(figures: Mapping[str, Path]) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "caption": CAPTIONS.get(name, name.replace("_", " ")),
            "source": "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode(),
        }
        for name, path in figures.items()
    ]


def write_html(
    report: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    weight_std: Mapping[str, Any],
    figures: Mapping[str, Path],
    path: Path,
) -> None:
    """Writes a run as one HTML file that needs no other file and no network.

    Args:
        report: The content of `report.json`; fractions in [0, 1].
        metrics: The rows of `metrics.csv`.
        weight_std: {"epochs": [int], "layers": {name: [float per epoch]}}.
        figures: The PNG files by name, as `figures.draw_all` returns them.
        path: The file to write; an older one is replaced in one step.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_earlyticket.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, count=count, short=short)
    page = environment.get_template("report.html.jinja").render(
        summary=summary(report),
        notes=notes(report),
        status=report.get("status"),
        mode=report.get("mode"),
        dense=report.get("dense") or {},
        ticket=report.get("ticket") or {},
        start_epoch=report.get("start_epoch"),
        total_epochs=(report.get("cost") or {}).get("total_epochs"),
        figures=_embedded(figures),
        layers=_layer_rows(report, weight_std),
        costs=_cost_rows(report),
        seconds=[(name, duration(value)) for name, value in _flat(report.get("seconds") or {})],
        probes=_probe_rows(report),
        start_reason=_reason(report),
        probe=report.get("probe") or {},
        schedule=report.get("schedule") or {},
        metrics=metrics,
        environment=list(_flat(report.get("environment") or {})),
        config=json.dumps(report.get("config"), indent=2, default=str, ensure_ascii=False),
        command=report.get("command"),
        artefacts=artefact_rows(report.get("artefacts") or []),
        artefact_columns=COLUMNS,
    )
    replace_file(Path(path), page.encode())
