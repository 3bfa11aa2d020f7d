"""ILSVRC-2012 streamed from a prepared TFDS data set."""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tf_earlyticket.data.catalog import DatasetSpec
from tf_earlyticket.data.preprocess import decode_center_crop, decode_random_crop, normalize
from tf_earlyticket.data.streams import Data, Stream, fold_in, random_key, shuffled
from tf_earlyticket.data.tfds_files import TfdsSource, open_source

_FILES_AT_ONCE = 16
# Encoded images; at about 110 KB each some 0.9 GB.
_SHUFFLE_BUFFER = 8192


def load_imagenet(
    spec: DatasetSpec, data_dir: str | Path | None, deterministic: bool = True
) -> "ImageNetData":
    """Opens the data set; reads no image yet. For `deterministic` see `Data`.

    Raises:
        InputError: if the set is not found or too small; see `open_source`.
    """
    # Its own test labels are not public: the validation split is the test set.
    source = open_source(spec, data_dir, test_split="validation")
    return ImageNetData(source, deterministic)


class ImageNetData(Data):
    """JPEG files in TFRecords: files and examples are shuffled anew for each epoch."""

    def __init__(self, source: TfdsSource, deterministic: bool = True) -> None:
        """Keeps the opened data set; for `deterministic` see `Data`."""
        super().__init__(source.spec, deterministic)
        self._source = source

    def _batches(
        self,
        epochs: tf.data.Dataset,
        stream: Stream,
        batch_size: int,
        seed: int,
        fraction: float,
    ) -> tf.data.Dataset:
        examples = self._part(fraction)
        # TFDS shuffled the examples when it wrote them, so any stretch is a random part.
        start = 0
        if fraction < 1.0:
            random = np.random.RandomState([seed % 2**32, seed >> 32, Stream.PROBE_SUBSET])
            start = int(random.randint(self.spec.train_examples - examples + 1))
        files = self._files(f"train[{start}:{start + examples}]")
        used = examples // batch_size * batch_size

        def records(epoch: tf.Tensor) -> tf.data.Dataset:
            key = random_key(seed, epoch, stream)
            order = shuffled(tf.range(len(files[0])), fold_in(key, 0))
            in_files = self._records([tf.gather(column, order) for column in files])
            # Dataset.shuffle mixes the process-wide seed into its own. Fixing it for this
            # function's graph leaves an order that depends on (seed, epoch) only. Not 0:
            # shuffle would then compare its tensor seed with a Python number, and fail.
            tf.compat.v1.set_random_seed(1)
            mixed = in_files.shuffle(
                _SHUFFLE_BUFFER, seed=fold_in(key, 1)[0], reshuffle_each_iteration=False
            )
            position_key = fold_in(key, 2)
            return (
                mixed.take(used)
                .enumerate()
                .map(lambda position, record: (record, fold_in(position_key, position)))
            )

        def load(record: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = self._parse(record)
            image = decode_random_crop(jpeg, key, self.spec.image_shape[0])
            return normalize(image, self.spec.name), label

        loaded = epochs.flat_map(records).map(load, num_parallel_calls=tf.data.AUTOTUNE)
        return loaded.batch(batch_size, drop_remainder=True)

    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        def load(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            jpeg, label = self._parse(record)
            image = decode_center_crop(jpeg, self.spec.image_shape[0])
            return normalize(image, self.spec.name), label

        records = self._records(self._files(getattr(self._source, split)))
        loaded = records.map(load, num_parallel_calls=tf.data.AUTOTUNE)
        return loaded.batch(batch_size)

    def _files(self, split: str) -> list[tf.Tensor]:
        """Returns names (string [f]), records to skip and to take (int64 [f]) of a TFDS split."""
        parts = self._source.builder.info.splits[split].file_instructions
        return [
            tf.constant([part.filename for part in parts]),
            tf.constant([part.skip for part in parts], tf.int64),
            tf.constant([part.take for part in parts], tf.int64),
        ]

    def _records(self, files: list[tf.Tensor]) -> tf.data.Dataset:
        """Interleaves the serialized examples (string []) of the given parts of files."""

        def read(name: tf.Tensor, skip: tf.Tensor, take: tf.Tensor) -> tf.data.Dataset:
            return tf.data.TFRecordDataset(name, buffer_size=8 << 20).skip(skip).take(take)

        return tf.data.Dataset.from_tensor_slices(tuple(files)).interleave(
            read,
            cycle_length=_FILES_AT_ONCE,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=self.deterministic,
        )

    def _parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the encoded image (string []) and the label (int32 [])."""
        # The image stays encoded, so that only the part that is used gets decoded.
        example = self._source.builder.info.features.deserialize_example(
            record, decoders={"image": tfds.decode.SkipDecoding()}
        )
        return example["image"], tf.cast(example["label"], tf.int32)
