"""Memorization capacity: how well a sparse network learns random labels (paper Fig. 5)."""

import numpy as np
import tensorflow as tf

from tf_earlyticket.adapters.select import adapter_for
from tf_earlyticket.adapters.wrap import strip_pruning, wrap_for_pruning
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.errors import InputError
from tf_earlyticket.keras_compat import keras


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
        batch_size: Images per step, at most as many as there are.
        learning_rate: At the start.
        seed: Of labels and order.

    Returns:
        The fraction of `images` whose random label the trained copy predicts.

    Raises:
        InputError: If the model is not wrapped or a number is out of range.

    Example:
        >>> et.memorization_capacity(model, train_images[:5000], num_classes=10)
    """
    adapter = adapter_for(model)
    for name, value, least in (
        ("len(images)", len(images), 1),
        ("num_classes", num_classes, 2),
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
    ):
        if value < least:
            raise InputError(f"{name}={value}: expected at least {least}.")
    labels = random_labels(len(images), num_classes, seed)
    masks = adapter.masks()
    # Kernel names are "layer/kernel": the layers with a mask are the ones to wrap again.
    prunable = list(dict.fromkeys(name.rsplit("/", 1)[0] for name in masks))
    copy = wrap_for_pruning(strip_pruning(model), prunable=prunable)
    steps = -(-len(images) // batch_size) * epochs
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [int(0.6 * steps), int(0.8 * steps)],
        [learning_rate, 0.1 * learning_rate, 0.01 * learning_rate],
    )
    copy.compile(
        keras.optimizers.SGD(schedule, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    adapter_for(copy).set_masks(masks)
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    train = data.shuffle(len(images), seed=seed).batch(batch_size)
    copy.fit(train, epochs=epochs, callbacks=[MaskUpdate()], verbose=0)
    return copy.evaluate(data.batch(batch_size), verbose=0, return_dict=True)["accuracy"]
