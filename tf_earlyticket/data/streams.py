"""The interface of loaded data, and what all sets share: random keys, epochs, normalisation.

The order and the augmentation of an epoch are a pure function of
(seed, epoch): all randomness is stateless and keyed, so a run that restarts at
epoch 7 sees what the uninterrupted run saw, without replaying epochs 1 to 6.
"""

import abc
import enum
import os

import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.data.catalog import DATASETS, DatasetSpec

_LAST_SEED = 2**63 - 1
_FOREVER = 2**62  # epochs; Dataset.range counts in int64
CORES = os.cpu_count() or 1
_BATCHES_AHEAD = 2


class Stream(enum.IntEnum):
    """What a random key is for; equal (seed, epoch) of two purposes stay unrelated."""

    TRAIN = 0
    PROBE = 1
    PROBE_SUBSET = 2


def random_key(seed: int, epoch: int | tf.Tensor, stream: Stream) -> tf.Tensor:
    """Returns the int64 key of shape [2] for one epoch of one stream."""
    pair = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return fold_in(pair, int(stream))


def fold_in(key: tf.Tensor, number: int | tf.Tensor) -> tf.Tensor:
    """Returns a new int64 key of shape [2] derived from `key` and an integer."""
    # Philox by name: the automatic choice differs between kinds of device.
    return tf.random.fold_in(key, tf.cast(number, tf.int64), alg="philox")


def shuffled(values: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Returns `values` permuted along the first axis, as a function of `key` only."""
    # On one kind of device only, because equal sort keys may be ordered differently on another.
    with tf.device("CPU:0"):
        return tf.random.experimental.stateless_shuffle(values, seed=key, alg="philox")


def normalize(images: tf.Tensor, name: str) -> tf.Tensor:
    """Returns (image - mean) / standard deviation, with the pixels' constants of a data set.

    Args:
        images: numbers in 0..255, [..., height, width, channels], static but for
            the leading axes.
        name: of a registered data set.

    Returns:
        float32, the shape of `images`.
    """
    entry = DATASETS.get(name)
    mean = tf.constant(entry.mean, tf.float32)
    deviation = tf.constant(entry.deviation, tf.float32)
    # Constants of a whole image: broadcasting along an innermost axis of 3 is slow on CPU.
    shape = images.shape[-3:]
    scale = tf.broadcast_to(1.0 / deviation, shape)
    offset = tf.broadcast_to(-mean / deviation, shape)
    return tf.cast(images, tf.float32) * scale + offset


class Data(abc.ABC):
    """A loaded data set.

    Every stream yields (image, label): float32 [batch, height, width, channels],
    normalised per channel, and int32 [batch].

    Attributes:
        spec: what is in it (`DatasetSpec`), as counted in the files.
        deterministic: whether the order of examples depends on seed and epoch only; if not, what
            is ready first comes first.
        fault: why a stream ended with an error of TensorFlow, where the data know it.
    """

    fault = ""

    def __init__(self, spec: DatasetSpec, deterministic: bool = True) -> None:
        """Keeps the specification and whether order matters."""
        self.spec = spec
        self.deterministic = deterministic

    @property
    def classes(self) -> list[str]:
        """The names of the labels, in their order; their numbers where they have none."""
        return list(DATASETS.get(self.spec.name).classes or map(str, range(self.spec.num_classes)))

    def steps_per_epoch(self, batch_size: int) -> int:
        """Returns the whole batches in an epoch, floor(train_examples / batch_size).

        Raises:
            InputError: if `batch_size` is not between 1 and the training examples.
        """
        examples = self.spec.train_examples
        return examples // checks.integer("batch_size", batch_size, 1, examples)

    def train(
        self, batch_size: int, *, seed: int, first_epoch: int = 1, last_epoch: int | None = None
    ) -> tf.data.Dataset:
        """Streams shuffled, augmented training batches of consecutive epochs.

        Args:
            batch_size: examples per batch; the rest of an epoch that fills no
                batch is dropped (another rest each epoch).
            seed: an integer from 0 to 2**63 - 1.
            first_epoch: the epoch to begin with, counted from 1.
            last_epoch: the last epoch, inclusive; None: endless.

        Returns:
            A data set with static batch size and `steps_per_epoch` batches per epoch.

        Raises:
            InputError: for an argument out of range.
        """
        steps = self.steps_per_epoch(batch_size)
        checks.integer("first_epoch", first_epoch, 1)
        length = tf.data.INFINITE_CARDINALITY
        if last_epoch is not None:
            checks.integer("last_epoch", last_epoch, first_epoch)
            length = steps * (last_epoch - first_epoch + 1)
        epochs = tf.data.Dataset.range(first_epoch, (last_epoch or _FOREVER) + 1)
        seed = checks.integer("seed", seed, 0, _LAST_SEED)
        return self._finished(self._batches(epochs, Stream.TRAIN, batch_size, seed, 1.0), length)

    def probe(
        self, batch_size: int, *, seed: int, epoch: int = 0, fraction: float = 1.0
    ) -> tf.data.Dataset:
        """Streams one pass over a fixed random part of the training set.

        Which examples take part depends on `seed` and `fraction` only; their order
        and augmentation also on `epoch`. Iterating again gives the same batches.

        Args:
            batch_size: examples per batch; an incomplete last batch is dropped.
            seed: an integer from 0 to 2**63 - 1.
            epoch: the epoch of the dense run at which the probe is made, from 0 on.
            fraction: part of the training set, in (0, 1].

        Returns:
            A finite data set with the element spec of `train(batch_size, ...)`.

        Raises:
            InputError: for an argument out of range, or a fraction that fills no batch.
        """
        self.steps_per_epoch(batch_size)
        checks.integer("epoch", epoch, 0)
        part = self._part(checks.number("fraction", fraction, above=0, high=1))
        if part < batch_size:
            total = self.spec.train_examples
            raise checks.refuse(
                "fraction",
                fraction,
                f"a number that gives at least a batch of {batch_size}, not {part}, of the {total} "
                "training examples",
            )
        seed = checks.integer("seed", seed, 0, _LAST_SEED)
        epochs = tf.data.Dataset.range(epoch, epoch + 1)
        batches = self._batches(epochs, Stream.PROBE, batch_size, seed, float(fraction))
        return self._finished(batches, part // batch_size)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        """Streams every held-out example once, in order; the last batch may be partial.

        Raises:
            InputError: if `batch_size` < 1 or nothing is held out.
        """
        if self.spec.validation_examples == 0:
            raise checks.refuse("validation_examples", 0, "at least 1")
        return self._evaluation("validation", batch_size, self.spec.validation_examples)

    def test(self, batch_size: int) -> tf.data.Dataset:
        """Streams every test example once, in order; the last batch may be partial.

        Raises:
            InputError: if `batch_size` < 1.
        """
        return self._evaluation("test", batch_size, self.spec.test_examples)

    def _evaluation(self, split: str, batch_size: int, examples: int) -> tf.data.Dataset:
        checks.integer("batch_size", batch_size, 1)
        return self._finished(self._in_order(split, batch_size), -(-examples // batch_size))

    def _part(self, fraction: float) -> int:
        """Returns the number of training examples in a fraction of them."""
        return round(fraction * self.spec.train_examples)

    def _finished(self, batches: tf.data.Dataset, length: int) -> tf.data.Dataset:
        """Adds the known length, prefetching and the options for order and distribution."""
        options = tf.data.Options()
        # What tunes a stream sleeps twice as long each time, and the stream's end waits for it.
        options.autotune.enabled = False
        options.deterministic = self.deterministic
        # The files of one set may be fewer than the workers, so shard by element.
        options.experimental_distribute.auto_shard_policy = (
            tf.data.experimental.AutoShardPolicy.DATA
        )
        batches = batches.apply(tf.data.experimental.assert_cardinality(length))
        return batches.prefetch(_BATCHES_AHEAD).with_options(options)

    @abc.abstractmethod
    def _batches(
        self, epochs: tf.data.Dataset, stream: Stream, batch_size: int, seed: int, fraction: float
    ) -> tf.data.Dataset:
        """Maps a data set of epoch numbers (int64 []) to shuffled, augmented batches."""

    @abc.abstractmethod
    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Returns the batches of "validation" or "test" without augmentation."""
