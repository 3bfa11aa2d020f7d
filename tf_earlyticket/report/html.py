"""The page of a run for people: one HTML file with its figures in it; the table of artefacts."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from tf_earlyticket import files
from tf_earlyticket.config import flatten
from tf_earlyticket.report.drawing import Rows, count, duration, percent, points, short
from tf_earlyticket.report.figures import WeightStd, caption_of
from tf_earlyticket.report.report import COST_COLUMNS, Artefact, Report, cost_rows
from tf_earlyticket.report.timings import FILE_COLUMNS, TIMING_COLUMNS, file_rows, timing_rows

ARTEFACT_COLUMNS = (
    *("Format", "Bytes", "/ dense", "Compressed", "/ dense", "Latency / dense", "Accuracy (%)"),
)
_FILTERS = {
    "percent": percent,
    "points": points,
    "count": count,
    "short": short,
    "duration": duration,
    "product": math.prod,
    "caption": caption_of,
    "base64": lambda path: base64.b64encode(Path(path).read_bytes()).decode(),
}


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


def render(template: str, **values: Any) -> str:
    """Returns a page as HTML.

    Args:
        template: Name of a template beside this module.
        values: What it needs, all of it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tf_earlyticket.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment.get_template(template).render(**values)


def write_html(
    report: Report, metrics: Rows, weight_std: WeightStd, figures: Mapping[str, Path], path: Path
) -> None:
    """Writes a run as one HTML file that needs no other file and no network.

    Args:
        report: The run's report.
        metrics: The rows of `metrics.csv`.
        weight_std: {"epochs": [int], "layers": {name: [float per epoch]}}.
        figures: The PNG files by name, as `figures.draw_all` returns them.
        path: The file to write; an older one is replaced in one step.
    """
    page = render(
        "report.html.jinja",
        report=report,
        figures=figures,
        spread=weight_std.get("layers") or {},
        metrics=metrics,
        environment=flatten(report.environment),
        config=json.dumps(report.config, indent=2, default=str, ensure_ascii=False),
        artefacts=artefact_rows(report.artefacts),
        cost_columns=COST_COLUMNS,
        costs=cost_rows(report.layers) if report.layers else [],
        artefact_columns=ARTEFACT_COLUMNS,
        timings=[
            (TIMING_COLUMNS, timing_rows(report.bench)),
            (FILE_COLUMNS, file_rows(report.bench)),
        ],
    )
    files.write_text(Path(path), page)
