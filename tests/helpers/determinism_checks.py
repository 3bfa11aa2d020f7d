"""Checks that need two logical CPUs and op determinism, both fixed before TensorFlow starts.

Run as a program by determinism_test.py: prints one JSON object {check: "" or what went wrong}.
"""

import json
import sys
import traceback

import numpy as np
import tensorflow as tf
import tf_keras as keras

from tf_earlyticket.backends import pruned, wrap_for_pruning
from tf_earlyticket.pruning.select import global_masks

CLASSES = 4


def examples():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(32, 8, 8, 3)).astype("float32")
    return images, generator.integers(0, CLASSES, size=32)


def build(seed=5):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.RandomFlip("horizontal", seed=2)(inputs)
    x = layers.Conv2D(4, 3, kernel_regularizer="l2", name="stem")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(6, 3, activation="relu", kernel_regularizer="l2", name="middle")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.4, seed=3)(layers.Flatten()(x))
    x = layers.Dense(8, activation="relu", name="hidden")(x)
    return keras.Model(inputs, layers.Dense(CLASSES, name="logits")(x))


def compile_model(model, **options):
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    return model


def components(model):
    """Every value of every variable, each replica's by itself."""
    values = []
    for variable in [*model.variables, *model.optimizer.variables]:
        parts = getattr(variable, "values", None)
        for part in parts if isinstance(parts, (tuple, list)) else [variable]:
            values.append(part.numpy())
    return values


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


class Sandboxed(keras.callbacks.Callback):
    """Prunes, retrains and evaluates in a sandbox after every epoch."""

    def __init__(self, data):
        super().__init__()
        self.data, self.left = data, []

    def on_epoch_end(self, epoch, logs=None):
        adapter = pruned(self.model)
        before = components(self.model)
        with adapter.sandbox():
            adapter.set_masks(global_masks(adapter.weights(), 0.7))
            adapter.set_learning_rate(0.01)
            assert adapter.train(self.data, 3) == 3
            adapter.evaluate(self.data)
            assert any((a != b).any() for a, b in zip(before, components(self.model), strict=True))
            assert adapter.violations() == 0
        assert_equal(before, components(self.model))


def trained(sandboxed, strategy, **options):
    with strategy.scope():
        model = compile_model(wrap_for_pruning(build()), **options)
    pruned(model).prepare()
    tf.random.set_seed(9)
    data = tf.data.Dataset.from_tensor_slices(examples()).shuffle(32).batch(8)
    probe_data = tf.data.Dataset.from_tensor_slices(examples()).batch(8)
    callbacks = [Sandboxed(probe_data)] if sandboxed else []
    history = model.fit(data, validation_data=probe_data, epochs=2, verbose=0, callbacks=callbacks)
    return model, history.history


def same_training_with_and_without_sandbox(strategy, **options):
    plain, plain_history = trained(False, strategy, **options)
    probed, probed_history = trained(True, strategy, **options)
    assert_equal(components(plain), components(probed))
    assert plain_history == probed_history
    assert len(set(plain_history["loss"])) == 2
    return probed


def check_sandbox_leaves_no_trace_on_one_device():
    same_training_with_and_without_sandbox(tf.distribute.get_strategy())


def check_sandbox_leaves_no_trace_with_several_steps_per_execution():
    same_training_with_and_without_sandbox(tf.distribute.get_strategy(), steps_per_execution=2)


def two_replicas():
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def check_sandbox_leaves_no_trace_on_two_replicas():
    model = same_training_with_and_without_sandbox(two_replicas())
    moving = [v for v in model.variables if "moving_mean" in v.name]
    first, second = (part.numpy() for part in moving[0].values)
    assert (first != second).any(), "the replicas' statistics were expected to differ"


def check_two_replicas_stay_sparse_and_equal_and_can_be_averaged():
    with two_replicas().scope():
        plain = build()
        model = compile_model(wrap_for_pruning(plain))
    np.testing.assert_array_equal(plain(examples()[0]), model(examples()[0]))
    adapter = pruned(model)
    adapter.prepare()
    data = tf.data.Dataset.from_tensor_slices(examples()).batch(8)
    model.fit(data, verbose=0)
    masks = global_masks(adapter.weights(), 0.7)
    adapter.set_masks(masks)
    adapter.begin_schedule(4, ramp_steps=6, frequency=2)
    model.fit(data, verbose=0)
    kernels = {"middle/kernel": "middle", "hidden/kernel": "hidden"}
    for name, layer in kernels.items():
        kernel = model.get_layer(f"masked_prune_low_magnitude_{layer}").layer.kernel
        one, other = (part.numpy() for part in kernel.values)
        np.testing.assert_array_equal(one, other)
        assert not one[~masks[name]].any()
        assert one[masks[name]].all()
    assert adapter.violations() == 0
    assert adapter.sparsity_schedule().end_step == 10
    moving = [v for v in model.variables if "moving_" in v.name]
    means = [np.mean([part.numpy() for part in v.values], axis=0) for v in moving]
    adapter.synchronize_replicas()
    for variable, mean in zip(moving, means, strict=True):
        for part in variable.values:
            np.testing.assert_allclose(part.numpy(), mean, rtol=1e-6)
    weights = {name: weight * 0 + 1 for name, weight in adapter.all_weights().items()}
    adapter.set_all_weights(weights)
    assert adapter.violations() == 0


def check_gradients_on_two_replicas_are_those_of_one_device():
    found, layers = [], keras.layers
    for strategy in (tf.distribute.get_strategy(), two_replicas()):
        keras.utils.set_random_seed(5)
        with strategy.scope():
            ends = layers.Flatten(input_shape=(8, 8, 3)), layers.Dense(CLASSES, name="logits")
            hidden = layers.Dense(6, kernel_regularizer="l2", name="hidden")
            plain = keras.Sequential([ends[0], hidden, layers.BatchNormalization(), ends[1]])
            model = compile_model(wrap_for_pruning(plain))
        adapter = pruned(model)
        adapter.prepare()
        adapter.score_data = lambda: tf.data.Dataset.from_tensor_slices(examples()).batch(8)
        before = components(model)
        found.append(adapter.score_context().gradients(2)["hidden/kernel"])
        assert_equal(before, components(model))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def check_all_kept_equals_the_unwrapped_model_bit_for_bit():
    results = []
    for wrapped in (False, True):
        # Older random operations draw the same numbers in both.
        keras.backend.experimental.enable_tf_random_generator()
        model = build()
        if wrapped:
            model = wrap_for_pruning(model)
        compile_model(model)
        for layer in model._flatten_layers():
            generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
            if generator is not None:
                generator.reset_from_seed(7)
        losses = model.fit(*examples(), batch_size=8, epochs=2, shuffle=False, verbose=0)
        weights = [v.numpy() for v in model.trainable_variables]
        results.append((losses.history, weights))
    (plain_losses, plain), (wrapped_losses, wrapped) = results
    assert plain_losses == wrapped_losses
    assert_equal(plain, wrapped)


def main():
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    outcome = {}
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                outcome[name] = ""
            except Exception:
                outcome[name] = traceback.format_exc()
    print("\n" + json.dumps(outcome))


if __name__ == "__main__":
    sys.exit(main())
