"""Artefacts: what is written runs like the SavedModel, is as small as said, and comes whole."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from small_ticket import plain_network, write_ticket

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.commands.export import read_array
from tf_earlyticket.deploy import artefacts, tflite
from tf_earlyticket.deploy import formats as forms
from tf_earlyticket.deploy.saved_model import Network, filled_copy

IMAGES = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def ticket(tmp_path_factory):
    keras.utils.set_random_seed(3)
    directory = tmp_path_factory.mktemp("artefacts") / "ticket"
    pictures = et.Pictures([8, 8, 1], [120.0], [60.0], ["a", "b", "c"])
    write_ticket(directory, plain_network(), 0.9, pictures)
    return directory


def test_the_files_run_like_the_network_and_sparse_ones_are_small(ticket, tmp_path):
    names = ["saved_model", "tflite", "tflite_int8", "tflite_int8_sparse"]
    calls = []

    def accuracy(run):
        calls.append(run(IMAGES[:3]).shape)
        return 0.5

    result = artefacts.make_artefacts(
        ticket, names, tmp_path / "out", calibration=IMAGES, accuracy=accuracy, rounds=1
    )
    assert json.loads((tmp_path / "out" / "artefacts.json").read_text()) == result
    assert calls == [(3, 3)] * len(names)
    found = {item["format"]: item for item in result["artefacts"]}
    assert list(found) == names
    reference = Network(ticket / "saved_model")(IMAGES)
    for name, item in found.items():
        file = tmp_path / "out" / item["file"]
        assert item["accuracy"] == 0.5
        assert 0 < item["latency"]["low"] <= item["latency"]["high"]
        if name == "saved_model":
            assert tf.saved_model.load(str(file)).serve(IMAGES).shape == (16, 3)
            continue
        content = file.read_bytes()
        assert item["bytes"] == len(content)
        assert item["relative_error"] == pytest.approx(
            artefacts.relative_error(tflite.runner(content)(IMAGES), reference)
        )
        assert item["zeros"] >= 0.9 * 11_520 * (1 if name != "tflite_int8" else 0.99)
    # 11,520 of the 12,000 weights are in masked kernels.
    assert found["tflite"]["bytes_ratio"] < 0.35
    assert found["tflite"]["relative_error"] < 1e-5
    assert found["tflite_int8_sparse"]["bytes"] < found["tflite_int8"]["bytes"]
    assert found["saved_model"]["compressed_ratio"] < 0.5


def test_every_format_says_what_it_takes_and_serves_pictures_by_it(ticket, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 1), np.uint8)
    loaded = tf.saved_model.load(str(ticket / "saved_model"))
    served = loaded.serve_pictures(pixels)
    names = ["saved_model", "tflite", "tflite_int8", "tflite_int8_sparse"]
    out = tmp_path / "out"
    artefacts.make_artefacts(ticket, names, out, calibration=IMAGES, rounds=1)
    loaded = tf.saved_model.load(str(out / "saved_model"))
    again = loaded.serve_pictures(pixels)
    np.testing.assert_array_equal(again["probabilities"], served["probabilities"])
    for name in names[1:]:
        # As a reader without this package would.
        with zipfile.ZipFile(out / f"{name}.tflite") as archive:
            takes = json.loads(archive.read("input.json"))
        assert takes == dataclasses.asdict(et.Ticket.load(ticket).input)
        interpreter = tf.lite.Interpreter(str(out / f"{name}.tflite"))
        entry, result = (
            *interpreter.get_input_details(),
            *interpreter.get_output_details(),
        )
        interpreter.resize_tensor_input(entry["index"], pixels.shape)
        interpreter.allocate_tensors()
        inputs = (pixels - np.float32(takes["mean"])) / np.float32(takes["deviation"])
        interpreter.set_tensor(entry["index"], inputs)
        interpreter.invoke()
        logits = interpreter.get_tensor(result["index"])
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        tolerance = 1e-5 if name == "tflite" else 0.05
        np.testing.assert_allclose(probabilities, served["probabilities"], atol=tolerance)


def test_a_second_export_keeps_what_the_first_made_and_says_when(ticket, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"

    def make(*formats, of=ticket, **about):
        return artefacts.make_artefacts(of, formats, out, rounds=1, about=about)["artefacts"]

    make("tflite_dense", "saved_model", number=1)
    found = make("tflite", "tflite_dense", number=2)
    kept, *new = found
    assert [record["format"] for record in found] == ["saved_model", "tflite", "tflite_dense"]
    assert kept["about"] == {"number": 1} and all("about" not in record for record in new)
    # What is gone, or of another ticket, is not told of.
    (out / "tflite.tflite").unlink()
    assert [r["format"] for r in make("tflite_dense", number=3)] == ["saved_model", "tflite_dense"]
    (kept, _) = make("tflite_dense", number=4)
    assert kept["about"] == {"number": 1}
    write_ticket(other, plain_network(), 0.5)
    assert [record["format"] for record in make("tflite", of=other)] == ["tflite"]
    (out / "artefacts.json").write_text("[]")
    assert [record["format"] for record in make("tflite", of=other)] == ["tflite"]


def test_an_export_never_writes_into_the_ticket(ticket, tmp_path):
    (tmp_path / "link").symlink_to(ticket)
    (tmp_path / "file").write_text("")
    for output in (
        ticket,
        ticket / "saved_model",
        ticket / "saved_model/x",
        tmp_path / "link/mine",
    ):
        with pytest.raises(et.InputError, match="output=.*: expected a directory outside of the"):
            artefacts.make_artefacts(ticket, ["saved_model"], output)
    inner = tmp_path / "saved_model"
    with pytest.raises(et.InputError, match="output=.*: expected a directory outside of the"):
        artefacts.check_output(inner, tmp_path)
    with pytest.raises(et.InputError, match="output=.*: expected a directory, got a file"):
        artefacts.check_output(ticket, tmp_path / "file")
    artefacts.make_artefacts(ticket, ["saved_model"], ticket / "exported", rounds=1)
    assert et.Ticket.load(ticket).sparsity == pytest.approx(0.9, abs=1e-3)


def test_the_dense_counterpart_has_no_zeros_and_the_same_kept_weights(ticket, tmp_path):
    loaded = et.Ticket.load(ticket)
    filled_copy(ticket / "saved_model", loaded, tmp_path / "dense")
    values = [v.numpy() for v in tf.saved_model.load(str(tmp_path / "dense")).variables]
    for name, mask in loaded.masks.items():
        (kernel,) = [v for v in values if v.shape == mask.shape]
        assert np.count_nonzero(kernel) == kernel.size
        np.testing.assert_array_equal(kernel[mask], loaded.final_weights[name][mask])


def test_the_dense_counterpart_of_layers_with_one_weight_or_none_has_no_zeros(tmp_path):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(6, name=name) for name in ("one", "none", "no_more", "last")]
    model = et.wrap_for_pruning(keras.Sequential([keras.layers.Input((6,)), *layers]))
    adapter = pruned(model)
    masks = {name: np.zeros(mask.shape, bool) for name, mask in adapter.masks().items()}
    masks["one/kernel"][0, 0] = True
    adapter.set_masks(masks)
    loaded = et.export_ticket(model, tmp_path / "ticket")
    filled_copy(tmp_path / "ticket" / "saved_model", loaded, tmp_path / "dense")
    for variable in tf.saved_model.load(str(tmp_path / "dense")).variables:
        assert len(variable.shape) < 2 or np.count_nonzero(variable) == 36


def test_what_cannot_be_made_is_refused_and_earlier_files_stay(ticket, tmp_path, monkeypatch):
    out = tmp_path / "out"
    artefacts.make_artefacts(ticket, ["tflite"], out, rounds=1)
    before = {path: path.read_bytes() for path in out.iterdir()}

    def make(*formats, **options):
        artefacts.make_artefacts(ticket, formats, out, rounds=1, **options)

    with pytest.raises(
        et.InputError, match="format='tflight': expected one of.*Did you mean 'tflite'"
    ):
        make("tflight")
    with pytest.raises(et.InputError, match="tflite_dynamic_sparse: not made, since .*XNNPACK"):
        make("tflite_dynamic_sparse")
    with pytest.raises(et.InputError, match="at least one of"):
        make()
    with pytest.raises(et.InputError, match="tflite_int8: expected calibration"):
        make("tflite", "tflite_int8")
    with pytest.raises(et.InputError, match=r"calibration=.*\(2, 4, 4, 1\)': expected float32"):
        make("tflite", calibration=np.zeros((2, 4, 4, 1), np.float32))
    with pytest.raises(et.InputError, match="calibration='float64"):
        make("tflite", calibration=np.zeros((2, 8, 8, 1)))
    with pytest.raises(et.InputError, match="calibration=.*: expected finite"):
        make("tflite", calibration=np.full((2, 8, 8, 1), np.nan, np.float32))
    monkeypatch.setattr(artefacts, "relative_error", lambda *_: float("nan"))
    with pytest.raises(RuntimeError, match="outputs differ .* by nan.*Nothing was written"):
        make("tflite")
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_calibration_that_is_cut_off_is_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", IMAGES)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    with pytest.raises(et.InputError, match="--calibration=.*: expected a .npy file of numbers"):
        read_array(tmp_path / "cut.npy")


def test_a_format_whose_packages_are_missing_is_refused_with_a_way_to_get_them(monkeypatch):
    monkeypatch.setattr(forms, "find_spec", lambda name: None)
    for name in ("onnx", "openvino_int8"):
        with pytest.raises(et.InputError, match=rf"format={name}: .*not inst.*pip install -e '.\["):
            artefacts.check_formats([name])


def test_where_all_is_padding_outputs_are_compared_all_the_same(tmp_path):
    layers = keras.layers
    words = [layers.Embedding(8, 6, mask_zero=True), layers.GlobalAveragePooling1D()]
    found = [layers.Dense(8), layers.Dense(8), layers.Dense(2)]
    plain = keras.Sequential([layers.Input((5,), dtype="int32"), *words, *found])
    write_ticket(tmp_path / "ticket", plain, 0.5)

    def make(calibration=None):
        folders = tmp_path / "ticket", ["saved_model"], tmp_path / "out"
        return artefacts.make_artefacts(*folders, calibration=calibration, rounds=1)["artefacts"]

    with pytest.raises(et.InputError, match="calibration='NaN or infinity': expected inputs for"):
        make()
    assert make(np.full((4, 5), 3, np.int32))[0]["relative_error"] == 0


def test_a_network_of_texts_is_exported(tmp_path):
    layers = keras.layers
    words = layers.TextVectorization(vocabulary=["a", "word"], output_sequence_length=4)
    found = [layers.Embedding(8, 4), layers.Flatten(), layers.Dense(8), layers.Dense(8)]
    plain = keras.Sequential([layers.Input((1,), dtype="string"), words, *found, layers.Dense(2)])
    ticket = write_ticket(tmp_path / "ticket", plain, 0.5)
    made = artefacts.make_artefacts(
        tmp_path / "ticket", ["saved_model"], tmp_path / "out", rounds=1
    )
    assert made["artefacts"][0]["relative_error"] == 0 and ticket.sparsity == 0.5
    # What processes of a benchmark are given.
    given = Network(tmp_path / "ticket" / "saved_model").example_inputs(2)
    np.save(tmp_path / "texts.npy", given)
    np.testing.assert_array_equal(np.load(tmp_path / "texts.npy"), given)


def test_a_file_that_the_interpreter_refuses_is_an_error():
    with pytest.raises(
        RuntimeError, match="tflite: the interpreter refuses the file: .*Flatbuffer"
    ):
        tflite.runner(b"\0" * 100)


def test_a_ticket_without_saved_model_or_with_an_altered_one_is_refused(ticket, tmp_path):
    et.Ticket.load(ticket).save(tmp_path / "bare")
    with pytest.raises(et.InputError, match="has no saved_model/"):
        artefacts.make_artefacts(tmp_path / "bare", ["tflite"], tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2"])
def test_round_trips_are_exact(name, tmp_path):
    keras.utils.set_random_seed(0)
    if name == "resnet20":
        plain = et.models.resnet20((32, 32, 3), 10)
    else:
        plain = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    directory = tmp_path / "ticket"
    saved = write_ticket(directory, plain, 0.8)
    loaded = et.Ticket.load(directory)
    for kind in ("masks", "rewind_weights", "final_weights"):
        ours, theirs = getattr(saved, kind), getattr(loaded, kind)
        assert list(ours) == list(theirs)
        for key, array in ours.items():
            np.testing.assert_array_equal(array, theirs[key], strict=True)

    model = et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.8))
    model.compile("sgd", "mse")
    et.rewind(model, loaded)
    stripped = et.strip_pruning(model)
    weights = {
        key: np.where(loaded.masks[key], array, 0) if key in loaded.masks else array
        for key, array in loaded.rewind_weights.items()
    }
    et.load_trained_weights(plain, loaded)
    for ours, theirs, expected in zip(
        stripped.weights, plain.weights, weights.values(), strict=True
    ):
        np.testing.assert_array_equal(ours.numpy(), expected)
        np.testing.assert_array_equal(theirs.numpy(), expected)
    again = et.export_ticket(model, tmp_path / "again")
    for key, mask in loaded.masks.items():
        np.testing.assert_array_equal(again.masks[key], mask)

    images = np.random.default_rng(1).normal(size=(5, 32, 32, 3)).astype(np.float32)
    expected = plain.predict(images, verbose=0)
    served = Network(directory / "saved_model")(images)
    np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-5)
    result = artefacts.make_artefacts(
        directory, ["tflite"], tmp_path / "out", calibration=images, rounds=1
    )
    run = tflite.runner((tmp_path / "out" / "tflite.tflite").read_bytes())
    np.testing.assert_allclose(run(images), expected, rtol=1e-3, atol=1e-4)
    if name == "resnet20":
        assert result["artefacts"][0]["bytes_ratio"] <= 0.30
