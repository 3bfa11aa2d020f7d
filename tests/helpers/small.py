"""Small models and data that the tests of the callbacks share."""

import numpy as np
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.detectors.base import Decision
from tf_earlyticket.pruning.masks import kept_count

PRUNABLE = 8 * 4 * 9 + 8 * 8 * 9


def plain_model(seed=1):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="stem"),
            layers.Conv2D(8, 3, strides=2, use_bias=False, name="middle"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="last_conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="classifier"),
        ]
    )


def wrapped_model(schedule=None, *, seed=1, optimizer=None, **compile_options):
    """Returns a compiled model with `PRUNABLE` prunable weights."""
    model = et.wrap_for_pruning(plain_model(seed), schedule or et.EarlyTicketPolynomialDecay(0.75))
    model.compile(
        optimizer or keras.optimizers.SGD(0.05, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **compile_options,
    )
    return model


def data(steps=5, batch=8, seed=0, known=True):
    """Returns batches whose class can be seen: it is in the brightness of the image."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, steps * batch).astype(np.int32)
    images = generator.normal(size=(steps * batch, 8, 8, 1)) + labels[:, None, None, None]
    dataset = tf.data.Dataset.from_tensor_slices((images.astype(np.float32), labels)).batch(batch)
    if not known:
        dataset = dataset.filter(lambda image, label: True)
    return dataset


def masks(model):
    """Returns {weight name: bool array} of a wrapped model, read without the adapter."""
    return {
        layer.layer.name: layer.pruning_vars[0][1].numpy().astype(bool)
        for layer in model.layers
        if hasattr(layer, "pruning_vars")
    }


def zeros(model):
    """Returns how many prunable weights are exactly zero."""
    kernels = [layer.layer.kernel.numpy() for layer in model.layers if hasattr(layer, "layer")]
    return sum(int((kernel == 0).sum()) for kernel in kernels)


def pruned(sparsity=0.75):
    """Returns how many of the 864 weights are pruned at a sparsity: N - round((1 - p) N)."""
    return PRUNABLE - kept_count(PRUNABLE, sparsity)


class StartAt:
    """A detector that decides at a given epoch, and remembers what it was shown."""

    name = "start_at"

    def __init__(self, epoch=None):
        self.epoch = epoch
        self.seen = []

    def wants_probe(self, epoch, signals):
        return True

    def update(self, epoch, observation):
        self.seen.append(epoch)
        return Decision(epoch == self.epoch, f"looked at epoch {epoch}")

    def reset(self):
        self.seen = []


class Collect(keras.callbacks.Callback):
    """Calls a function after every batch and keeps its results by step."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.values = {}

    def on_train_batch_end(self, batch, logs=None):
        self.values[int(self.model.optimizer.iterations)] = self.function(self.model)


class Interrupt(keras.callbacks.Callback):
    """Raises at the end of an epoch, or within it."""

    def __init__(self, epoch, batch=None):
        super().__init__()
        self.at = epoch, batch
        self.now = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == self.at:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        if self.at == (epoch + 1, None):
            raise KeyboardInterrupt
