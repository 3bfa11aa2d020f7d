"""Runs examples that compare a ticket with the dense network, and keeps what came out.

    python tools/collect_examples.py --output_dir=results/examples vit lstm_text

Each `examples/NAME.py` trains with its own defaults; `NAME.json` has what its `main` returned, the
seed, the command and the machine.
"""

import importlib.util
import inspect
from pathlib import Path

import benchmarking
from absl import app, flags

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DEFAULT_OUTPUT = Path(__file__).resolve().parents[1] / "results" / "examples"


def load(name: str):
    """Returns the module of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def results(example) -> dict:
    """Runs an example; returns what it found and with which epochs and seed."""
    options = inspect.signature(example.main).parameters
    return {name: option.default for name, option in options.items()} | example.main()


def main(argv: list[str]) -> None:
    """Runs the examples that are named."""
    for name in argv[1:]:
        example = load(name)
        about = {"name": name, "title": example.__doc__.partition("\n")[0]}
        path = Path(flags.FLAGS.output_dir) / f"{name}.json"
        benchmarking.write(path, about | results(example))


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", str(DEFAULT_OUTPUT), "Where the results are kept.")
    app.run(main)
