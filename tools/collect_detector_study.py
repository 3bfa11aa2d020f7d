"""Keeps the results of detector studies and writes `docs/detectors.md` from them.

    python tools/collect_detector_study.py runs/detectors/cifar10_resnet8 ...
    python tools/collect_detector_study.py

The first form copies the results of each study (`study.json`, `study.csv`, figures) to
`results/detectors/<name>/`. Both write the page, every number of which comes from the files there.
"""

import json
import sys
from pathlib import Path

import pages
from absl import app

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "detectors"
PAGE = ROOT / "docs" / "detectors.md"
DEFAULT = "PPRSaturation"


def page(results: Path = RESULTS) -> str:
    """Returns the text of the page, from the studies and the simulation under `results`."""
    studies = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(results.glob("*/study.json"))
    }
    return pages.render(
        "detectors.md.jinja",
        {"points": points, "row_of": row_of, "tickets": tickets, "share": share, "label": label},
        studies=studies,
        simulated=json.loads((results / "simulated.json").read_text()),
        default=DEFAULT,
    )


def points(fraction: float | None, digits: int = 2) -> str:
    """Returns a fraction in percent, a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f}"


def label(study: dict) -> str:
    """Returns what a study is of, in a few words."""
    config = study["config"]
    kind = ", channels" if config["pruning"].get("structure") == "channels" else ""
    return f"{config['model']['name']}, {config['data']['name']}{kind}"


def row_of(study: dict, detector: str) -> dict:
    """Returns the row of a detector in the summary of a study."""
    return next(row for row in study["summary"] if row["detector"] == detector)


def tickets(study: dict, mode: str) -> list[dict]:
    """Returns mean accuracy, its range and the number of seeds by start epoch, for a mode."""
    cells: dict[int, list[float]] = {}
    for result in study["seeds"].values():
        for epoch, cell in result["tickets"].get(mode, {}).items():
            cells.setdefault(int(epoch), []).append(cell["test_accuracy"])
    return [
        {
            "start_epoch": epoch,
            "mean": sum(values) / len(values),
            "least": min(values),
            "greatest": max(values),
            "seeds": len(values),
        }
        for epoch, values in sorted(cells.items())
    ]


def share(study: dict, detector: str = DEFAULT) -> dict:
    """Returns what the probes of a detector cost beside the dense runs, in epochs and in time."""
    epochs = seconds = dense_seconds = 0.0
    for result in study["seeds"].values():
        probed = result["choices"][detector]["probed_epochs"]
        by_epoch = dict(zip(result["probe"]["epochs"], result["probe"]["seconds"], strict=True))
        epochs += result["choices"][detector]["probe_cost_epochs"]
        seconds += sum(by_epoch[epoch] for epoch in probed)
        dense_seconds += result["dense_seconds"]
    count = len(study["seeds"])
    return {
        "epochs": epochs / count / study["config"]["train"]["epochs"],
        "seconds": seconds / dense_seconds,
    }


def main(argv: list[str]) -> None:
    """Collects, and writes the page."""
    try:
        for name in argv[1:]:
            pages.keep_study(Path(name), RESULTS)
        write_text(PAGE, page())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
