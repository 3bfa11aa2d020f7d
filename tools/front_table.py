"""Writes the README's first table from kept results: accuracy, size and latency of tickets.

python tools/front_table.py --into=README.md
"""

import json
import statistics
from pathlib import Path

from absl import app, flags
from collect_results import insert

RESULTS = Path(__file__).parents[1] / "results"
RUNTIMES = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
COLUMNS = ("network", "dense (%)", "ticket (%)", "size / dense", *RUNTIMES.values())
_UNKNOWN = "–"


def table() -> str:
    """Returns the table in Markdown."""
    rows = [_of_weights(), *_of_channels()]
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _of_weights() -> list[str]:
    """Returns the row of the default job: single weights, which bring size and no speed."""
    reports = [_json(path) for path in sorted(RESULTS.glob("digits_resnet20/seed*/report.json"))]
    artefacts = _json(RESULTS / "deployment/digits_resnet20_80/artefacts.json")["artefacts"]
    (tflite,) = (each for each in artefacts if each["format"] == "tflite")
    sparsity = 100 * reports[0]["config"]["pruning"]["final_sparsity"]
    return [
        f"ResNet20, digits, {sparsity:.0f} % of the weights gone ({len(reports)} seeds)",
        _mean(report["dense"]["test_accuracy"] for report in reports),
        _mean(report["ticket"]["test_accuracy"] for report in reports),
        f"{tflite['compressed_ratio']:.2f}",
        _interval(tflite["latency"]["ratio"], tflite["latency"]["low"], tflite["latency"]["high"]),
        *[_UNKNOWN] * (len(RUNTIMES) - 1),
    ]


def _of_channels() -> list[list[str]]:
    """Returns the rows of whole channels, half of the multiply-adds."""
    study = _json(RESULTS / "channels/cifar10_resnet20/study.json")["seeds"].values()
    accuracies = {"resnet20": [_mean(each[name] for each in study) for name in ("dense", "ticket")]}
    titles = {
        "resnet20": f"ResNet20, CIFAR-10, half of the multiply-adds ({len(study)} seeds)",
        "resnet50": "ResNet50, 64 px, half of the multiply-adds",
        "mobilenet_v2": "MobileNetV2, 128 px, half of the multiply-adds",
    }
    timings = _json(RESULTS / "benchmarks/latency.json")["rows"]
    rows = []
    for name, title in titles.items():
        found = {
            row["runtime"]: row
            for row in timings
            if (row["path"], row["precision"], row["batch"]) == (f"{name} 0.5", "float32", 1)
        }
        if not found:
            continue
        size = found["litert"]["compressed_bytes"] / found["litert"]["dense_compressed_bytes"]
        cells = [
            _interval(row["ratio"], row["ratio_low"], row["ratio_high"])
            if (row := found.get(runtime))
            else _UNKNOWN
            for runtime in RUNTIMES
        ]
        known = accuracies.get(name, [_UNKNOWN, _UNKNOWN])
        rows.append([title, *known, f"{size:.2f}", *cells])
    return rows


def _mean(values) -> str:
    return f"{100 * statistics.mean(values):.2f}"


def _interval(ratio: float, low: float, high: float) -> str:
    return f"{ratio:.2f} ({low:.2f} to {high:.2f})"


def _json(path: Path):
    return json.loads(path.read_text())


def main(argv: list[str]) -> None:
    """Writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    if flags.FLAGS.into:
        insert(table(), Path(flags.FLAGS.into), "table")
    else:
        print(table(), end="")


if __name__ == "__main__":
    flags.DEFINE_string("into", None, "Document that gets the table between its markers")
    app.run(main)
