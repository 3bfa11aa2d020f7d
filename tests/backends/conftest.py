"""Small models and data for the adapter's tests; nothing global survives a test."""

import random

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow.python.eager import context as tf_context

from tf_earlyticket.backends import pruned, wrap_for_pruning
from tf_earlyticket.pruning.select import global_masks


@pytest.fixture(autouse=True)
def restored_global_state():
    """Seeds everything; puts seeds, policy and Keras' random generators back afterwards."""
    context = tf_context.context()
    saved = {name: vars(context)[name] for name in ("_seed", "_rng") if name in vars(context)}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    policy = keras.mixed_precision.global_policy()
    random.seed(0)
    np.random.seed(0)
    tf.random.set_seed(0)
    yield
    vars(context).pop("_rng", None)
    vars(context).update(saved)
    random.setstate(python_state)
    np.random.set_state(numpy_state)
    keras.mixed_precision.set_global_policy(policy)


@pytest.fixture
def images():
    """16 images of 8 x 8 x 3 and labels of 4 classes."""
    generator = np.random.default_rng(0)
    return (
        generator.normal(size=(16, 8, 8, 3)).astype("float32"),
        generator.integers(0, 4, size=16),
    )


@pytest.fixture
def make_cnn():
    """A functional CNN: conv1 (first), conv2 and dense1 (prunable), logits (last)."""

    def make(**layer_options):
        layers = keras.layers
        inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, activation="relu", name="conv1")(inputs)
        x = layers.Conv2D(6, 3, activation="relu", name="conv2", **layer_options)(x)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        x = layers.Dropout(0.3, name="drop")(x)
        x = layers.Dense(8, activation="relu", name="dense1", **layer_options)(x)
        return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="cnn")

    return make


@pytest.fixture
def compiled():
    """Compiles a wrapped model (default SGD with momentum) and returns its prepared adapter."""

    def compile_model(model, optimizer=None, *, prepare=True, metrics=("accuracy",), **options):
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9) if optimizer is None else optimizer
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=list(metrics), **options)
        adapter = pruned(model)
        if prepare:
            adapter.prepare()
        return adapter

    return compile_model


@pytest.fixture
def prune():
    """Sets global magnitude masks through an adapter and returns them."""

    def set_masks(adapter, sparsity=0.7):
        masks = global_masks(adapter.weights(), sparsity)
        adapter.set_masks(masks)
        return masks

    return set_masks


@pytest.fixture
def pruned_model(make_cnn, compiled, prune, images):
    """A wrapped CNN after two training steps, a mask update and one more step."""
    model = wrap_for_pruning(make_cnn())
    adapter = compiled(model)
    for step in range(3):
        if step == 2:
            prune(adapter)
        # Eagerly: tracing the step takes ten times as long.
        with tf.GradientTape() as tape:
            loss = model.loss(images[1], model(images[0], training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return model


class SparsityAtEveryStep(keras.callbacks.Callback):
    """Sets masks after the second call of the training step, then counts violations at each."""

    def __init__(self, adapter, set_masks):
        super().__init__()
        self.adapter, self.set_masks = adapter, set_masks
        self.violations: list[int] = []
        self.moved: list[bool] = []

    def on_train_begin(self, logs=None):
        self.calls = 0

    def on_train_batch_end(self, batch, logs=None):
        self.calls += 1
        if self.calls == 2:
            self.masks = self.set_masks(self.adapter)
            self.last = self.adapter.weights()
        elif self.calls > 2:
            weights = self.adapter.weights()
            # Counted here, not by the adapter, which is under test.
            self.violations.append(
                sum(np.count_nonzero(weights[n][~m]) for n, m in self.masks.items())
            )
            self.moved.append(any((weights[n] != self.last[n]).any() for n in weights))
            self.last = weights


@pytest.fixture
def train_sparse(prune):
    """Trains an adapter's model with masks set in the middle; asserts exact sparsity throughout."""

    def train(adapter, x, y, *, batch_size=2, epochs=1):
        watch = SparsityAtEveryStep(adapter, prune)
        adapter.model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0, callbacks=[watch])
        assert watch.violations and not any(watch.violations)
        assert all(watch.moved), "the kept weights did not train"
        weights = adapter.weights()
        assert all(np.isfinite(weight).all() for weight in weights.values())
        # Keras writes weights once more at the end of fit under use_ema.
        assert not any(np.count_nonzero(weights[n][~mask]) for n, mask in watch.masks.items())
        assert sum(mask.size - mask.sum() for mask in watch.masks.values()) > 0
        return watch

    return train
