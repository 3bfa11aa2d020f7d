"""ONNX and OpenVINO files: the same network, its zeros, what it takes; needs the extra `bench`."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from small_ticket import plain_network, write_ticket

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.deploy import artefacts, bench
from tf_earlyticket.deploy.saved_model import Network, filled_copy
from tf_earlyticket.deploy.weight_tables import weight_table
from tf_earlyticket.errors import InputError

IMAGES = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
NAMES = ["onnx", "onnx_int8", "openvino", "openvino_int8"]
for package in ("tf2onnx", "onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package)


def _onnx(path):
    """Returns a function of inputs and the description, as a reader without this package would."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    (entry,) = session.get_inputs()
    told = session.get_modelmeta().custom_metadata_map["input"]
    return lambda inputs: session.run(None, {entry.name: inputs})[0], told


def _openvino(path):
    import openvino

    model = openvino.Core().read_model(str(path / "model.xml"))
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(model, "CPU", options)
    return lambda inputs: compiled(inputs)[0], model.get_rt_info(["input"]).astype(str)


@pytest.fixture(scope="module")
def ticket(tmp_path_factory):
    keras.utils.set_random_seed(3)
    directory = tmp_path_factory.mktemp("runtimes") / "ticket"
    pictures = et.Pictures([8, 8, 1], [120.0], [60.0], ["a", "b", "c"])
    write_ticket(directory, plain_network(), 0.9, pictures)
    return directory


@pytest.fixture(scope="module")
def made(ticket, tmp_path_factory):
    out = tmp_path_factory.mktemp("runtimes") / "out"
    result = artefacts.make_artefacts(ticket, NAMES, out, calibration=IMAGES, rounds=1)
    return out, {item["format"]: item for item in result["artefacts"]}


@pytest.mark.parametrize("name", NAMES)
def test_the_files_run_like_the_network_keep_its_zeros_and_serve_pictures(name, made, ticket):
    out, found = made
    item, path = found[name], out / found[name]["file"]
    run, told = (_onnx if name.startswith("onnx") else _openvino)(path)
    reference = Network(ticket / "saved_model")(IMAGES)
    tolerance = 0.1 if "int8" in name else 1e-5
    error = artefacts.relative_error(run(IMAGES), reference)
    assert error <= tolerance and item["relative_error"] == pytest.approx(error, abs=1e-6)
    # 90 % of the 11,520 masked weights; integers of 8 bits have some more.
    assert 0.9 * 11_520 <= item["zeros"] < 1.1 * 0.9 * 11_520
    assert item["bytes"] == sum(
        file.stat().st_size for file in ([path] if path.is_file() else path.iterdir())
    )

    takes = json.loads(told)
    assert takes == dataclasses.asdict(et.Ticket.load(ticket).input)
    pixels = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 1), np.uint8)
    logits = run((pixels - np.float32(takes["mean"])) / np.float32(takes["deviation"]))
    loaded = tf.saved_model.load(str(ticket / "saved_model"))
    served = loaded.serve_pictures(pixels)["probabilities"]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(probabilities, served, atol=0.05 if "int8" in name else 1e-5)


def test_int8_is_smaller_and_asks_for_inputs(made, ticket, tmp_path):
    _, found = made
    for name in ("onnx", "openvino"):
        with pytest.raises(InputError, match=f"format={name}_int8: expected calibration"):
            artefacts.make_artefacts(ticket, [f"{name}_int8"], tmp_path / "out", rounds=1)
    assert found["onnx_int8"]["bytes"] < 0.7 * found["onnx"]["bytes"]


def test_inspect_shows_the_tensors(made):
    out, found = made
    for name, kind in (("onnx", "onnx"), ("openvino", "openvino")):
        got, rows = weight_table(out / found[name]["file"])
        assert got == kind
        assert sum(len(row["shape"]) == 4 for row in rows) == 3


def test_every_runtime_is_timed(ticket, tmp_path):
    pytest.importorskip("ai_edge_litert")
    filled_copy(ticket / "saved_model", et.Ticket.load(ticket), tmp_path / "dense")
    options = bench.Options(
        ["litert", "onnxruntime", "openvino"], batches=[1], rounds=2, processes=1
    )
    rows = bench.measure({"mine": ticket / "saved_model"}, tmp_path / "dense", IMAGES, options)
    assert [(row["runtime"], row["precision"]) for row in rows] == [
        (runtime, precision)
        for runtime in ("litert", "onnxruntime", "openvino")
        for precision in ("float32", "int8")
    ]
    for row in rows:
        assert 0 < row["ms"] < 1e3 and row["dense_bytes"] > 0 and row["load_ms"] > 0
    # 90 % of the weights are zero, which LiteRT's sparse files leave out.
    assert rows[0]["bytes"] < 0.5 * rows[0]["dense_bytes"]
