"""The suite of `behaviour/` under Keras 3, each backend in a process of its own."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from jobs import QUICK_XLA

HERE = Path(__file__).parent


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras_3_behaves_like_tf_keras(backend, tmp_path):
    printed = _run(backend, tmp_path, "behaviour")
    # Neither a suite that was not found nor tests left out pass, but one for its runtimes.
    assert int(re.search(r"\b(\d+) passed", printed)[1]) >= 90
    runtimes = all(map(find_spec, ("tf2onnx", "onnxruntime", "openvino")))
    assert re.findall(r"\b(\d+) skipped", printed) == ([] if runtimes else ["1"])


@pytest.mark.slow
def test_what_is_slow_under_keras_3(tmp_path):
    printed = _run("tensorflow", tmp_path, "behaviour", "-m", "slow")
    assert int(re.search(r"\b(\d+) passed", printed)[1]) >= 70


def _run(backend, tmp_path, tests, *options):
    """Returns what pytest prints of tests under Keras 3, once they pass."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "FRAMEWORK": f"keras_{backend}",
        "PYTHONPATH": str(HERE.parent),
        # Compiled fast rather than fast when run: twice as fast.
        "XLA_FLAGS": QUICK_XLA,
        # Tests compile the same few networks: four times as fast.
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    # Of this process, which runs under xdist.
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", f"--basetemp={tmp_path / 'inner'}"]
        + [str(HERE / tests), *options],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


LIGHT = """
import sys

for name in ("tf_keras", "tensorflow_model_optimization"):
    sys.modules[name] = None  # As if it were not installed.
import keras, numpy as np, tensorflow as tf
import tf_earlyticket as et

layers = keras.layers
plain = keras.Sequential(
    [layers.Input((4,)), *(layers.Dense(8, name=name) for name in ("one", "two", "out"))]
)
model = et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.5))
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("sgd", loss, metrics=["accuracy"])
inputs, labels = np.ones((32, 4), "float32"), np.arange(32) % 8
data = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(8)
model.fit(data, epochs=6, verbose=0, callbacks=[et.EarlyTicket(data, data, verbose=0)])
ticket = et.export_ticket(model, sys.argv[1])
assert ticket.sparsity == 0.5, ticket.sparsity


class Own(layers.Dense):
    # Known in this process only, so JAX has to export it.
    pass


plain = keras.Sequential([layers.Input((4,)), Own(8, name="own"), layers.Dense(3, name="out")])
model = et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.5, begin_step=0, ramp_steps=0))
model.compile("sgd", "mse")
model.fit(inputs, np.ones((32, 3)), verbose=0, callbacks=[et.MaskUpdate()])
et.export_ticket(model, sys.argv[1] + "_of_jax")
"""


@pytest.mark.parametrize("backend", ["jax"])
def test_keras_3_needs_neither_tf_keras_nor_tfmot(backend, tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-c", LIGHT, str(tmp_path / "ticket")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "ticket/saved_model").is_dir()
    assert "TensorFlow cannot rebuild the model" in done.stderr
    assert (tmp_path / "ticket_of_jax/saved_model").is_dir()
