"""Data sets small enough to be held in memory as uint8 arrays; among them scikit-learn's digits."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_earlyticket.data.catalog import DATASETS, DatasetSpec
from tf_earlyticket.data.streams import (
    CORES,
    Data,
    Stream,
    fold_in,
    normalize,
    random_key,
    shuffled,
)
from tf_earlyticket.errors import InputError

_BATCHES_AT_ONCE = 4
# Part of the data set's definition; unrelated to the seed of a run.
_DIGITS_SPLIT_SEED = 2023


class Split(NamedTuple):
    """Examples in a fixed order.

    `images`: uint8 [n, height, width, channels]; `labels`: int32 [n].
    """

    images: np.ndarray | tf.Tensor
    labels: np.ndarray | tf.Tensor


def random_crop_flip(images: tf.Tensor, key: tf.Tensor, *, pad: int, flip: bool) -> tf.Tensor:
    """Pads with black, crops back to the same size at a random place, flips at random.

    The place and the flip are drawn for each image.

    Args:
        images: uint8 [batch, height, width, channels], static but for the batch.
        key: integer key of shape [2].
        pad: pixels added on each side.
        flip: whether to mirror half of the images left to right.

    Returns:
        uint8, the shape of `images`.
    """
    _, height, width, channels = images.shape
    batch = tf.shape(images)[0]
    places = 2 * pad + 1
    draws = tf.random.stateless_uniform([batch, 3], key, alg="philox")
    top, left, mirrored = tf.unstack(tf.cast(draws * [places, places, 2], tf.int32), axis=1)
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])

    rows = tf.range(height) + top[:, None]
    columns = tf.range(width)[None]
    if flip:
        columns = tf.where(mirrored[:, None] == 1, width - 1 - columns, columns)
    columns = columns + left[:, None]
    # One gather of whole pixels for the batch: 10 times as fast as slicing image by image.
    lines = tf.range(batch)[:, None] * (height + 2 * pad) + rows
    pixels = lines[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    return tf.gather(tf.reshape(padded, [-1, channels]), pixels)


class InMemoryData(Data):
    """Arrays in memory: an epoch is a permutation of indices and one gather per batch."""

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
        super().__init__(spec)
        self._splits = {}
        for name, split in (("train", train), ("validation", validation), ("test", test)):
            _check_split(spec, name, split)
            # On an accelerator the arrays would be copied back for every new stream.
            with tf.device("CPU:0"):
                self._splits[name] = Split(
                    tf.convert_to_tensor(split.images, tf.uint8),
                    tf.convert_to_tensor(split.labels, tf.int32),
                )

    def arrays(self, split: str) -> Split:
        """Returns NumPy arrays of "train", "validation" or "test", without augmentation."""
        images, labels = self._splits[split]
        return Split(images.numpy(), labels.numpy())

    def _batches(
        self, epochs: tf.data.Dataset, stream: Stream, batch_size: int, seed: int, fraction: float
    ) -> tf.data.Dataset:
        usual, spec = DATASETS.get(self.spec.name), self.spec
        pad = usual.pad if spec.pad is None else spec.pad
        flip = usual.flip if spec.flip is None else spec.flip
        images, labels = self._splits["train"]
        examples = tf.range(self.spec.train_examples)
        if fraction < 1.0:
            subset_key = random_key(seed, 0, Stream.PROBE_SUBSET)
            examples = shuffled(examples, subset_key)[: self._part(fraction)]
        steps = len(examples) // batch_size

        def indices(epoch: tf.Tensor) -> tf.data.Dataset:
            key = random_key(seed, epoch, stream)
            order = shuffled(examples, fold_in(key, 0))[: steps * batch_size]
            keys = tf.random.split(fold_in(key, 1), steps, alg="philox")
            return tf.data.Dataset.from_tensor_slices(
                (tf.reshape(order, [steps, batch_size]), keys)
            )

        def load(index: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batch = random_crop_flip(tf.gather(images, index), key, pad=pad, flip=flip)
            return normalize(batch, self.spec.name), tf.gather(labels, index)

        # Outside flat_map, so that the next epoch's first batches are made early.
        return epochs.flat_map(indices).map(load, num_parallel_calls=min(CORES, _BATCHES_AT_ONCE))

    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        images, labels = self._splits[split]

        def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return normalize(tf.gather(images, index), self.spec.name), tf.gather(labels, index)

        indices = tf.data.Dataset.range(len(labels)).batch(batch_size)
        return indices.map(load, num_parallel_calls=min(CORES, _BATCHES_AT_ONCE))


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
    if labels.size and (labels.min() < 0 or labels.max() >= spec.num_classes):
        raise InputError(
            f"data.name={spec.name!r}: its {name} labels are from {labels.min()} to "
            f"{labels.max()}; expected 0 to {spec.num_classes - 1}."
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
