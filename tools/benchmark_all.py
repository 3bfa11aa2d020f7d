"""Runs every benchmark and writes the pages that show their results.

    python tools/benchmark_all.py
    python tools/benchmark_all.py --render_only

Each benchmark is a process of its own and writes a JSON file to `results/benchmarks/`. The second
form only writes the pages and figures, every number of which comes from those files.
"""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import benchmark_figures
import benchmarking
import jinja2
import pages
from absl import app, flags
from matplotlib.figure import Figure
from trainers import DISTILLATION

from tf_earlyticket.deploy.bench import DENSE, RUNTIMES
from tf_earlyticket.files import write_text
from tf_earlyticket.report import drawing
from tf_earlyticket.report.drawing import count, percent
from tf_earlyticket.report.report import read_timings

TOOLS = Path(__file__).parent
BENCHMARKS = (
    *("input", "scaling", "masks", "probe", "overhead", "streams", "startup", "latency", "tiny"),
)
PAGES = {
    "scaling.md": ("input", "scaling"),
    "performance.md": (
        "input",
        "masks",
        "probe",
        "overhead",
        "streams",
        "startup",
        "latency",
        "tiny",
    ),
}
_SETTINGS = {
    "step_graph16": "step, ResNet20, batch 16",
    "step_graph128": "step, ResNet20, batch 128",
    "step_xla16": "step, ResNet20, batch 16, XLA",
    "step_xla128": "step, ResNet20, batch 128, XLA",
    "step_mirrored32": "step, ResNet20, batch 32, two mirrored replicas",
    "step_mirrored128": "step, ResNet20, batch 128, two mirrored replicas",
    "step_resnet50": "step, ResNet50, 64 px, batch 8",
    "step_keras3_16": "step, Keras 3 on TensorFlow, ResNet20, batch 16",
    "step_keras3_128": "step, Keras 3 on TensorFlow, ResNet20, batch 128",
    "step_jax16": "step, Keras 3 on JAX, ResNet20, batch 16",
    "step_jax128": "step, Keras 3 on JAX, ResNet20, batch 128",
    "first_graph": "time to the first step, ResNet20",
    "first_mirrored": "time to the first step, two mirrored replicas",
    "first_xla": "time to the first step, XLA",
}
_LIMITS = {
    **dict.fromkeys(("step_graph16", "step_graph128", "step_xla16", "step_xla128"), 1.02),
    **dict.fromkeys(("step_mirrored32", "step_mirrored128"), 1.03),
    "step_resnet50": 1.05,
    **dict.fromkeys(("step_keras3_16", "step_keras3_128", "step_jax16", "step_jax128"), 1.02),
    "first_graph": 1.20,
    "first_mirrored": 1.10,
    "first_xla": 1.05,
}
# Of a step under any mask update, in every setting of `_updates`.
_UPDATE_LIMIT = 1.05
# Of tickets at half the multiply-adds, for the upper bound of their latency by the dense one's.
_HALF = {"resnet20": 0.90, "resnet50": 0.65, "mobilenet_v2": 0.70}
_TINY = {
    "resnet8": "ResNet8",
    "ds_cnn": "DS-CNN",
    "mobilenet": "MobileNetV1 0.25",
    "autoencoder": "autoencoder",
}
_TICKETS = {
    DENSE: "dense",
    "weights": "ticket of weights",
    "channels": "ticket of channels",
}
_WAYS = {
    "tfds_read": "TFDS, encoded images",
    "tfds_decoded": "TFDS, decoded whole",
    "tfds_cropped": "the same with crop, resize and flip",
    "train": "training pipeline",
    "train_any_order": "training pipeline, `--config.data.deterministic=false`",
    "evaluation": "evaluation pipeline",
}


def page(name: str, results: Path = benchmarking.RESULTS) -> str:
    """Returns the text of a page under `docs/`, from the result files."""
    found = _results(PAGES[name], results)
    if name == "performance.md":
        latency = found["latency"]
        measured = ("input", "masks", "probe", "overhead")
        found["targets"] = targets(**{name: found[name] for name in measured})
        found["updates"] = updates(found["overhead"])
        table = latencies(latency["rows"])
        found["latency"] = latency | {"table": table, "left_out": left_out(table)}
        random = [name for name, about in found["tiny"]["networks"].items() if not about["trained"]]
        found["tiny"] |= {"table": tiny_lines(found["tiny"]), "random": random}
    filters = {"ms": milliseconds, "ratio": ratio, "fine": fine}
    return pages.render(
        f"{name}.jinja", filters, **found, ways=_WAYS, settings=_SETTINGS, tiny_names=_TINY
    )


def targets(input: dict, masks: dict, probe: dict, overhead: dict) -> list[dict]:
    """Returns the targets, what was measured, and whether its median meets them."""
    measured = [
        (f"{_SETTINGS[name]} / dense", limit, overhead[name]["against_dense"]["tf_earlyticket"])
        for name, limit in _LIMITS.items()
        if name in overhead
    ]
    for line in updates(overhead):
        ratios = {name: r for name, r in line["ratios"].items() if name != DISTILLATION}
        name = max(ratios, key=lambda name: ratios[name]["ratio"])
        what = f"{line['text']}, under the costliest update, {name} / dense"
        measured.append((what, _UPDATE_LIMIT, ratios[name]))
    memory = overhead["memory"]["against_dense_and_masks"]["tf_earlyticket"]
    measured += [
        ("whole mask update / TFMOT's layerwise masks alone", 0.15, masks["update"]),
        ("peak memory / (dense + one copy of the kernels)", 1.05, memory),
        *(
            (f"probe of {row['fraction']} epochs / its training and evaluation", 1.05, row)
            for row in probe["probe"]
        ),
        *(
            (f"step with data / with the batch in memory, batch {row['batch_size']}", 1.05, row)
            for row in input["cifar10_step"]
        ),
        ("importing everything / TensorFlow, tf_keras and TFMOT", 1.05, overhead["import"]),
    ]
    rows = [
        {
            "what": what,
            "target": f"<= {limit:.2f}",
            "measured": benchmarking.with_spread(found),
            "met": found["ratio"] <= limit,
            "excess": found["ratio"] - limit,
        }
        for what, limit, found in measured
    ]
    state = probe["state"]
    rows.append(
        {
            "what": f"state of {state['network']}, copied and put back",
            "target": "<= 0.15 s",
            "measured": f"{state['seconds']:.3f} s",
            "met": state["seconds"] <= 0.15,
            "excess": state["seconds"] - 0.15,
        }
    )
    return rows


def updates(overhead: dict) -> list[dict]:
    """Returns a line for each setting in which mask updates were measured beside dense."""
    pairs = [(name, name.replace("step_", "updates_")) for name in _SETTINGS]
    return [
        {
            "text": _SETTINGS[step],
            "dense": overhead[name]["seconds"]["dense"],
            "ratios": overhead[name]["against_dense"],
            "update_seconds": overhead[name]["update_seconds"],
        }
        for step, name in pairs
        if name != step and name in overhead
    ]


def latencies(rows: Sequence[dict]) -> list[dict]:
    """Returns a line for each network, runtime and number type: its tickets beside dense.

    The upper bound of the ratio at half the multiply-adds is what has a target; where the dense
    network differs from itself, nothing is told: "met" is None.
    """
    lines: dict[tuple, dict] = {}
    for item in read_timings(rows):
        network, share = item.path.split()
        key = (network, item.runtime, item.precision, item.batch)
        line = lines.setdefault(key, {"names": key, "dense_ms": item.dense_ms})
        line[share] = item.told
        line["control"] = f"{item.control:.2f} ({item.control_low:.2f} to {item.control_high:.2f})"
        limit = _HALF.get(network)
        if share == "0.5" and limit and item.runtime != "tensorflow":
            line |= {"target": f"<= {limit:.2f}", "bound": item.ratio_high}
            told = not item.told.startswith("–")
            line["met"] = item.ratio_high <= limit if told else None
    return list(lines.values())


def left_out(table: Sequence[dict]) -> list[str]:
    """Returns the networks, runtimes and number types that `latencies` has no line for."""
    there = {line["names"][:3] for line in table}
    return [
        ", ".join((network, runtime, precision))
        for network in _HALF
        for runtime, about in RUNTIMES.items()
        for precision in about.formats
        if (network, runtime, precision) not in there
    ]


def tiny_lines(tiny: Mapping) -> list[dict[str, list[str]]]:
    """Returns a line for each of MLPerf Tiny's networks, dense and as tickets.

    Returns:
        The cells "names", "files" (parameters, multiply-adds, bytes, accuracies) and "costs"
        (latency, estimates), in the order of the page's columns.
    """
    timings = {item.path: item for item in read_timings(tiny["rows"])}
    estimated = {row["path"]: row for row in tiny["estimates"]}
    lines = []
    for (name, about), (variant, title) in itertools.product(
        tiny["networks"].items(), _TICKETS.items()
    ):
        # What is known of the dense network is in the rows of its tickets.
        path = f"{name} {'weights' if variant == DENSE else variant}"
        prefix, cost = "dense_" * (variant == DENSE), about["variants"][variant]
        timed, row = vars(timings[path]) if path in timings else {}, estimated.get(path, {})
        told = timings[path].told if path in timings and variant != DENSE else ""
        accuracies = (cost.get("accuracy"), timed.get(f"{prefix}accuracy"))
        estimates = ("cycles", "arithmetic_cycles", "weight_bytes")
        lines.append(
            {
                "names": [_TINY[name], title],
                "files": [
                    count(cost["parameters"]),
                    count(cost["multiply_adds"] / 1e6, 2),
                    count(timed.get(f"{prefix}bytes")),
                    count(timed.get(f"{prefix}compressed_bytes")),
                    *(percent(accuracy, 2, sign="") for accuracy in accuracies),
                ],
                "costs": [
                    count(timed.get(f"{prefix}ms"), 3),
                    told,
                    *(count(row.get(f"{prefix}{what}")) for what in estimates),
                ],
            }
        )
    return lines


def figures(results: Path = benchmarking.RESULTS) -> dict[str, Figure]:
    """Returns the figures of `performance.md` by name, from the result files."""
    found = _results(("masks", "probe", "scaling", "latency"), results)
    return {
        "masks": benchmark_figures.draw_masks(found["masks"], found["scaling"]),
        "probes": benchmark_figures.draw_probes(found["probe"]),
        "latency": benchmark_figures.draw_latency(found["latency"]["rows"]),
    }


def _results(benchmarks: Sequence[str], results: Path) -> dict[str, dict]:
    return {name: json.loads((results / f"{name}.json").read_text()) for name in benchmarks}


def milliseconds(seconds: float) -> str:
    """Returns seconds as whole milliseconds."""
    return f"{1e3 * seconds:.0f}"


def ratio(found: dict | jinja2.Undefined) -> str:
    """Returns a ratio with its interval; 1 for what the others are compared with."""
    if isinstance(found, jinja2.Undefined):
        return "1"
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def fine(found: dict | jinja2.Undefined) -> str:
    """Returns a ratio with its interval, three digits; a dash for what was not measured."""
    return "-" if isinstance(found, jinja2.Undefined) else benchmarking.with_spread(found)


def main(argv: list[str]) -> None:
    """Runs the benchmarks and writes the pages and figures."""
    del argv
    for name in () if flags.FLAGS.render_only else BENCHMARKS:
        script = TOOLS / f"benchmark_{name}.py"
        subprocess.run([sys.executable, str(script)], check=True)
    for name in PAGES:
        write_text(benchmarking.ROOT / "docs" / name, page(name))
    for name, figure in figures().items():
        drawing.save(figure, benchmarking.RESULTS / "figures" / f"{name}.png")


if __name__ == "__main__":
    flags.DEFINE_bool("render_only", False, "Only write pages and figures, from existing results.")
    app.run(main)
