"""Keeps runs at the paper's own scale and writes `docs/paper_scale.md` from them.

    python tools/collect_paper_scale.py seed0=runs/cifar10_resnet20_seed0 ...
    python tools/collect_paper_scale.py

The first form copies the runs' small files to `results/paper_scale/<name>/`. Both write the page;
every measured number in it comes from the files there.
"""

import csv
import statistics
from pathlib import Path

import pages
from absl import app
from collect_results import collect, reports_in

from tf_earlyticket.files import write_text
from tf_earlyticket.paper.update_study import interval
from tf_earlyticket.report.figures import draw_all
from tf_earlyticket.report.report import Report

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "paper_scale"
PAGE = ROOT / "docs" / "paper_scale.md"
# What the mean difference to the dense network is to be at least, in points, by sparsity.
GOALS = {0.8: -0.3, 0.9: -1.0}


def lines(reports: dict[str, dict]) -> list[dict]:
    """Returns what the page says of each run: its numbers, its command, its figure."""
    found = []
    for name, report in reports.items():
        dense, ticket = report["dense"]["test_accuracy"], report["ticket"]["test_accuracy"]
        cost, schedule = report["cost"], report["schedule"]
        pruning = report["config"]["pruning"]
        found.append(
            {
                "name": name,
                "seed": report["config"]["seed"],
                "sparsity": round(report["ticket"]["sparsity"], 2),
                "update": pruning.get("update", "shrink"),
                # Before there was a choice of updates.
                "earlier": "update" not in pruning,
                "dense": 100 * dense,
                "ticket": 100 * ticket,
                "difference": 100 * (ticket - dense),
                "start_epoch": report["start_epoch"],
                "final_epoch": schedule["end_step"] / schedule["steps_per_epoch"],
                "total_epochs": cost["total_epochs"],
                "iterative_epochs": cost["iterative_pruning_epochs"],
                "ratio": 100 * cost["ratio"],
                "command": report["command"],
                "hours": report["seconds"]["total"] / 3600,
                "cores": report["environment"]["cpu_count"],
                "packages": report["environment"]["packages"],
            }
        )
    return found


def differences(runs: list[dict]) -> list[dict]:
    """Returns the mean difference to the dense network of each sparsity and update."""
    groups: dict[tuple, list[float]] = {}
    for run in runs:
        groups.setdefault((run["sparsity"], run["update"]), []).append(run["difference"])
    return [
        {
            "sparsity": sparsity,
            "update": update,
            "seeds": len(values),
            "mean": statistics.mean(values),
            "interval": interval(values),
            "goal": GOALS.get(sparsity),
        }
        for (sparsity, update), values in groups.items()
    ]


def page(reports: dict[str, dict]) -> str:
    """Returns the page in Markdown."""
    runs = lines(reports)
    return pages.render("paper_scale.md.jinja", runs=runs, differences=differences(runs))


def main(argv: list[str]) -> None:
    """Collects, and writes the page."""
    given = dict(argument.partition("=")[::2] for argument in argv[1:])
    if given:
        collect({name: Path(run_dir) for name, run_dir in given.items()}, RESULTS)
    reports = reports_in(RESULTS)
    for name, report in reports.items():
        # As figures are drawn now, which were once drawn in another way.
        run = RESULTS / name
        rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
        draw_all(Report.from_json(report), rows, {}, run / "figures", ["ppr"])
    write_text(PAGE, page(reports))


if __name__ == "__main__":
    app.run(main)
