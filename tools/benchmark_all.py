"""Runs every benchmark and writes the pages that show their results.

    python tools/benchmark_all.py
    python tools/benchmark_all.py --render_only

Each benchmark is a process of its own and writes a JSON file to `results/benchmarks/`. The second
form only writes the pages, every number of which comes from those files.
"""

import json
import subprocess
import sys
from pathlib import Path

import benchmarking
import jinja2
from absl import app, flags

from tf_earlyticket.paths import write_text

TOOLS = Path(__file__).parent
BENCHMARKS = ("input", "scaling")
PAGES = {"scaling.md": ("input", "scaling")}
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TOOLS),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(ms=milliseconds, ratio=ratio)
    found = {
        benchmark: json.loads((results / f"{benchmark}.json").read_text())
        for benchmark in PAGES[name]
    }
    return environment.get_template(f"{name}.jinja").render(**found, ways=_WAYS)


def milliseconds(seconds: float) -> str:
    """Returns seconds as whole milliseconds."""
    return f"{1e3 * seconds:.0f}"


def ratio(found: dict | jinja2.Undefined) -> str:
    """Returns a ratio with its interval; 1 for what the others are compared with."""
    if isinstance(found, jinja2.Undefined):
        return "1"
    return f"{found['ratio']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def main(argv: list[str]) -> None:
    """Runs the benchmarks and writes the pages."""
    del argv
    for name in () if flags.FLAGS.render_only else BENCHMARKS:
        script = TOOLS / f"benchmark_{name}.py"
        subprocess.run([sys.executable, str(script)], check=True)
    for name in PAGES:
        write_text(benchmarking.ROOT / "docs" / name, page(name))


if __name__ == "__main__":
    flags.DEFINE_bool("render_only", False, "Only write the pages, from the results that exist.")
    app.run(main)
