"""Additions to the report of a finished run."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tf_earlyticket.files import write_json
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.report.captions import CAPTIONS
from tf_earlyticket.report.html import write_html


def add_to_report(workdir: Path, artefacts: Sequence[Mapping]) -> bool:
    """Adds artefacts to `report.json` and `report.html` of a finished run.

    Returns:
        Whether there is such a run.
    """
    paths = RunPaths(workdir)
    try:
        report = json.loads(paths.saved_report.read_text())
        with open(paths.metrics, newline="") as file:
            metrics = list(csv.DictReader(file))
        weight_std = json.loads(paths.weight_statistics.read_text())
    except (OSError, ValueError):
        return False
    report["artefacts"] = list(artefacts)
    order = list(CAPTIONS)
    drawn = sorted(
        paths.figures.glob("*.png"),
        key=lambda path: (order.index(path.stem) if path.stem in order else len(order), path.stem),
    )
    write_html(report, metrics, weight_std, {p.stem: p for p in drawn}, paths.report_html)
    write_json(paths.report, report)
    return True
