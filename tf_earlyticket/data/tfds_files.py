"""Finds and divides prepared TFDS data sets; never downloads."""

import contextlib
import dataclasses
from pathlib import Path

import tensorflow as tf
import tensorflow_datasets as tfds

from tf_earlyticket.data.catalog import DatasetSpec, dataset_folder, tfds_test_split
from tf_earlyticket.errors import InputError


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """An opened data set and the part of it that each of our splits uses.

    `spec` has the counts found in the files; the others are TFDS split
    instructions such as "train[:45000]".
    """

    builder: tfds.core.DatasetBuilder
    spec: DatasetSpec
    train: str
    validation: str
    test: str


def open_source(spec: DatasetSpec, data_dir: str | Path | None) -> TfdsSource:
    """Opens the newest prepared version and holds out the end of its training split.

    Raises:
        InputError: if the set is not found or its description damaged, or its training split is
            not larger than `spec.validation_examples`.
    """
    folder = dataset_folder(spec.name, data_dir)
    test = tfds_test_split(spec.name)
    try:
        builder = tfds.builder_from_directory(folder)
        total = builder.info.splits["train"].num_examples
        test_examples = builder.info.splits[test].num_examples
    except Exception as error:
        # What TFDS raises for damaged descriptions differs by version.
        reason = " ".join(str(error).split())
        raise InputError(
            f"--data_dir={data_dir}: the description of {spec.name} in {folder} cannot be read "
            f"({type(error).__name__}: {reason:.200}); expected a complete prepared data set."
        ) from error
    rest = total - spec.validation_examples
    if rest < 1:
        raise InputError(
            f"validation_examples={spec.validation_examples}: the {spec.name} in "
            f"{builder.data_dir} has {total} training examples; accepted is at most {total - 1}."
        )
    found = dataclasses.replace(
        spec,
        train_examples=min(spec.train_examples, rest),
        test_examples=test_examples,
    )
    return TfdsSource(
        builder=builder,
        spec=found,
        train=f"train[:{found.train_examples}]",
        validation=f"train[{rest}:]",
        test=test,
    )


@contextlib.contextmanager
def readable(source: TfdsSource):
    """Says which data set it is whose files cannot be read within a `with` block.

    Raises:
        InputError: Where TensorFlow finds a file missing, cut off or altered.
    """
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"data.name={source.spec.name!r}: its files in {source.builder.data_dir} cannot be "
            f"read ({reason:.300}); expected a complete prepared data set."
        ) from error
