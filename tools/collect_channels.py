"""Keeps the results of channel studies and writes `docs/channels.md` from them.

    python tools/collect_channels.py runs/channels/cifar10_resnet20 ...
    python tools/collect_channels.py

The first form copies `study.json` of each directory to `results/channels/<name>/`, without paths of
the machine, and draws its figure; of a single run of channels it keeps a row of
`results/channels/rankings.json`. Both write the page; every measured number in it comes from the
files there.
"""

import json
import re
import sys
from pathlib import Path

import pages
from absl import app

from tf_earlyticket.config import config_from_dict
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json, write_json, write_text
from tf_earlyticket.job.build import structure_of
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.report import drawing

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "channels"
RANKINGS = "rankings.json"
PAGE = ROOT / "docs" / "channels.md"
KINDS = {
    "dense": "dense",
    "ticket": "gradual channel ticket",
    "scratch": "its shape from scratch",
}
# What is to be shown of a difference: at least so much, a fraction.
WANTED = {"ticket-scratch": 0.005, "ticket-dense": -0.01}


def keep_run(run_dir: Path, results: Path = RESULTS) -> None:
    """Keeps what a finished run of channels says of its ranking, in place of the same run's row."""
    report, path = read_json(run_dir / "report.json"), results / RANKINGS
    config, macs, parameters = (report[key] for key in ("config", "macs", "parameters"))
    pruning, named = config["pruning"], structure_of(config_from_dict(config).pruning)
    row = {
        "network": f"{config['model']['name']} on {config['data']['name']}",
        "target": pruning["target"],
        "multiple": resolve_criterion(structure=named).structure.multiple,
        "ranking": pruning["ranking"],
        "seed": config["seed"],
        "start_epoch": report["start_epoch"],
        "macs": macs["ticket"] / macs["dense"],
        "parameters": parameters["ticket"] / parameters["dense"],
        "test_accuracy": report["ticket"]["test_accuracy"],
        "command": re.sub(r"--workdir=\S+", "--workdir=runs/channels/rankings", report["command"]),
        "packages": report["environment"]["packages"],
    }
    names = list(row)[:5]
    rows = read_json(path)["runs"] if path.exists() else []
    rows = [each for each in rows if any(each[name] != row[name] for name in names)]
    rows.append(row)
    write_json(path, {"runs": sorted(rows, key=lambda each: [str(each[n]) for n in names])})


def collect(study_dir: Path, results: Path = RESULTS) -> None:
    """Copies the results of a study to a folder of its name under `results`; keeps those of a run.

    Raises:
        InputError: If the directory holds neither.
    """
    if (study_dir / "report.json").exists():
        keep_run(study_dir, results)
        return
    if not (study_dir / "study.json").exists():
        raise InputError(f"{study_dir}: expected the directory of a study, with a study.json.")
    study = read_json(study_dir / "study.json")
    command = re.sub(r"--data_dir=\S+", "--data_dir=DIR", study["command"])
    study["command"] = re.sub(
        r"--workdir=\S+", f"--workdir=runs/channels/{study_dir.name}", command
    )
    target = results / study_dir.name
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "study.json", study)
    drawing.save(draw(study), target / "accuracies.png")


def draw(study: dict):
    """Draws the test accuracy of each kind of network: a dot a seed, a line at the mean."""
    name = f"{study['config']['model']['name']} on {study['config']['data']['name']}"
    title = f"Test accuracy of {name}: a dot for each seed, a line at the mean"
    figure, axes = drawing.new_axes(3.2, title, "", "Test accuracy (%)")
    for place, kind in enumerate(KINDS):
        found = [100 * seed[kind] for seed in study["seeds"].values()]
        axes.plot([place] * len(found), found, "o", color=drawing.BLUE)
        axes.hlines(sum(found) / len(found), place - 0.2, place + 0.2, color=drawing.INK)
    axes.set_xticks(range(len(KINDS)), KINDS.values())
    axes.set_xlim(-0.5, len(KINDS) - 0.5)
    return figure


def page(results: Path = RESULTS) -> str:
    """Returns the text of the page, from the studies under `results`."""
    studies = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(results.glob("*/study.json"))
    }
    return pages.render(
        "channels.md.jinja",
        {"points": points, "mean": mean, "verdict": verdict, "interval": interval},
        studies=studies,
        kinds=KINDS,
        rankings=read_json(results / RANKINGS)["runs"] if (results / RANKINGS).exists() else [],
    )


def points(fraction: float, digits: int = 2) -> str:
    """Returns a fraction in percent."""
    return f"{100 * fraction:.{digits}f}"


def mean(study: dict, kind: str) -> float:
    """Returns the mean test accuracy of a kind of network over the seeds."""
    values = [seed[kind] for seed in study["seeds"].values()]
    return sum(values) / len(values)


def interval(difference: dict) -> str:
    """Returns a mean difference in points with its interval, where there is one."""
    text = f"{100 * difference['mean']:+.2f}"
    if difference["low"] is None:
        return f"{text} (one seed: no interval)"
    low, high = (100 * difference[end] for end in ("low", "high"))
    return f"{text} [{low:+.2f}, {high:+.2f}]"


def verdict(difference: dict, name: str) -> str:
    """Returns what a difference says of the least value that it should have."""
    wanted = WANTED[name]
    goal = f"at least {100 * wanted:+.1f} points"
    if difference["low"] is None:
        side = "above" if difference["mean"] >= wanted else "below"
        return f"{goal}: one seed does not tell; it is {side} that"
    if difference["low"] >= wanted:
        return f"{goal}: yes, the whole interval"
    if difference["high"] < wanted:
        return f"{goal}: no, the whole interval is below"
    side = "above" if difference["mean"] >= wanted else "below"
    return f"{goal}: not decided, the interval goes to both sides of it; the mean is {side}"


def main(argv: list[str]) -> None:
    """Collects, and writes the page."""
    try:
        for name in argv[1:]:
            collect(Path(name))
        write_text(PAGE, page())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
