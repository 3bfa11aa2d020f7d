"""Artefacts run where nothing of this toolkit is installed, only what they are for."""

import subprocess
import venv

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.deploy.artefacts import make_artefacts
from tf_earlyticket.deploy.saved_model import Network

FORMATS = ("tflite", "tflite_float16", "tflite_dynamic", "tflite_int8", "tflite_int8_sparse")
RUN_TFLITE = """
for name in "{names}".split():
    interpreter = Interpreter(model_path="out/" + name + ".tflite")
    entry = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(entry, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry, images)
    interpreter.invoke()
    outputs[name] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
""".format(names=" ".join(FORMATS))
ENVIRONMENTS = {
    f"tensorflow=={tf.__version__}": """
import tensorflow as tf
Interpreter = tf.lite.Interpreter
loaded = tf.saved_model.load("ticket/saved_model")
outputs["saved_model"] = loaded.serve(images).numpy()
(outputs["serving_default"],) = loaded.signatures["serving_default"](tf.constant(images)).values()
""",
    "ai-edge-litert": """
from ai_edge_litert.interpreter import Interpreter
assert not importlib.util.find_spec("tensorflow")
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a ticket, its artefacts, images and the outputs that are expected for them."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("clean")
    model = et.wrap_for_pruning(et.models.resnet20((32, 32, 3), 10))
    model.compile("sgd", "mse")
    adapter = pruned(model)
    adapter.prepare()
    adapter.set_masks(adapter.ranked_masks(0.8))
    et.export_ticket(model, folder / "ticket")
    images = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype(np.float32)
    make_artefacts(folder / "ticket", FORMATS, folder / "out", calibration=images, rounds=1)
    np.save(folder / "images.npy", images)
    np.save(folder / "expected.npy", Network(folder / "ticket" / "saved_model")(images))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("package", ENVIRONMENTS)
def test_the_artefacts_run_where_only_one_package_is_installed(package, folder, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = subprocess.run(
        [python, "-m", "pip", "install", "-q", package], capture_output=True, text=True
    )
    if install.returncode:
        pytest.skip(f"pip cannot install {package}: {install.stderr.strip().splitlines()[-1]}")
    code = (
        "import importlib.util, sys, numpy as np\n"
        "images, outputs = np.load('images.npy'), {}\n"
        + ENVIRONMENTS[package]
        + RUN_TFLITE
        + "for name in ('tf_keras', 'tensorflow_model_optimization', 'tf_earlyticket'):\n"
        "    assert not importlib.util.find_spec(name), name\n"
        "np.savez(sys.argv[1], **outputs)\n"
    )
    found = tmp_path / "outputs.npz"
    done = subprocess.run(
        [python, "-I", "-c", code, found], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    expected = np.load(folder / "expected.npy")
    outputs = np.load(found)
    assert set(outputs) >= set(FORMATS)
    for name, values in outputs.items():
        coarse = "int8" in name or "dynamic" in name
        np.testing.assert_allclose(values, expected, atol=0.3 if coarse else 0.01, err_msg=name)
