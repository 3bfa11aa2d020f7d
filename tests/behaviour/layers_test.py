"""Recurrent layers, attention and einsum layers: chosen alike and exactly sparse on every Keras."""

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.errors import RunError

WANDA = "global(score='wanda')"
ONE_SHOT = {"begin_step": 0, "ramp_steps": 0}


@pytest.fixture(scope="module")
def series():
    """32 series of 5 steps of 6 numbers, of 3 classes."""
    labels = np.arange(32) % 3
    values = np.random.RandomState(0).normal(size=(32, 5, 6)).astype(np.float32)
    return values + labels[:, None, None].astype(np.float32), labels


def _chain(keras, *layers):
    return keras.Sequential(
        [keras.Input((5, 6)), *layers, keras.layers.Dense(3, name="last")], name="chain"
    )


def _attention(keras):
    layers = keras.layers
    i = keras.Input((5, 6))
    x = layers.Dense(8, name="before")(i)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.EinsumDense("abc,cd->abd", (None, 8), name="einsum")(x)
    x = layers.LSTM(4, name="memory")(x)
    return keras.Model(i, layers.Dense(3, name="last")(x))


def _states(keras):
    layers = keras.layers
    i = keras.Input((5, 6))
    x, h, c = layers.LSTM(4, return_sequences=True, return_state=True, name="first")(i)
    x = layers.LSTM(4, name="second")(x, initial_state=[h, c])
    return keras.Model(i, layers.Dense(3, name="last")(x))


def _pictures(keras):
    layers = keras.layers
    return _chain(
        keras,
        layers.Reshape((5, 2, 3, 1)),
        layers.ConvLSTM2D(3, 2, recurrent_dropout=0.2, name="pictures"),
        layers.Flatten(),
    )


BOTH_KERNELS = ("kernel", "recurrent_kernel")
# Name: the network, and the weights that are pruned by default.
NETWORKS = {
    "bidirectional": (
        lambda keras: _chain(
            keras,
            keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="a"),
            keras.layers.Bidirectional(keras.layers.GRU(4), name="b"),
        ),
        [
            f"{layer}/{way}_{kind}/{kind}_cell/{kernel}"
            for layer, kind in (("a", "lstm"), ("b", "gru"))
            for way in ("forward", "backward")
            for kernel in BOTH_KERNELS
        ],
    ),
    "cells": (
        lambda keras: _chain(
            keras,
            keras.layers.RNN(
                [keras.layers.LSTMCell(4), keras.layers.GRUCell(4)],
                return_sequences=True,
                name="stack",
            ),
            keras.layers.SimpleRNN(4, name="simple"),
        ),
        [
            f"{cell}/{kernel}"
            for cell in (
                "stack/stacked_rnn_cells/lstm_cell",
                "stack/stacked_rnn_cells/gru_cell",
                "simple/simple_rnn_cell",
            )
            for kernel in BOTH_KERNELS
        ],
    ),
    "attention": (
        _attention,
        [
            "before/kernel",
            *(f"attention/{part}/kernel" for part in ("query", "key", "value", "attention_output")),
            "einsum/kernel",
            *(f"memory/lstm_cell/{kernel}" for kernel in BOTH_KERNELS),
        ],
    ),
    "states": (
        _states,
        [f"{name}/lstm_cell/{kernel}" for name in ("first", "second") for kernel in BOTH_KERNELS],
    ),
    "pictures": (
        _pictures,
        [f"pictures/conv_lstm_cell/{kernel}" for kernel in BOTH_KERNELS],
    ),
    "each": (
        lambda keras: _chain(
            keras,
            keras.layers.Reshape((5, 6, 1)),
            keras.layers.TimeDistributed(keras.layers.LSTM(4, name="inner"), name="each"),
            keras.layers.GRU(4, reset_after=False, name="after"),
        ),
        [
            f"{cell}/{kernel}"
            for cell in ("each/inner/lstm_cell", "after/gru_cell")
            for kernel in BOTH_KERNELS
        ],
    ),
}


class _Watch:
    """Returns a callback that asserts after every step that all pruned weights are zero."""

    def __new__(cls, keras, model):
        class Watch(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                assert pruned(model).violations() == 0

        return Watch()


def _trained(keras, compiled, plain, series, **options):
    model = et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.5, **ONE_SHOT), **options)
    np.testing.assert_allclose(
        model.predict(series[0], verbose=0), plain.predict(series[0], verbose=0), atol=1e-6
    )
    compiled(model, "adam")
    before = pruned(model).weights()
    callbacks = [et.MaskUpdate(), _Watch(keras, model)]
    model.fit(*series, batch_size=16, epochs=2, verbose=0, callbacks=callbacks)
    after, masks = pruned(model).weights(), pruned(model).masks()
    for name, mask in masks.items():
        assert np.any(after[name][mask] != before[name][mask]), name
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_kernels_are_chosen(keras, name):
    make, expected = NETWORKS[name]
    plain = make(keras)
    backend = backend_of(plain)
    assert list(backend.prunable_weights(plain, backend.prunable_layers(plain))) == expected
    assert backend.left_dense(plain) == {"last/kernel": "feeds the output"}


def _check_the_way(keras, compiled, series, name, tmp_path):
    make, expected = NETWORKS[name]
    plain = make(keras)
    model = _trained(keras, compiled, plain, series)
    assert list(pruned(model).masks()) == expected
    ticket = et.export_ticket(model, tmp_path / "ticket")
    assert ticket.sparsity == pytest.approx(0.5, abs=1e-3)
    wanted = model.predict(series[0], verbose=0)
    loaded = tf.saved_model.load(str(tmp_path / "ticket" / "saved_model"))
    served = loaded.serve(series[0])
    served = served[0] if isinstance(served, (list, tuple)) else served
    np.testing.assert_allclose(np.asarray(served), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        et.strip_pruning(model).predict(series[0], verbose=0), wanted, rtol=1e-4, atol=1e-5
    )
    fresh = compiled(et.wrap_for_pruning(make(keras)), "adam")
    et.rewind(fresh, et.Ticket.load(tmp_path / "ticket"))
    for key, mask in ticket.masks.items():
        np.testing.assert_array_equal(pruned(fresh).masks()[key], mask)


def test_attention_and_memory_stay_sparse_to_the_file(keras, compiled, series, tmp_path):
    _check_the_way(keras, compiled, series, "attention", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"attention"}))
def test_every_kind_stays_sparse_to_the_file(keras, compiled, series, name, tmp_path):
    _check_the_way(keras, compiled, series, name, tmp_path)


@pytest.mark.parametrize(
    "chosen",
    [
        ["attention", "memory"],
        lambda layer: layer.name in ("attention", "memory"),
        lambda layer: type(layer).__name__ in ("MultiHeadAttention", "LSTM"),
    ],
    ids=["names", "a function of the name", "a function of the class"],
)
def test_a_layer_that_holds_others_means_these(keras, chosen):
    plain = _attention(keras)
    backend = backend_of(plain)
    weights = backend.prunable_weights(plain, backend.prunable_layers(plain, chosen))
    expected = NETWORKS["attention"][1]
    assert list(weights) == [n for n in expected if n.startswith(("attention", "memory"))]


def test_groups_of_one_channel_are_a_depthwise_convolution(keras):
    layers = keras.layers
    plain = keras.Sequential(
        [keras.Input((5, 4)), layers.Conv1D(4, 3, name="first")]
        + [layers.Conv1D(8, 1, groups=groups, name=f"groups{groups}") for groups in (2, 4, 8)]
        + [layers.Flatten(), layers.Dense(3, name="last")]
    )
    backend = backend_of(plain)
    # Of two, four and eight groups: two input channels each, two, and one.
    assert backend.prunable_layers(plain) == ["groups2", "groups4"]
    assert backend.prunable_layers(plain, ["groups8"]) == ["groups8"]
    assert "a depthwise convolution" in backend.left_dense(plain)["groups8/kernel"]


def test_a_cell_that_gives_the_output_is_left_dense(keras):
    layers = keras.layers
    plain = keras.Sequential(
        [keras.Input((5, 6)), layers.Dense(4, name="first"), layers.LSTM(3, name="memory")]
    )
    backend = backend_of(plain)
    assert backend.prunable_layers(plain) == ["first"]
    assert set(backend.left_dense(plain).values()) == {"feeds the output"}


def test_a_regularizer_of_recurrent_kernels_moves_no_zero(keras, compiled, series):
    class Away(keras.regularizers.Regularizer):
        def __call__(self, weight):
            return (
                keras.backend.sum(weight) if keras.__name__ == "tf_keras" else keras.ops.sum(weight)
            )

        def get_config(self):
            return {}

    memory = keras.layers.SimpleRNN(4, recurrent_regularizer=Away(), name="memory")
    _trained(keras, compiled, _chain(keras, memory), series)


def test_patterns_in_attention_are_along_its_inputs(keras):
    schedule = et.EarlyTicketPolynomialDecay(0.5, **ONE_SHOT)
    model = et.wrap_for_pruning(_attention(keras), schedule, structure="2:4")
    masks = pruned(model).ranked_masks(0.5)
    for part, shape in (("query", (8, 2, 4)), ("attention_output", (2, 4, 8))):
        mask = masks[f"attention/{part}/kernel"]
        assert mask.shape == shape
        assert (mask.reshape(2, 4, 8).sum(1) == 2).all()


def test_groups_and_patterns_of_transposed_convolutions_are_along_their_inputs(keras):
    plain = keras.Sequential(
        [keras.Input((5, 8)), keras.layers.Conv1DTranspose(3, 2, name="up"), keras.layers.ReLU()]
    )
    for structure, kept in {"2:4": {2}, "input_groups(size=4)": {0, 4}}.items():
        schedule = et.EarlyTicketPolynomialDecay(0.5, **ONE_SHOT)
        model = et.wrap_for_pruning(plain, schedule, prunable=["up"], structure=structure)
        (mask,) = pruned(model).ranked_masks(0.5).values()
        assert mask.shape == (2, 3, 8)
        assert set(mask.reshape(2, 3, 2, 4).sum(-1).ravel()) == kept


@pytest.mark.parametrize("part", ["attention", "memory"])
def test_scores_of_activations_are_refused_where_there_are_none(keras, compiled, series, part):
    schedule = et.EarlyTicketPolynomialDecay(0.5, **ONE_SHOT)
    model = et.wrap_for_pruning(_attention(keras), schedule, prunable=[part], ranking=WANDA)
    compiled(model)
    data = tf.data.Dataset.from_tensor_slices(series).batch(16)
    with pytest.raises(RunError, match=f"activations of '{part}/.*prunable="):
        model.fit(data, verbose=0, callbacks=[et.MaskUpdate(data)])
