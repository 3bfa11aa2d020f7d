"""The sandbox: whatever happens inside, every variable and generator is as it was, bit for bit."""

import gc
import random

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context as tf_context
from tensorflow.python.framework import config

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.layers import recurrent_states


def _own_noise(keras):
    """Returns a user's layer with a generator of its own."""

    class OwnNoise(keras.layers.Layer):
        def build(self, input_shape):
            if keras.__name__ == "tf_keras":
                self.generator = tf.random.Generator.from_seed(3)
            else:
                self.generator = keras.random.SeedGenerator(3)
            super().build(input_shape)

        def call(self, inputs, training=None):
            if not training:
                return inputs
            if keras.__name__ == "tf_keras":
                return inputs + self.generator.normal(tf.shape(inputs))
            return inputs + keras.random.normal(keras.ops.shape(inputs), seed=self.generator)

    return OwnNoise


@pytest.fixture
def random_network(keras):
    """A network with every kind of random layer."""
    keras.utils.set_random_seed(1)
    if keras.__name__ == "tf_keras":
        # Else their numbers come from TensorFlow's own counter.
        keras.backend.experimental.enable_tf_random_generator()
    layers = keras.layers
    inputs = layers.Input((8, 8, 1))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.Conv2D(4, 3, name="stem")(x)
    x = layers.BatchNormalization()(_own_noise(keras)()(x))
    x = layers.Conv2D(4, 3, activation="relu", name="middle")(x)
    x = layers.Reshape((16, 4))(layers.GaussianNoise(0.1)(x))
    x = layers.MultiHeadAttention(1, 4, dropout=0.3)(x, x)
    x = layers.Dropout(0.4)(layers.Flatten()(layers.SpatialDropout1D(0.2)(x)))
    x = layers.Dense(6, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def _live_variables(keras) -> list:
    """Returns every variable of the process: knows nothing of models, optimizers or snapshots."""
    kinds = (tf.Variable, getattr(keras, "Variable", tf.Variable))
    return [o for o in gc.get_objects() if issubclass(type(o), kinds) and _readable(o)]


def _readable(variable) -> bool:
    try:
        np.array(variable)
    except Exception:
        return False
    return True


def _prune(adapter, sparsity):
    adapter.set_masks(adapter.ranked_masks(sparsity))


def _disturb(adapter, data):
    _prune(adapter, 0.6)
    adapter.begin_schedule(3, ramp_steps=5, frequency=2)
    adapter.set_learning_rate(0.3)
    assert adapter.train(data[0], 3) == 3
    adapter.evaluate(data[1])
    random.random()
    np.random.rand()
    tf.random.uniform(())
    adapter.model.stop_training = True


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_everything_is_restored_bit_for_bit(keras, random_network, compiled, data, fails):
    model = compiled(et.wrap_for_pruning(random_network))
    adapter = pruned(model)
    adapter.prepare()
    # As inside of a `fit`: the functions and metrics are there.
    model.fit(data[0], validation_data=data[1], verbose=0)
    adapter.weights()
    variables = _live_variables(keras)
    before = [np.array(variable) for variable in variables]
    states = random.getstate(), np.random.get_state()[1].tolist()
    operation_seeds = tf_context.context()._rng.getstate()
    rate, step, history = adapter.learning_rate(), adapter.step(), model.history
    changed = 0
    try:
        with adapter.sandbox():
            _disturb(adapter, data)
            adapter.weights()
            after = [np.array(variable) for variable in variables]
            changed = sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    # Weights, statistics, slots, masks, metrics, counters, generators.
    assert changed > 30
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), value, err_msg=variable.name)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert tf_context.context()._rng.getstate() == operation_seeds
    assert (adapter.learning_rate(), adapter.step(), model.history) == (rate, step, history)
    assert model.stop_training is False and adapter.sparsity_schedule() is None


def test_each_random_layer_repeats_itself_after_the_sandbox(random_network, compiled, examples):
    model = compiled(et.wrap_for_pruning(random_network))
    adapter = pruned(model)
    outputs = []
    for _ in range(2):
        with adapter.sandbox():
            outputs.append([np.array(model(examples[0][:4], training=True)) for _ in range(2)])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0][0] != outputs[0][1]).any()


def test_sandboxes_may_be_nested(network, compiled):
    adapter = pruned(compiled(et.wrap_for_pruning(network())))
    adapter.prepare()
    with adapter.sandbox():
        _prune(adapter, 0.3)
        outer = adapter.masks()
        with adapter.sandbox():
            _prune(adapter, 0.8)
        for name, mask in adapter.masks().items():
            np.testing.assert_array_equal(mask, outer[name])
    assert all(mask.all() for mask in adapter.masks().values())


def test_a_sandbox_inside_fit_does_not_trace_the_step_again(keras, compiled, data):
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            traced.append(1)
            return inputs

    layers = keras.layers
    plain = keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), Counting()]
        + [layers.Dense(width) for width in (4, 4, 3)]
    )
    model = compiled(et.wrap_for_pruning(plain))
    adapter = pruned(model)
    adapter.prepare()

    class Probe(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with adapter.sandbox():
                _disturb(adapter, data)

    model.fit(data[0], validation_data=data[1], verbose=0)
    count = len(traced)
    options = {"validation_data": data[1], "epochs": 3, "verbose": 0, "callbacks": [Probe()]}
    history = model.fit(data[0], **options)
    assert len(traced) == count
    assert len(history.history["loss"]) == 3 and adapter.step() == 24


def test_a_sandbox_works_where_no_seed_was_ever_set(random_network, compiled, data):
    context = tf_context.context()
    saved = {name: vars(context)[name] for name in ("_seed", "_rng") if name in vars(context)}
    adapter = pruned(compiled(et.wrap_for_pruning(random_network)))
    adapter.prepare()
    before = adapter.weights()
    deterministic = config.is_op_determinism_enabled()
    try:
        # With it on, TensorFlow refuses to draw without a seed.
        config.disable_op_determinism()
        vars(context).pop("_rng", None)
        context._seed = None
        with adapter.sandbox():
            _disturb(adapter, data)
    finally:
        vars(context).update(saved)
        if deterministic:
            config.enable_op_determinism()
    for name, weight in adapter.weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_inputs_of_layers_are_looked_at_and_forgotten(keras, compiled):
    layers = keras.layers
    inputs = keras.Input(batch_shape=(4, 5, 3))
    x = layers.GRU(4, stateful=True, name="recurrent")(inputs)
    x = layers.Dense(6, name="hidden")(x)
    plain = keras.Model(inputs, layers.Dense(3, name="logits")(x))
    model = et.wrap_for_pruning(plain, prunable=["hidden"], ranking="global(score='wanda')")
    adapter = pruned(compiled(model))
    examples = np.ones((8, 5, 3), np.float32), np.zeros(8, np.int32)
    batches = tf.data.Dataset.from_tensor_slices(examples).batch(4)
    model(examples[0][:4])
    before = [np.array(state) for state in recurrent_states(model)]
    adapter.score_data = lambda: batches
    assert et.mask_sparsity(adapter.ranked_masks(0.5)) == 0.5
    assert before[0].any()
    np.testing.assert_array_equal(before, [np.array(state) for state in recurrent_states(model)])
