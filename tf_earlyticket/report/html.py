"""The page of a run for people: one HTML file with its figures in it; the table of artefacts."""

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from tf_earlyticket import files
from tf_earlyticket.report.drawing import (
    Rows,
    count,
    duration,
    number,
    percent,
    points,
    short,
)
from tf_earlyticket.report.figures import WeightStd, caption_of
from tf_earlyticket.report.report import Artefact, Report

ARTEFACT_COLUMNS = (
    *("Format", "Bytes", "/ dense", "Compressed", "/ dense", "Latency / dense", "Accuracy (%)"),
)

_COSTS = {
    "train_epochs": "Training",
    "probe_epochs": "Probes",
    "total_epochs": "Total",
    "iterative_pruning_epochs": "Iterative pruning to the same sparsity",
    "baseline_epochs": "Dense baseline, for comparison only",
}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf of nested dicts with its dotted name."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _accuracy_sentence(report: Report) -> str:
    ticket, dense = report.ticket.test_accuracy, report.dense and report.dense.test_accuracy
    reached = f"The ticket reaches {percent(ticket)} test accuracy"
    if dense is None:
        return f"{reached}; no dense network was trained."
    # The difference of what is printed, so that readers who subtract find the same.
    difference = round(ticket, 3) - round(dense, 3)
    relation = f"{points(difference)} {'above' if difference > 0 else 'below'}"
    if abs(difference) < 0.0005:
        relation = "the same as"
    return f"{reached}, {relation} the dense network's {percent(dense)}."


def _start_sentence(report: Report) -> str:
    start = "no start epoch for pruning was chosen"
    if report.start_epoch is not None:
        start = f"pruning started at epoch {report.start_epoch}"
    # The numbers behind it, in parentheses, are under "Probes".
    reason = _reason(report).partition(" (")[0]
    return f"Of the prunable weights {percent(report.ticket.sparsity)} are zero, and {start}" + (
        f": {reason}." if reason else "."
    )


def _reason(report: Report) -> str:
    return " ".join(report.start_reason.split()).rstrip(".")


def _cost_sentence(report: Report) -> str:
    total, iterative = report.cost.total_epochs, report.cost.iterative_pruning_epochs
    text = f"With its probes it took {count(total, 1)} epochs of training"
    if iterative <= 0:
        return f"{text}."
    return (
        f"{text}, {percent(total / iterative)} of the {count(iterative, 1)} that iterative "
        "pruning takes for the same sparsity."
    )


def summary(report: Report) -> list[str]:
    """Returns three sentences: what the ticket reaches, how it was found, what it cost."""
    return [_accuracy_sentence(report), _start_sentence(report), _cost_sentence(report)]


def notes(report: Report) -> list[str]:
    """Returns what a reader has to know before relying on the numbers."""
    found = []
    start = report.start_epoch
    if start is None:
        found.append("No start epoch was chosen, so this run says nothing about an early ticket.")
    elif report.decision.detected is False:
        found.append(
            f"Epoch {start} was not found by the probes: they showed no saturation in time, and "
            "pruning started at the last epoch that left room for it."
        )
    if report.dense is None:
        found.append(
            "No dense baseline was trained, so the ticket's accuracy is not compared: whether it "
            "is a winning ticket is not known."
        )
    if report.cost.iterative_pruning_source == "analytic":
        found.append("The cost of iterative pruning is calculated; it was not run here.")
    found.append(
        "This is one run with one seed. Small differences in accuracy can be chance; the paper "
        "gives means of 10 runs."
    )
    return [*found, *report.notes]


def _cost_rows(report: Report) -> list[tuple[str, str]]:
    cost = report.cost
    rows = [(label, count(getattr(cost, name), 1)) for name, label in _COSTS.items()]
    if cost.iterative_pruning_epochs:
        share = percent(cost.total_epochs / cost.iterative_pruning_epochs)
        rows.append(("Total / iterative pruning", share))
    return rows


def _layer_rows(report: Report, weight_std: WeightStd) -> list[dict[str, Any]]:
    spread = weight_std.get("layers") or {}
    return [
        {
            **vars(layer),
            "weights": math.prod(layer.shape),
            "std": number((spread.get(layer.name) or [None])[-1]),
        }
        for layer in report.ticket.layers
    ]


def artefact_rows(artefacts: Sequence[Artefact]) -> list[list[str]]:
    """Returns the cells of the table of artefacts, under `ARTEFACT_COLUMNS`."""
    return [
        [
            item.format,
            count(item.bytes),
            count(item.bytes_ratio, 3),
            count(item.compressed_bytes),
            count(item.compressed_ratio, 3),
            f"{item.latency.ratio:.2f} ({item.latency.low:.2f} to {item.latency.high:.2f})",
            percent(item.accuracy, 2, sign=""),
        ]
        for item in artefacts
    ]


def _embedded(figures: Mapping[str, Path]) -> list[dict[str, str]]:
    return [
        {
            "caption": caption_of(name),
            "source": "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode(),
        }
        for name, path in figures.items()
    ]


def write_html(
    report: Report,
    metrics: Rows,
    weight_std: WeightStd,
    figures: Mapping[str, Path],
    path: Path,
) -> None:
    """Writes a run as one HTML file that needs no other file and no network.

    Args:
        report: The run's report.
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
    probe = report.probe
    lists = (probe.epochs, probe.dense_accuracy, probe.pruned_accuracy, probe.ppr_accuracy)
    page = environment.get_template("report.html.jinja").render(
        report=report,
        summary=summary(report),
        notes=notes(report),
        figures=_embedded(figures),
        layers=_layer_rows(report, weight_std),
        costs=_cost_rows(report),
        seconds=[(name, duration(value)) for name, value in report.seconds.items()],
        probes=list(zip(*lists, strict=True)),
        start_reason=_reason(report),
        metrics=metrics,
        environment=list(_flat(report.environment)),
        config=json.dumps(report.config, indent=2, default=str, ensure_ascii=False),
        artefacts=artefact_rows(report.artefacts),
        artefact_columns=ARTEFACT_COLUMNS,
    )
    files.write_text(Path(path), page)
