"""Finds and divides prepared TFDS data sets; never downloads."""

import dataclasses
from pathlib import Path

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
        InputError: if the set is not found, or its training split is not larger
            than `spec.validation_examples`.
    """
    builder = tfds.builder_from_directory(dataset_folder(spec.name, data_dir))
    test = tfds_test_split(spec.name)
    total = builder.info.splits["train"].num_examples
    rest = total - spec.validation_examples
    if rest < 1:
        raise InputError(
            f"validation_examples={spec.validation_examples}: the {spec.name} in "
            f"{builder.data_dir} has {total} training examples; accepted is at most {total - 1}."
        )
    found = dataclasses.replace(
        spec,
        train_examples=min(spec.train_examples, rest),
        test_examples=builder.info.splits[test].num_examples,
    )
    return TfdsSource(
        builder=builder,
        spec=found,
        train=f"train[:{found.train_examples}]",
        validation=f"train[{rest}:]",
        test=test,
    )
