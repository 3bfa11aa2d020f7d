"""What the benchmarks share: alternating measurements, ratios with their spread, a result file.

Times of one run on a noisy machine say little. Candidates are therefore measured in turn (A B A B,
every other round backwards, each pair from another candidate on), and what is reported is the
median of the rounds' ratios with a 95 % bootstrap interval. Absolute times are kept beside them for
orientation.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tf_earlyticket.files import write_json
from tf_earlyticket.report.report import environment, processor

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "benchmarks"


def median(values: Sequence[float]) -> float:
    """Returns the median as a plain number."""
    return float(np.median(values))


def in_own_process(
    script: str, *arguments: str, timeout: float = 3600, keras_backend: str | None = None
) -> dict:
    """Runs a Python file in a process of its own and returns the JSON in its last line of output.

    Args:
        script: The file.
        *arguments: Its arguments.
        timeout: Seconds it may take.
        keras_backend: Of Keras 3, if not that of this process.

    Raises:
        RuntimeError: If the process fails, with the end of what it printed.
    """
    environment = {
        **os.environ,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    if keras_backend is not None:
        environment["KERAS_BACKEND"] = keras_backend
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if done.returncode:
        raise RuntimeError(f"{script} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def logical_devices(count: int) -> None:
    """Divides the CPU into so many logical devices; before anything else uses TensorFlow."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device] * count)


def wrap_by_tfmot(model, schedule):
    """Returns the model with stock TFMOT's wrappers around the layers that this toolkit wraps."""
    from tf_earlyticket.backends import wrap_for_pruning
    from tf_earlyticket.backends.tf_keras.compat import collect_prunable_layers, keras, tfmot

    names = {layer.layer.name for layer in collect_prunable_layers(wrap_for_pruning(model))}

    def wrap(layer):
        if layer.name not in names:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(layer, schedule)

    return keras.models.clone_model(model, clone_function=wrap)


def machine(packages: Sequence[str] = ()) -> dict:
    """Returns what the measurements ran on, with versions also of further packages."""
    about = environment("one_device", 1, packages)
    del about["strategy"], about["replicas"]
    about["processor"] = processor()
    about["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return about


def write(path: Path, results: dict, packages: Sequence[str] = ()) -> None:
    """Writes results as JSON, with the machine and the command that made them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**results, "command": command(), "machine": machine(packages)})


def command() -> str:
    """Returns the command of this process, as it is typed in the repository."""
    return " ".join(["python", f"tools/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


def with_spread(found: Mapping[str, float]) -> str:
    """Returns a ratio with its interval, such as "1.012 (1.003 to 1.020)"."""
    return f"{found['ratio']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
