"""Memorization capacity: how well a sparse network learns random labels (paper Fig. 5)."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of, pruned, strip_pruning, wrap_for_pruning
from tf_earlyticket.data.in_memory import InMemoryData
from tf_earlyticket.data.streams import normalize
from tf_earlyticket.job.phases import Run
from tf_earlyticket.paper.tickets import put


def random_labels(examples: int, num_classes: int, seed: int) -> np.ndarray:
    """Returns int32 labels [examples], uniform; example i has the same label for every count."""
    return np.random.default_rng(seed).integers(num_classes, size=examples).astype(np.int32)


def memorization_capacity(
    model,
    images: np.ndarray,
    *,
    num_classes: int,
    epochs: int = 100,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> float:
    """Trains a copy of the network on randomly labelled images; returns its training accuracy.

    The labels are fixed per example and seed, and nothing is augmented (Boo et al., 2019; paper
    section 3.3). The copy starts from the model's weights and keeps its masks. It is trained by
    SGD with momentum 0.9, the learning rate divided by 10 after 60 % and 80 % of the epochs.

    Args:
        model: A model returned by `wrap_for_pruning`, with logits [batch, num_classes] as output.
            It is not changed.
        images: Float array [examples, ...] as the model takes it.
        num_classes: Labels are drawn from 0 to num_classes - 1.
        epochs: Passes over the images.
        batch_size: Images per step, at most as many as there are; the rest of an epoch that
            fills no batch is dropped, another rest each epoch.
        learning_rate: At the start.
        seed: Of labels and order.

    Returns:
        The fraction of `images` whose random label the trained copy predicts.

    Raises:
        InputError: If the model is not wrapped or a number is out of range.

    Example:
        >>> et.memorization_capacity(model, train_images[:5000], num_classes=10)
    """
    masks = pruned(model).masks()
    examples = checks.integer("len(images)", len(images), 1)
    checks.integer("num_classes", num_classes, 2)
    checks.integer("epochs", epochs, 1)
    checks.integer("batch_size", batch_size, 1, examples)
    # Kernel names are "layer/kernel": the layers with a mask are the ones to wrap again.
    prunable = list(dict.fromkeys(name.rsplit("/", 1)[0] for name in masks))
    copy = wrap_for_pruning(strip_pruning(model), prunable=prunable)
    backend = backend_of(model)
    copy.compile(
        backend.optimizer("SGD", learning_rate, momentum=0.9),
        backend.classification_loss(),
        metrics=["accuracy"],
        jit_compile=backend.always_compiled,
    )
    network = pruned(copy)
    network.prepare()
    network.set_masks(masks)
    labels = random_labels(examples, num_classes, seed)
    return _memorize(network, images, labels, epochs, batch_size, learning_rate, seed)[0]


def recorded_capacity(
    run: Run,
    weights: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    examples: int,
    epochs: int,
) -> dict:
    """Measures the capacity of weights under masks, in a run whose dense run is recorded.

    As `memorization_capacity`, with the run's compiled model, batch size, learning rate and
    weight decay, on its first training images; its seed is that of labels and order.

    Returns:
        "capacity" (fraction) and "epochs" (in passes over the whole training set).

    Raises:
        InputError: If the data set is not held in memory.
    """
    if not isinstance(run.data, InMemoryData):
        expected = "a data set in memory, such as cifar10, for random labels"
        raise checks.refuse("data.name", run.data.spec.name, expected)
    train, seed = run.config.train, run.config.seed
    images = normalize(run.data.arrays("train").images[:examples], run.data.spec.name)
    labels = random_labels(examples, run.data.spec.num_classes, seed)
    put(run, weights, masks)
    capacity, steps = _memorize(
        pruned(run.model), images, labels, epochs, train.batch_size, train.learning_rate, seed
    )
    return {"capacity": capacity, "epochs": steps / run.steps_per_epoch}


def _memorize(
    network, images, labels, epochs, batch_size, learning_rate, seed
) -> tuple[float, int]:
    """Trains the network's compiled model, undoes that, returns training accuracy and steps."""
    with tf.device("CPU:0"):
        images, labels = tf.constant(images), tf.constant(labels)

    def load(index: tf.Tensor):
        return tf.gather(images, index), tf.gather(labels, index)

    steps = 0
    with network.sandbox():
        for epoch in range(epochs):
            order = np.random.default_rng([seed, epoch]).permutation(len(labels))
            batches = tf.data.Dataset.from_tensor_slices(order)
            batches = batches.batch(batch_size, drop_remainder=True).map(load)
            drops = (epoch >= 0.6 * epochs) + (epoch >= 0.8 * epochs)
            network.set_learning_rate(learning_rate * 0.1**drops)
            steps += network.train(batches, len(labels) // batch_size)
        ordered = tf.data.Dataset.range(len(labels)).batch(batch_size).map(load)
        return network.evaluate(ordered)["accuracy"], steps
