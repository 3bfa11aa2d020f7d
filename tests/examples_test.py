"""The examples run, with fewer epochs where that is all that is slow."""

import importlib.util
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# Name: epochs, and what is to be expected of what it returns.
EXPECTED = {
    "own_cnn": (12, lambda accuracy: accuracy > 0.8),
    "custom_loop": (8, lambda sparsity: sparsity == pytest.approx(0.9, abs=1e-3)),
    "transfer": (4, lambda sparsity: sparsity == pytest.approx(0.8, abs=1e-3)),
    "tabular": (20, lambda accuracy: accuracy > 0.8),
    "vit": (8, lambda found: found["sparsity"] == pytest.approx(0.8, abs=1e-3)),
    "lstm_text": (6, lambda found: found["sparsity"] == pytest.approx(0.8, abs=1e-3)),
}
if find_spec("keras_hub"):
    EXPECTED["hub_classifier"] = (8, lambda sparsity: sparsity == pytest.approx(0.8, abs=1e-3))
# Twice trained, the dense network too, or a larger one.
LONG = {"vit", "lstm_text", "transfer", "hub_classifier"}


def test_every_example_is_run():
    # One needs KerasHub.
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*EXPECTED, "hub_classifier"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in EXPECTED]
)
def test_the_example_does_what_it_says(name, capsys):
    epochs, expected = EXPECTED[name]
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    assert expected(example.main(epochs))
    assert capsys.readouterr().out
