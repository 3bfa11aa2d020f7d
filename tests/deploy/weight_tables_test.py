"""What `inspect` says of each kind of file is what is in it."""

import importlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from reports import made_up_report

import tf_earlyticket as et
from tf_earlyticket import inspect as inspect_program
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.commands.inspect import about_run, inspect
from tf_earlyticket.deploy import tflite
from tf_earlyticket.deploy.weight_tables import totals, weight_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one trained network in every form."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("forms")
    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="stem"),
            layers.Conv2D(32, 3, name="middle"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="classifier"),
        ]
    )
    model = et.wrap_for_pruning(plain)
    model.compile("sgd", "mse")
    adapter = pruned(model)
    adapter.prepare()
    adapter.set_masks(adapter.ranked_masks(0.8))
    et.export_ticket(model, folder / "ticket", provenance={"test_accuracy": 0.5})
    stripped = et.strip_pruning(model)
    stripped.save(folder / "model.keras")
    stripped.save(folder / "model.h5")
    tf.train.Checkpoint(model=stripped).save(folder / "checkpoints" / "ckpt")
    content = tflite.convert(folder / "ticket" / "saved_model", tflite.FORMATS["tflite"])
    (folder / "model.tflite").write_bytes(content)
    (folder / "notes.txt").write_text("hello")
    (folder / "broken.keras").write_bytes(b"no zip")
    (folder / "broken.tflite").write_bytes(b"no flatbuffer at all")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ticket/saved_model", "saved_model"),
        ("checkpoints", "checkpoint"),
        ("checkpoints/ckpt-1", "checkpoint"),
        ("checkpoints/ckpt-1.index", "checkpoint"),
        ("model.keras", "keras"),
        ("model.h5", "keras"),
        ("model.tflite", "tflite"),
    ],
)
def test_each_form_shows_the_same_sparse_kernel(folder, name, kind):
    found, rows = weight_table(folder / name)
    assert found == kind
    kernels = [row for row in rows if int(np.prod(row["shape"])) == 3 * 3 * 4 * 32]
    assert [row["kept"] for row in kernels] == [230]
    assert kernels[0]["sparsity"] == pytest.approx(1 - 230 / 1152)
    assert kernels[0]["dtype"] == "float32"
    if kind == "tflite":
        assert kernels[0]["sparse"] and 230 * 4 < kernels[0]["bytes"] < 1152 * 4
    else:
        assert kernels[0]["bytes"] == 1152 * 4
        # Weights, the numbers of steps and saves aside.
        counted = [row for row in rows if row["dtype"] == "float32"]
        assert totals(counted)["weights"] == 36 + 4 + 1152 + 32 + 96 + 3


@pytest.mark.parametrize("package", ["tf_keras", "keras"])
@pytest.mark.parametrize("ending", ["h5", "keras"])
def test_what_an_optimizer_keeps_is_no_weight(package, ending, tmp_path):
    own = importlib.import_module(package)
    model = own.Sequential([own.layers.Input((4,)), own.layers.Dense(3, name="logits")])
    model.compile("adam", "mse")
    model.fit(np.zeros((2, 4)), np.zeros((2, 3)), verbose=0)
    model.save(tmp_path / f"model.{ending}")
    _, rows = weight_table(tmp_path / f"model.{ending}")
    assert totals(rows)["weights"] == 15
    if package == "tf_keras":
        tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "kept" / "ckpt")
        _, rows = weight_table(tmp_path / "kept")
        counted = [row for row in rows if row["dtype"] == "float32"]
        assert totals(counted)["weights"] == 15


def test_a_ticket_shows_its_masks_and_says_what_it_is(folder):
    found = inspect(folder / "ticket")
    assert found["kind"] == "ticket"
    assert found["rows"] == [
        {
            "name": "middle/kernel",
            "shape": [3, 3, 4, 32],
            "kept": 230,
            "sparsity": 1 - 230 / 1152,
            "dtype": "bool",
            "bytes": 144,
        }
    ]
    assert found["totals"] == {
        "weights": 1152,
        "kept": 230,
        "sparsity": 1 - 230 / 1152,
        "bytes": 144,
        "network_sparsity": (1152 - 230) / (36 + 1152 + 96),
    }
    costs = {cost["name"]: cost for cost in found["about"]["layers"]}
    # 4 x 4 places.
    assert costs["middle"] == {
        "name": "middle",
        "macs": {"dense": 16 * 1152, "masked": 16 * 230, "removed": 16 * 1152},
        "parameters": {"dense": 1152 + 32, "masked": 230 + 32, "removed": 1152 + 32},
    }
    assert found["about"]["trained"] and found["about"]["test_accuracy"] == 0.5
    assert "tensorflow" in found["about"]["versions"]
    assert list(found["about"]["left_dense"].values()) == [
        "the first convolution",
        "feeds the output",
    ]
    json.dumps(found)


def test_the_whole_network_is_printed_beside_the_prunable_weights(folder, call_program):
    status, out, err = call_program(inspect_program, str(folder / "ticket"))
    assert status == 0, err
    assert "of all kernels of the network 71.81\N{NO-BREAK SPACE}% are pruned" in out
    cells = [line.split() for line in out.replace("│", " ").splitlines()]
    assert ["middle", "18,432", "3,680", "18,432", "1,184", "262", "1,184"] in cells
    assert ["All", "19,824", "5,072", "19,824", "1,323", "401", "1,323"] in cells


def test_a_report_of_before_is_shown(tmp_path):
    values = made_up_report().to_json()
    for name in ("layers", "left_dense"):
        del values[name]
    assert not {"macs", "parameters", "network_sparsity"} & {*values, *values["ticket"]}
    (tmp_path / "report.json").write_text(json.dumps(values))
    (tmp_path / "config.json").write_text("{}")
    about = about_run(tmp_path)
    assert about["layers"] == [] and about["ticket_test_accuracy"] == 0.9136


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing' does not exist: expected a run directory, a ticket"),
        ("notes.txt", "notes.txt' is of no known kind"),
        ("broken.keras", "broken.keras cannot be read as a keras"),
        ("broken.tflite", "broken.tflite cannot be read as a tflite.*identifier"),
    ],
)
def test_what_cannot_be_shown_is_refused_by_name(folder, name, message):
    with pytest.raises(et.InputError, match=message):
        inspect(folder / name)


def test_a_run_that_has_not_ended_says_so(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(et.InputError, match="a run that has not ended"):
        inspect(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(et.InputError, match="report.json is damaged"):
        about_run(tmp_path)


def test_what_lies_beside_a_config_of_others_is_shown(folder, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(folder / "ticket" / "saved_model", model)
    for content in ('{"architectures": ["Bert"]}', "no JSON"):
        (model / "config.json").write_text(content)
        found = inspect(model)
        assert found["kind"] == "saved_model" and found["rows"]


@pytest.mark.parametrize("package", ["tf_keras", "keras"])
def test_weights_in_bfloat16_are_shown(package, tmp_path):
    kind = importlib.import_module(package)
    layer = kind.layers.Dense(3, dtype="bfloat16")
    model = kind.Sequential([kind.layers.Input((2,), dtype="bfloat16"), layer])
    layer.set_weights([np.array([[1, 0, -0.0], [2, 3, -4]]), np.zeros(3)])
    model.save(tmp_path / "whole.keras")
    model.save_weights(tmp_path / "part.weights.h5")
    value = tf.Variable(tf.cast([[1, 0, -0.0], [2, 3, -4]], tf.bfloat16))
    tf.train.Checkpoint(a=value).write(str(tmp_path / "ckpt"))
    for name in ("whole.keras", "part.weights.h5", "ckpt"):
        (row,) = (row for row in weight_table(tmp_path / name)[1] if len(row["shape"]) == 2)
        shown = row["shape"], row["dtype"], row["kept"], row["bytes"]
        assert shown == ([2, 3], "bfloat16", 4, 12)
