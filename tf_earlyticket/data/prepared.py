"""Prepared TFDS data sets: CIFAR-10, read into memory, and ImageNet, streamed. Never downloads.

And the examples of any such set by their places in its files.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError

from tf_earlyticket import checks
from tf_earlyticket.data.catalog import DatasetSpec, dataset_folder
from tf_earlyticket.data.in_memory import InMemoryData, Split
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

_FILES_AT_ONCE = 16
# Bytes of a TFRecord: its length and a check of that, and a check of the record.
_BEFORE_RECORD, _AFTER_RECORD = 12, 4
# Encoded images; at about 110 KB each some 0.9 GB.
_SHUFFLE_BUFFER = 8192
# Evaluation resizes the shorter side to 256 and takes the central 224; other
# image sizes keep this proportion.
_CENTER_FRACTION = 224 / 256


def _opened(
    spec: DatasetSpec, data_dir: str | Path | None, test_split: str
) -> tuple[tfds.core.DatasetBuilder, DatasetSpec, dict[str, str]]:
    """Opens the newest prepared version and holds out the end of its training split.

    Returns:
        (builder, spec, splits): the spec has the counts found in the files, the splits are TFDS's
        instructions, such as "train[:45000]", by our name.

    Raises:
        InputError: If the set is not found or its description damaged, or its training split is
            not larger than `spec.validation_examples`.
    """
    folder = dataset_folder(spec.name, data_dir)
    try:
        builder = tfds.builder_from_directory(folder)
        total = builder.info.splits["train"].num_examples
        test_examples = builder.info.splits[test_split].num_examples
    except Exception as error:
        # What TFDS raises for damaged descriptions differs by version.
        reason = " ".join(str(error).split())
        raise InputError(
            f"--data_dir={data_dir}: the description of {spec.name} in {folder} cannot be read "
            f"({type(error).__name__}: {reason:.200}); expected a complete prepared data set."
        ) from error
    with checks.prefixed(f"{spec.name} in {folder}: "):
        checks.integer("validation_examples", spec.validation_examples, 0, total - 1)
    rest = total - spec.validation_examples
    used = min(spec.train_examples, rest)
    found = dataclasses.replace(spec, train_examples=used, test_examples=test_examples)
    splits = {"train": f"train[:{used}]", "validation": f"train[{rest}:]", "test": test_split}
    return builder, found, splits


def load_cifar10(spec: DatasetSpec, data_dir: str | Path | None, *_: object) -> InMemoryData:
    """Reads all images of the prepared TFDS data set into memory (about 3 seconds and 180 MB).

    Raises:
        InputError: If the set is not found, too small or damaged.
    """
    builder, found, splits = _opened(spec, data_dir, "test")
    if not spec.validation_examples:
        # TFDS cannot read an empty part in one batch.
        splits["validation"] = "train[:1]"
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
    try:
        with tf.device("CPU:0"):
            read = builder.as_dataset(
                split=splits, decoders=wanted, shuffle_files=False, batch_size=-1
            )
    except (tf.errors.OpError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"data.name={spec.name!r}: its files in {builder.data_dir} cannot be read "
            f"({reason:.300}); expected a complete prepared data set."
        ) from error
    parts = {
        name: Split(part["image"], tf.cast(part["label"], tf.int32)) for name, part in read.items()
    }
    if not spec.validation_examples:
        parts["validation"] = Split(*(values[:0] for values in parts["validation"]))
    return InMemoryData(found, **parts)


def places_and_labels(folder: Path, split: str) -> tuple[list[tuple[str, int, int]], np.ndarray]:
    """Returns where the examples of a split are, and their labels, int32 [n], in the files' order.

    A place is a file, the byte at which the example begins and how many it has. Every record is
    read for it, once.
    """
    label = {"label": tf.io.FixedLenFeature([], tf.int64)}

    def look(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.strings.length(record), tf.io.parse_single_example(record, label)["label"]

    places, labels = [], []
    for part in tfds.builder_from_directory(folder).info.splits[split].file_instructions:
        records, start = tf.data.TFRecordDataset(part.filename, buffer_size=8 << 20), 0
        for length, found in records.map(look).as_numpy_iterator():
            places.append((part.filename, start + _BEFORE_RECORD, int(length)))
            labels.append(found)
            start += _BEFORE_RECORD + int(length) + _AFTER_RECORD
    return places, np.array(labels, np.int32)


def read_example(place: tuple[str, int, int]) -> Mapping[str, Any]:
    """Returns the features of the example at a place of `places_and_labels`.

    Raises:
        OSError: If the file cannot be read; ValueError if no example is there.
    """
    file, start, length = place
    with open(file, "rb") as opened:
        opened.seek(start)
        record = opened.read(length)
    try:
        return tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(str(error)) from None


def load_imagenet(
    spec: DatasetSpec, data_dir: str | Path | None, deterministic: bool = True
) -> "ImageNetData":
    """Opens the data set; reads no image yet. For `deterministic` see `Data`.

    Raises:
        InputError: If the set is not found or too small.
    """
    # Its own test labels are not public: the validation split is the test set.
    return ImageNetData(*_opened(spec, data_dir, "validation"), deterministic)


class ImageNetData(Data):
    """JPEG files in TFRecords: files and examples are shuffled anew for each epoch."""

    def __init__(
        self,
        builder: tfds.core.DatasetBuilder,
        spec: DatasetSpec,
        splits: dict[str, str],
        deterministic: bool,
    ) -> None:
        super().__init__(spec, deterministic)
        self._info = builder.info
        self._names = splits

    @property
    def classes(self) -> list[str]:
        """The names that the prepared files give to the labels."""
        return list(self._info.features["label"].names)

    def _batches(
        self, epochs: tf.data.Dataset, stream: Stream, batch_size: int, seed: int, fraction: float
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

        loaded = epochs.flat_map(records).map(self._load, num_parallel_calls=CORES)
        return loaded.batch(batch_size, drop_remainder=True)

    def _in_order(self, split: str, batch_size: int) -> tf.data.Dataset:
        records = self._records(self._files(self._names[split]))
        return records.map(self._load, num_parallel_calls=CORES).batch(batch_size)

    def _files(self, split: str) -> list[tf.Tensor]:
        """Returns names (string [f]), records to skip and to take (int64 [f]) of a TFDS split."""
        parts = self._info.splits[split].file_instructions
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
            num_parallel_calls=min(CORES, _FILES_AT_ONCE),
            deterministic=self.deterministic,
        )

    def _load(self, record: tf.Tensor, key: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns image and label of a record; with a key for training, else for evaluation."""
        # The image stays encoded, so that only the part that is used gets decoded.
        example = self._info.features.deserialize_example(
            record, decoders={"image": tfds.decode.SkipDecoding()}
        )
        jpeg, size = example["image"], self.spec.image_shape[0]
        cut = decode_center_crop(jpeg, size) if key is None else decode_random_crop(jpeg, key, size)
        return normalize(cut, self.spec.name), tf.cast(example["label"], tf.int32)


def decode_random_crop(jpeg: tf.Tensor, key: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes a random part of an image, resized and flipped at random.

    The part has 8 to 100 % of the area and a width to height ratio of 3/4 to 4/3.

    Args:
        jpeg: string [], the encoded image.
        key: integer key of shape [2].
        image_size: height and width of the result, pixels.

    Returns:
        float32 [image_size, image_size, 3] in 0..255.
    """
    keys = tf.random.split(key, 2, alg="philox")
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(jpeg),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=keys[0],
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    image = _decode_crop(jpeg, tf.concat([begin[:2], size[:2]], axis=0), image_size)
    mirrored = tf.random.stateless_uniform([], keys[1], alg="philox") < 0.5
    # Twice as fast as a whole as tf.where, which makes the mirror image of every picture.
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def decode_center_crop(jpeg: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes the central part of an image as evaluation sees it.

    Resizing the shorter side to image_size * 256 / 224 and taking the centre gives
    the same up to rounding to whole pixels; here only what is used gets decoded.

    Args:
        jpeg: string [], the encoded image.
        image_size: height and width of the result, pixels.

    Returns:
        float32 [image_size, image_size, 3] in 0..255.
    """
    shape = tf.io.extract_jpeg_shape(jpeg)
    height, width = shape[0], shape[1]
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(1, tf.cast(tf.round(_CENTER_FRACTION * shorter), tf.int32))
    window = tf.stack([(height - side) // 2, (width - side) // 2, side, side])
    return _decode_crop(jpeg, window, image_size)


def _decode_crop(jpeg: tf.Tensor, window: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes a window of (top, left, height, width) and resizes it."""
    image = tf.io.decode_and_crop_jpeg(jpeg, window, channels=3)
    # Large crops shrink several times; without antialiasing that would keep single pixels only.
    image = tf.image.resize(image, [image_size, image_size], antialias=True)
    return tf.ensure_shape(image, [image_size, image_size, 3])
