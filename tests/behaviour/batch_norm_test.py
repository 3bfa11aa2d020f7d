"""Statistics of BatchNorm estimated anew: those of the batches, whatever they were before."""

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.layers import recurrent_states


@pytest.fixture
def make(keras):
    """Returns a function that makes a network whose first layers can be computed by hand."""

    def make_model():
        keras.utils.set_random_seed(1)
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input((6,)),
                layers.BatchNormalization(name="first"),
                layers.Dense(5, name="hidden"),
                layers.Dropout(0.5),
                layers.BatchNormalization(name="second", center=False),
                layers.Dense(3, name="classifier"),
            ]
        )

    return make_model


@pytest.fixture
def inputs():
    random = np.random.RandomState(0)
    # The last batch is smaller and elsewhere.
    first = random.normal(3, 2, size=(64, 6))
    return np.concatenate([first, random.normal(-1, 1, size=(10, 6))]).astype(np.float32)


def _statistics(layer):
    return [np.array(v, np.float64) for v in (layer.moving_mean, layer.moving_variance)]


def _expected(model, inputs, batches):
    """What reaches each layer, every one before it normalizing by its own batch."""
    first, hidden = model.get_layer("first"), model.get_layer("hidden")
    kernel, bias = (np.array(weight, np.float64) for weight in hidden.weights[:2])
    seen = [inputs[place : place + 16].astype(np.float64) for place in range(0, 74, 16)][:batches]
    normal = [(x - x.mean(0)) / np.sqrt(x.var(0) + first.epsilon) for x in seen]
    later = np.concatenate([x @ kernel + bias for x in normal])
    seen = np.concatenate(seen)
    return [[values.mean(0), values.var(0)] for values in (seen, later)]


@pytest.mark.parametrize("batches", [3, 9])
def test_statistics_are_those_of_all_values_in_the_batches(make, inputs, batches):
    import tensorflow as tf

    model = make()
    data = tf.data.Dataset.from_tensor_slices((inputs, np.zeros(74, int))).batch(16)
    weights = [np.array(weight) for weight in model.trainable_weights]
    for _ in range(2):
        assert et.recalibrate_batch_norm(model, data, batches) == 2
        for name, wanted in zip(
            ("first", "second"), _expected(model, inputs, batches), strict=True
        ):
            for value, expected in zip(_statistics(model.get_layer(name)), wanted, strict=True):
                np.testing.assert_allclose(value, expected, rtol=2e-4, atol=1e-5)
    for weight, before in zip(model.trainable_weights, weights, strict=True):
        np.testing.assert_array_equal(np.array(weight), before)
    # In use it computes with them.
    whole = model(inputs, training=False)
    np.testing.assert_allclose(np.array(whole), model.predict(inputs, verbose=0), atol=1e-5)


def test_a_wrapped_network_keeps_its_zeros_and_trains_on(network, compiled, data, examples):
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=2, ramp_steps=2)
    model = compiled(et.wrap_for_pruning(network(), schedule))
    options = {"epochs": 1, "verbose": 0, "callbacks": [et.MaskUpdate()]}
    model.fit(data[0], **options)
    adapter = pruned(model)
    before = adapter.all_weights()
    assert et.recalibrate_batch_norm(model, (examples[0], examples[1]), batch_size=16) == 1
    after = adapter.all_weights()
    changed = {name for name in before if np.any(before[name] != after[name])}
    assert changed == {"norm/moving_mean", "norm/moving_variance"}
    assert adapter.violations() == 0
    model.fit(data[0], **options)
    assert np.any(adapter.all_weights()["norm/moving_mean"] != after["norm/moving_mean"])


def test_recurrent_layers_remember_what_they_did(keras):
    layers = keras.layers
    shape = "batch_input_shape" if keras.__name__.startswith("tf_keras") else "batch_shape"
    model = keras.Sequential(
        [
            layers.InputLayer(**{shape: (4, 5, 3)}),
            layers.GRU(2, stateful=True),
            layers.BatchNormalization(),
        ]
    )
    inputs = np.random.RandomState(0).normal(size=(8, 5, 3)).astype(np.float32)
    model(inputs[:4])
    before = [np.array(state) for state in recurrent_states(model)]
    assert before and all(state.any() for state in before)
    assert et.recalibrate_batch_norm(model, (inputs, np.zeros(8)), batch_size=4) == 1
    for state, expected in zip(recurrent_states(model), before, strict=True):
        np.testing.assert_array_equal(np.array(state), expected)


def test_frozen_layers_and_what_cannot_be_measured_leave_statistics_as_they_are(make, inputs):
    model = make()
    model.get_layer("first").trainable = False
    labels = np.zeros(74, int)
    assert et.recalibrate_batch_norm(model, (inputs, labels)) == 1
    assert not _statistics(model.get_layer("first"))[0].any()
    before = _statistics(model.get_layer("second"))
    inputs[70, 0] = np.nan
    with pytest.raises(et.InputError, match="not finite"):
        et.recalibrate_batch_norm(model, (inputs, labels))
    for value, expected in zip(_statistics(model.get_layer("second")), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    with pytest.raises(et.InputError, match="batches=0: expected an integer of at least 1"):
        et.recalibrate_batch_norm(model, (inputs, labels), 0)


def test_a_network_without_the_layer_is_left_alone(keras):
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    assert et.recalibrate_batch_norm(model, (np.ones((4, 2)), np.ones(4))) == 0
