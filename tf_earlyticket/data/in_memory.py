"""Data sets small enough to be held in memory as uint8 arrays; among them scikit-learn's digits."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_earlyticket.data.catalog import DatasetSpec
from tf_earlyticket.data.numbered import NumberedData
from tf_earlyticket.errors import InputError

# Part of the data set's definition; unrelated to the seed of a run.
_DIGITS_SPLIT_SEED = 2023


class Split(NamedTuple):
    """Examples in a fixed order.

    `images`: uint8 [n, height, width, channels]; `labels`: int32 [n].
    """

    images: np.ndarray | tf.Tensor
    labels: np.ndarray | tf.Tensor


class InMemoryData(NumberedData):
    """Arrays in memory: one gather per batch."""

    def __init__(self, spec: DatasetSpec, *, train: Split, validation: Split, test: Split) -> None:
        """Copies the arrays into host memory.

        Args:
            spec: The specification; its counts must be those of the arrays.
            train: Training examples.
            validation: Held-out examples, disjoint from `train`.
            test: Test examples.

        Raises:
            InputError: If images have another shape or type than `spec` says, there are not as
                many labels, or a label is no class.
        """
        splits = {"train": train, "validation": validation, "test": test}
        for name, split in splits.items():
            _check_split(spec, name, split)
        super().__init__(spec, {name: np.asarray(split.labels) for name, split in splits.items()})
        # As the labels.
        with tf.device("CPU:0"):
            self._pictures = {
                name: tf.convert_to_tensor(split.images, tf.uint8) for name, split in splits.items()
            }

    def arrays(self, split: str) -> Split:
        """Returns NumPy arrays of "train", "validation" or "test", without augmentation."""
        return Split(self._pictures[split].numpy(), self._labels[split].numpy())

    def _images(self, split: str, index: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._pictures[split], index)


def in_memory(spec: DatasetSpec, found: Mapping[str, tuple]) -> InMemoryData:
    """Returns the arrays that a registered `load` gave as data.

    Raises:
        InputError: If they are not what was announced.
    """
    try:
        train, test = (Split(*map(np.asarray, found[part])) for part in ("train", "test"))
    except (TypeError, KeyError) as error:
        raise InputError(
            f"data.name={spec.name!r}: its load() must return "
            '{"train": (images, labels), "test": (images, labels)}, '
            f"got: {type(error).__name__}: {error}."
        ) from None
    rest = len(train.labels) - spec.validation_examples
    if rest < spec.train_examples or len(test.labels) != spec.test_examples:
        raise InputError(
            f"data.name={spec.name!r}: its load() returns {len(train.labels)} training and "
            f"{len(test.labels)} test examples; expected as many as were registered."
        )
    return InMemoryData(
        spec,
        train=Split(*(part[: spec.train_examples] for part in train)),
        validation=Split(*(part[rest:] for part in train)),
        test=test,
    )


def _check_split(spec: DatasetSpec, name: str, split: Split) -> None:
    images, labels = np.asarray(split.images), np.asarray(split.labels)
    if images.shape[1:] != spec.image_shape or images.dtype != np.uint8:
        raise InputError(
            f"data.name={spec.name!r}: its {name} images are {images.dtype} of shape "
            f"{images.shape[1:]}; expected uint8 of {spec.image_shape}."
        )
    if labels.shape != images.shape[:1]:
        raise InputError(
            f"data.name={spec.name!r}: it has {len(images)} {name} images and labels of shape "
            f"{labels.shape}; expected one each."
        )


def load_digits(spec: DatasetSpec, *_: object) -> dict[str, Split]:
    """Returns the 1,797 digits of 8x8 pixels that scikit-learn carries, enlarged bilinearly.

    The split is stratified and the same for every run: the first 500 are the test set.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    with tf.device("CPU:0"):
        enlarged = tf.image.resize(
            digits.images[..., None], spec.image_shape[:2], method="bilinear"
        )
    # Original pixels are 0..16.
    images = np.rint(enlarged.numpy() * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int32)
    order = stratified_order(labels)
    test, train = order[:500], order[500:]
    return {"train": Split(images[train], labels[train]), "test": Split(images[test], labels[test])}


def stratified_order(labels: np.ndarray) -> np.ndarray:
    """Returns a fixed random order in which every stretch has all classes in proportion.

    Args:
        labels: int [n].

    Returns:
        A permutation of 0..n-1, int64 [n].
    """
    # RandomState's sequence is frozen by NumPy's policy, unlike Generator's.
    order = np.random.RandomState(_DIGITS_SPLIT_SEED).permutation(len(labels))
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels[order] == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return order[np.argsort(position, kind="stable")]
