"""Tickets: what is exported is the trained network, and rewinding brings the old weights back."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.deploy.artefacts import make_artefacts


def _plain(filters=8):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="stem"),
            layers.Conv2D(filters, 3, strides=2, use_bias=False, name="middle"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="classifier"),
        ]
    )


def _wrapped(sparsity=0.75, begin_step=2, **options):
    keras.utils.set_random_seed(1)
    schedule = et.EarlyTicketPolynomialDecay(sparsity, begin_step=begin_step, ramp_steps=0)
    model = et.wrap_for_pruning(_plain(**options), schedule)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return model


def _images(count=8):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 1)).astype(np.float32)


def _train(model, epochs=2):
    model.fit(
        _images(),
        np.ones((8, 3), np.float32),
        4,
        epochs=epochs,
        callbacks=[et.MaskUpdate()],
        verbose=0,
    )
    return model


def test_the_saved_model_is_the_trained_network_for_any_batch_size(tmp_path):
    model = _train(_wrapped())
    et.export_ticket(model, tmp_path / "a" / "ticket")
    loaded = tf.saved_model.load(tmp_path / "a" / "ticket" / "saved_model")
    for count in (1, 5):
        expected = model.predict(_images(count), verbose=0)
        np.testing.assert_allclose(loaded.serve(_images(count)), expected, atol=1e-5)
        (served,) = loaded.signatures["serving_default"](tf.constant(_images(count))).values()
        np.testing.assert_allclose(served, expected, atol=1e-5)
    kernel = next(v for v in loaded.variables if v.shape == (3, 3, 4, 8)).numpy()
    assert np.count_nonzero(kernel) == round(0.25 * kernel.size)


def test_exporting_is_quiet_and_leaves_the_model_usable(tmp_path, capsys):
    model = _train(_wrapped())
    before = model.get_weights()
    et.export_ticket(model, tmp_path / "ticket")
    assert capsys.readouterr().out == ""
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    _train(model, epochs=1)


def test_a_ticket_keeps_masks_provenance_and_the_weights_to_rewind_to(tmp_path):
    model = _wrapped()
    initial = {w.name: w.numpy() for w in model.weights}
    _train(model)
    ticket = et.Ticket(
        masks=et.export_ticket(model, tmp_path / "first", provenance={"note": 1}).masks,
        rewind_weights={
            name: initial[next(k for k in initial if k.removesuffix(":0").endswith(name))]
            for name in et.Ticket.load(tmp_path / "first").rewind_weights
        },
        rewind_epoch=0,
    )
    loaded = et.Ticket.load(tmp_path / "first")
    assert loaded.provenance["note"] == 1
    assert loaded.sparsity == 0.75

    fresh = _wrapped()
    et.rewind(fresh, ticket)
    kernel = fresh.get_layer("masked_prune_low_magnitude_middle").layer.kernel.numpy()
    expected = np.where(ticket.masks["middle/kernel"], ticket.rewind_weights["middle/kernel"], 0)
    np.testing.assert_array_equal(kernel, expected)
    again = et.export_ticket(fresh, tmp_path / "second")
    np.testing.assert_array_equal(again.masks["middle/kernel"], ticket.masks["middle/kernel"])
    assert again.rewind_epoch == 0


def test_rewinding_a_model_that_has_other_masks_gives_it_all_weights_of_the_ticket(tmp_path):
    ticket = et.export_ticket(_train(_wrapped()), tmp_path / "ticket")
    mask = ticket.masks["middle/kernel"]
    other = et.Ticket(
        masks={"middle/kernel": ~mask},
        rewind_weights={n: np.ones_like(w) for n, w in ticket.rewind_weights.items()},
        rewind_epoch=0,
    )
    model = _wrapped()
    et.rewind(model, ticket)
    et.rewind(model, other)
    kernel = model.get_layer("masked_prune_low_magnitude_middle").layer.kernel.numpy()
    np.testing.assert_array_equal(kernel, (~mask).astype(np.float32))


def test_new_layers_are_new_with_all_inside_them():
    def make(units):
        keras.utils.set_random_seed(units)
        layers = keras.layers
        found = [layers.Dense(6, name="first"), layers.LSTM(units, name="series")]
        last = layers.Dense(2, name="last")
        return et.wrap_for_pruning(keras.Sequential([layers.Input((3, 4)), *found, last]))

    adapter = pruned(make(3))
    ticket = et.Ticket(adapter.masks(), adapter.all_weights(), 0)
    for units in (3, 5):
        model = make(units)
        before = _plain_weights(model)
        et.rewind(model, ticket, new_layers=["series", "last"])
        after = _plain_weights(model)
        for name, weight in after.items():
            source = ticket.rewind_weights if name.startswith("first/") else before
            np.testing.assert_array_equal(weight, source[name])


def test_a_ticket_of_another_network_is_refused_and_changes_nothing(tmp_path):
    ticket = et.export_ticket(_train(_wrapped()), tmp_path / "ticket")
    other = _wrapped(filters=4)
    before = other.get_weights()
    with pytest.raises(et.InputError, match="middle/kernel"):
        et.rewind(other, ticket)
    weights = {**ticket.rewind_weights, "extra/kernel": np.ones(2)}
    with pytest.raises(et.InputError, match="extra/kernel"):
        et.rewind(_wrapped(), et.Ticket(ticket.masks, weights, 0))
    same_weights = _wrapped(filters=4)
    stem = {"stem/kernel": np.ones((3, 3, 1, 4), bool)}
    present = {name: np.ones_like(w) for name, w in _plain_weights(same_weights).items()}
    with pytest.raises(et.InputError, match="middle/kernel"):
        et.rewind(same_weights, et.Ticket(stem, present, 0))
    for model in (other, same_weights):
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def _plain_weights(model):
    return pruned(model).all_weights()


def test_what_is_not_a_pruned_model_is_refused(tmp_path):
    with pytest.raises(et.InputError, match="wrap_for_pruning"):
        et.export_ticket(_plain(), tmp_path / "ticket")
    with pytest.raises(et.InputError, match="no pruned weight.*EarlyTicket"):
        et.export_ticket(_wrapped(), tmp_path / "ticket")
    model = _train(_wrapped())
    kernel = model.get_layer("masked_prune_low_magnitude_middle").layer.kernel
    kernel.assign(tf.ones_like(kernel))
    with pytest.raises(et.InputError, match="pruned weights that are not zero"):
        et.export_ticket(model, tmp_path / "ticket")
    assert not (tmp_path / "ticket").exists()


def test_an_export_that_fails_leaves_an_earlier_ticket_as_it_was(tmp_path, monkeypatch):
    directory = tmp_path / "ticket"
    model = _train(_wrapped())
    et.export_ticket(model, directory)
    before = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def fail(stripped, target):
        target.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backend_of(model), "save_model", fail)
    with pytest.raises(et.InputError, match=r"created and written, got: No space left on device"):
        et.export_ticket(model, directory)
    after = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert after == before


def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path):
    model, expected = _train(_wrapped()), "expected a path without any of"
    with pytest.raises(et.InputError, match=f"directory=.*: {expected}"):
        et.export_ticket(model, tmp_path / "[1]" / "ticket")
    et.export_ticket(model, tmp_path / "ticket")
    with pytest.raises(et.InputError, match=f"output=.*: {expected}"):
        make_artefacts(tmp_path / "ticket", ["saved_model"], tmp_path / "what?")
    (tmp_path / "ticket").rename(tmp_path / "ticket*")
    with pytest.raises(et.InputError, match=f"directory=.*: {expected}"):
        make_artefacts(tmp_path / "ticket*", ["saved_model"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["ticket*"]


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(et.InputError, match="directory"):
        et.export_ticket(_train(_wrapped()), tmp_path / "file" / "ticket")
    assert (tmp_path / "file").read_text() == ""


def test_the_saved_model_loads_in_a_process_without_this_package(tmp_path):
    model = _train(_wrapped())
    et.export_ticket(model, tmp_path / "ticket")
    np.save(tmp_path / "images.npy", _images())
    code = (
        "import sys\n"
        "absent = ['tf_keras', 'tf_earlyticket', 'tensorflow_model_optimization']\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import numpy as np, tensorflow as tf\n"
        "model = tf.saved_model.load('ticket/saved_model')\n"
        "np.save('served.npy', model.serve(np.load('images.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    expected = model.predict(_images(), verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "served.npy"), expected, atol=1e-5)
