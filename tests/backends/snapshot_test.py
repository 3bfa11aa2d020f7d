"""The sandbox: whatever happens inside, every variable and generator is as it was, bit for bit."""

import gc
import random

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.eager import context as tf_context

from tf_earlyticket.backends import pruned, wrap_for_pruning

layers = keras.layers


def decay():
    return keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)


OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam_schedule": lambda: keras.optimizers.Adam(decay(), use_ema=True),
    "nadam": lambda: keras.optimizers.Nadam(0.01),
    "legacy": lambda: keras.optimizers.legacy.Adam(0.01),
    "legacy_schedule": lambda: keras.optimizers.legacy.SGD(decay(), momentum=0.9),
    "loss_scale": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
}


@keras.utils.register_keras_serializable("adapter_tests")
class OwnNoise(layers.Layer):
    """A user's layer with a generator of its own."""

    def build(self, input_shape):
        self.generator = tf.random.Generator.from_seed(3)

    def call(self, inputs, training=None):
        if not training:
            return inputs
        return inputs + self.generator.normal(tf.shape(inputs), dtype=inputs.dtype)


@pytest.fixture
def random_cnn():
    inputs = keras.Input((8, 8, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.Conv2D(4, 3, name="stem")(x)
    x = OwnNoise()(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(4, 3, activation="relu", name="middle")(x)
    x = layers.Reshape((16, 4))(x)
    x = layers.MultiHeadAttention(1, 4, dropout=0.3)(x, x)
    x = layers.Dropout(0.4)(layers.Flatten()(x))
    x = layers.Dense(6, name="hidden")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits", dtype="float32")(x))


@pytest.fixture
def small_model():
    def make():
        return keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Flatten(),
                layers.Dense(6, name="hidden"),
                layers.BatchNormalization(),
                layers.Dropout(0.3),
                layers.Dense(4, dtype="float32", name="logits"),
            ]
        )

    return make


def live_variables():
    """Every variable of the process: knows nothing of models, optimizers or snapshots."""
    return [o for o in gc.get_objects() if issubclass(type(o), tf.Variable) and _readable(o)]


def _readable(variable):
    try:
        variable.numpy()
    except Exception:
        return False
    return True


def batches(images, size=4):
    return tf.data.Dataset.from_tensor_slices(images).batch(size)


def disturb(adapter, data, prune):
    prune(adapter, 0.6)
    adapter.set_learning_rate(0.3)
    adapter.train(data, 3)
    adapter.evaluate(data)
    random.random()
    np.random.rand()
    tf.random.uniform(())
    adapter.model.stop_training = True


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_is_restored_bit_for_bit(name, small_model, compiled, prune, images):
    if name == "loss_scale":
        keras.mixed_precision.set_global_policy("mixed_float16")
    assert_restored(name, small_model(), False, compiled, prune, images)


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_every_kind_of_random_layer_is_restored(fails, random_cnn, compiled, prune, images):
    assert_restored("momentum", random_cnn, fails, compiled, prune, images)


def assert_restored(name, plain, fails, compiled, prune, images):
    model = wrap_for_pruning(plain)
    adapter = compiled(model, OPTIMIZERS[name]())
    if name == "loss_scale":
        # Overflows at once, so that the scale changes.
        for variable in model.optimizer._loss_scale._weights.values():
            if variable.dtype == tf.float32:
                variable.assign(2.0**40)
    data = batches(images)
    model.fit(data, verbose=0)
    variables = live_variables()
    before = [variable.numpy() for variable in variables]
    rate, traces = adapter.learning_rate(), model.train_function.experimental_get_tracing_count()
    python_state, numpy_state = random.getstate(), np.random.get_state()[1].copy()
    operation_seeds = tf_context.context()._rng.getstate()
    changed = 0
    try:
        with adapter.sandbox():
            disturb(adapter, data, prune)
            after = [variable.numpy() for variable in variables]
            changed = sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    # Weights, statistics, slots, masks, metrics, counters, generators.
    assert changed > 15
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)
    assert adapter.learning_rate() == rate
    assert random.getstate() == python_state
    assert (np.random.get_state()[1] == numpy_state).all()
    assert tf_context.context()._rng.getstate() == operation_seeds
    assert model.stop_training is False
    assert model.train_function.experimental_get_tracing_count() == traces


def test_each_random_layer_repeats_itself_after_the_sandbox(random_cnn, compiled, prune, images):
    model = wrap_for_pruning(random_cnn)
    adapter = compiled(model)
    outputs = []
    for _ in range(2):
        with adapter.sandbox():
            outputs.append([model(images[0], training=True).numpy() for _ in range(2)])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert (outputs[0][0] != outputs[0][1]).any()


def test_a_sandbox_works_where_no_seed_was_ever_set(random_cnn, compiled, prune, images):
    context = tf_context.context()
    vars(context).pop("_rng", None)
    context._seed = None
    adapter = compiled(wrap_for_pruning(random_cnn))
    before = adapter.weights()
    with adapter.sandbox():
        disturb(adapter, batches(images), prune)
    for name, weight in adapter.weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_sandboxes_may_be_nested(make_cnn, compiled, prune):
    adapter = compiled(wrap_for_pruning(make_cnn()))
    with adapter.sandbox():
        prune(adapter, 0.3)
        outer = adapter.masks()
        with adapter.sandbox():
            prune(adapter, 0.8)
        for name, mask in adapter.masks().items():
            np.testing.assert_array_equal(mask, outer[name])
    assert all(mask.all() for mask in adapter.masks().values())


def test_the_step_is_not_traced_again_by_a_sandbox_inside_fit(compiled, prune, images):
    traced = []

    class Counting(layers.Layer):
        def call(self, inputs, training=None):
            traced.append(training)
            return inputs

    inputs = keras.Input((8, 8, 3))
    hidden = layers.Dense(6, name="hidden")(Counting()(layers.Flatten()(inputs)))
    model = wrap_for_pruning(keras.Model(inputs, layers.Dense(4)(hidden)))
    adapter = compiled(model)
    data = batches(images)

    class Probe(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            with pruned(self.model).sandbox():
                disturb(adapter, data, prune)

    model.fit(data, validation_data=data, verbose=0)
    seen = len(traced)
    history = model.fit(data, validation_data=data, epochs=3, verbose=0, callbacks=[Probe()])
    assert len(traced) == seen
    assert len(history.history["loss"]) == 3
