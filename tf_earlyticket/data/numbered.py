"""Data sets whose examples have numbers, so that an epoch is a permutation of them.

Their pictures are held in memory (`in_memory`) or, where they are too many, read from files.
"""

import abc
import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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


class NumberedData(Data):
    """Examples by their numbers: an epoch is a permutation of these."""

    def __init__(self, spec: DatasetSpec, labels: Mapping[str, np.ndarray]) -> None:
        """Keeps the labels of "train", "validation" and "test", int [n] each.

        Raises:
            InputError: If a label is no class.
        """
        super().__init__(spec)
        self._labels = {}
        for name, values in labels.items():
            if len(values) and not 0 <= np.min(values) <= np.max(values) < spec.num_classes:
                raise InputError(
                    f"data.name={spec.name!r}: its {name} labels are from {np.min(values)} to "
                    f"{np.max(values)}; expected 0 to {spec.num_classes - 1}."
                )
            # On an accelerator arrays would be copied back for every new stream.
            with tf.device("CPU:0"):
                self._labels[name] = tf.convert_to_tensor(values, tf.int32)

    @abc.abstractmethod
    def _images(self, split: str, index: tf.Tensor) -> tf.Tensor:
        """Returns pictures of a split by number, uint8 [batch, height, width, channels]."""

    def _batches(
        self, epochs: tf.data.Dataset, stream: Stream, batch_size: int, seed: int, fraction: float
    ) -> tf.data.Dataset:
        usual, spec = DATASETS.get(self.spec.name), self.spec
        pad = usual.pad if spec.pad is None else spec.pad
        flip = usual.flip if spec.flip is None else spec.flip
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
            batch = random_crop_flip(self._images("train", index), key, pad=pad, flip=flip)
            return normalize(batch, self.spec.name), tf.gather(self._labels["train"], index)

        # Outside flat_map, so that the next epoch's first batches are made early.
        return epochs.flat_map(indices).map(load, num_parallel_calls=min(CORES, _BATCHES_AT_ONCE))

    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        labels = self._labels[split]

        def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            batch = normalize(self._images(split, index), self.spec.name)
            return batch, tf.gather(labels, index)

        indices = tf.data.Dataset.range(len(labels)).batch(batch_size)
        return indices.map(load, num_parallel_calls=min(CORES, _BATCHES_AT_ONCE))


class FileData(NumberedData):
    """Pictures that are read from their files whenever they are used: of a set beyond memory."""

    def __init__(
        self,
        spec: DatasetSpec,
        parts: Mapping[str, tuple[Sequence[Any], np.ndarray]],
        read: Callable[[Any], np.ndarray],
    ) -> None:
        """Keeps where pictures are.

        Args:
            spec: The specification.
            parts: Places and labels of "train", "validation" and "test".
            read: Returns the picture of a place, uint8 [height, width, channels], or raises an
                `InputError`; called in several threads.

        Raises:
            InputError: If a label is no class.
        """
        super().__init__(spec, {name: labels for name, (_, labels) in parts.items()})
        self._places = {name: places for name, (places, _) in parts.items()}
        self._read = read
        self._threads = concurrent.futures.ThreadPoolExecutor(CORES)

    def _images(self, split: str, index: tf.Tensor) -> tf.Tensor:
        places = self._places[split]

        def load(numbers: np.ndarray) -> np.ndarray:
            try:
                return np.stack(list(self._threads.map(self._read, [places[n] for n in numbers])))
            except InputError as error:
                self.fault = str(error)
                raise

        # Not stateful: batches may be made side by side also in a run that repeats bit for bit.
        images = tf.numpy_function(load, [index], tf.uint8, stateful=False)
        return tf.ensure_shape(images, [index.shape[0], *self.spec.image_shape])
