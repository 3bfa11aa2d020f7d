"""CIFAR-10 from a prepared TFDS data set."""

from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds

from tf_earlyticket.data.catalog import DatasetSpec
from tf_earlyticket.data.in_memory import InMemoryData, Split
from tf_earlyticket.data.tfds_files import open_source, readable

_WANTED = tfds.decode.PartialDecoding({"image": True, "label": True})


def load_cifar10(spec: DatasetSpec, data_dir: str | Path | None) -> InMemoryData:
    """Reads all images into memory (about 3 seconds and 180 MB).

    Raises:
        InputError: if the set is not found, too small (see `open_source`) or damaged.
    """
    source = open_source(spec, data_dir)

    def read(split: str) -> Split:
        with tf.device("CPU:0"):
            found = source.builder.as_dataset(
                split=split, decoders=_WANTED, shuffle_files=False, batch_size=-1
            )
        return Split(found["image"], tf.cast(found["label"], tf.int32))

    with readable(source):
        train = read(source.train)
        test = read(source.test)
        # TFDS cannot read an empty part in one batch.
        nothing = Split(train.images[:0], train.labels[:0])
        validation = read(source.validation) if spec.validation_examples else nothing
    return InMemoryData(
        source.spec, train=train, validation=validation, test=test, pad=4, flip=True
    )
