"""What Arm's compiler Vela estimates for TFLite files of 8 bits on an Ethos-U: nothing is run.

The estimate is of the operators that the accelerator takes; others, such as the conversions of
numbers at both ends, are left to the processor beside it and counted only.
"""

import csv
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tf_earlyticket.errors import RunError

NEEDED = ("ethosu",)
INSTALL = "pip install -e '.[vela]'"
_MULTIPLIERS = {"u55": (32, 64, 128, 256), "u65": (256, 512), "u85": (128, 256, 512, 1024, 2048)}
# By kind and multiply-adds a cycle.
ACCELERATORS = tuple(
    f"ethos-{kind}-{number}" for kind, numbers in _MULTIPLIERS.items() for number in numbers
)
_SECONDS = 600
# What its table calls what is returned.
_TEXTS = {"system": "system_config", "memory_mode": "memory_mode"}
_NUMBERS = {
    "cycles": "cycles_total",
    "arithmetic_cycles": "cycles_npu",
    "weight_bytes": "total_npu_encoded_weights",
}


def estimate(path: Path, accelerator: str) -> dict[str, str | int]:
    """Returns what an inference of a full-integer TFLite file costs on an accelerator.

    Args:
        path: The file.
        accelerator: Of `ACCELERATORS`; its clock and memories are those that Vela takes for it.

    Returns:
        "cycles" of one example, "arithmetic_cycles" of those if no memory ever made it wait,
        "weight_bytes" as compressed for the accelerator, "cpu_operators" that it does not take,
        "system" and "memory_mode" as Vela names them.

    Raises:
        RunError: If Vela refuses the file or takes too long, or the accelerator can take nothing
            of it.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "ethosu.vela", path]
                + [f"--accelerator-config={accelerator}", f"--output-dir={folder}"],
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"vela took over {_SECONDS} s for {path.name}") from None
        tables = list(Path(folder).glob("*_summary_*.csv"))
        if done.returncode or not tables:
            told = f"{done.stdout}\n{done.stderr}".strip()
            raise RunError(f"vela refuses {path.name}: {told[-300:]}")
        with tables[0].open(newline="") as file:
            row = next(csv.DictReader(file))
    found = {name: int(float(row[column])) for name, column in _NUMBERS.items()}
    if not found["cycles"]:
        raise RunError(f"{accelerator} can take nothing of {path.name}: expected one of 8 bits")
    left = re.search(r"CPU operators = (\d+)", done.stdout)
    found["cpu_operators"] = int(left[1]) if left else 0
    return found | {name: row[column] for name, column in _TEXTS.items()}
