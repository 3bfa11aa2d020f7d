"""The handwritten digits that scikit-learn carries: real data without any download."""

import numpy as np
import tensorflow as tf
from sklearn import datasets

from tf_earlyticket.data.catalog import DatasetSpec
from tf_earlyticket.data.in_memory import InMemoryData, Split

# Part of the data set's definition; unrelated to the seed of a run.
_SPLIT_SEED = 2023


def load_digits(spec: DatasetSpec) -> InMemoryData:
    """Returns the 1,797 digits of 8x8 pixels, enlarged bilinearly.

    The split is stratified and the same for every run: the first part is the
    test set, the last `spec.validation_examples` are held out, and the training
    set is the first `spec.train_examples` in between.
    """
    digits = datasets.load_digits()
    size = spec.image_shape[0]
    with tf.device("CPU:0"):
        enlarged = tf.image.resize(digits.images[..., None], [size, size], method="bilinear")
    # Original pixels are 0..16.
    images = np.rint(enlarged.numpy() * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int32)

    order = stratified_order(labels)

    def split(start: int, count: int) -> Split:
        chosen = order[start : start + count]
        return Split(images[chosen], labels[chosen])

    return InMemoryData(
        spec,
        train=split(spec.test_examples, spec.train_examples),
        validation=split(len(order) - spec.validation_examples, spec.validation_examples),
        test=split(0, spec.test_examples),
        pad=2,
        flip=False,  # A mirrored digit is another shape.
    )


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Returns a fixed random order in which every stretch has all classes in proportion.

    Args:
        labels: int [n].

    Returns:
        A permutation of 0..n-1, int64 [n].
    """
    # RandomState's sequence is frozen by NumPy's policy, unlike Generator's.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(labels))
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position, kind="stable")]
