"""Finds and divides prepared TFDS data sets; never downloads."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError

if TYPE_CHECKING:
    from tf_earlyticket.data.catalog import DatasetSpec

DEFAULT_DATA_DIR = "~/tensorflow_datasets"
# What TFDS cannot download by itself, and takes from its folder for that.
_ARCHIVES = {"imagenet2012": "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"}


def dataset_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """Returns the newest version folder of a prepared TFDS data set.

    Args:
        name: TFDS's name of it.
        data_dir: A TFDS data directory; None: `~/tensorflow_datasets`.

    Raises:
        InputError: If there is no `<data_dir>/<name>/**/dataset_info.json`.
    """
    root = Path(DEFAULT_DATA_DIR if data_dir is None else data_dir).expanduser()
    folders = [path.parent for path in (root / name).glob("**/dataset_info.json")]
    if not folders:
        archives = _ARCHIVES.get(name)
        put = f"put {archives} in {root}/downloads/manual and " if archives else ""
        raise InputError(
            f"--data_dir={data_dir or '(not given)'}: no prepared {name} in {root / name}; "
            f"expected the folder that holds {name}/; to make it, {put}run "
            f"`tfds build {name} --data_dir={root}`."
        )
    return max(folders, key=_version)


def _version(folder: Path) -> tuple[tuple[int, ...], str]:
    """Orders version folders by number, so that 3.10.0 is newer than 3.9.0."""
    is_version = re.fullmatch(r"\d+(\.\d+)*", folder.name)
    return tuple(map(int, folder.name.split("."))) if is_version else (), str(folder)


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """An opened data set and the part of it that each of our splits uses.

    `builder` is TFDS's; `spec` has the counts found in the files; the others are TFDS split
    instructions such as "train[:45000]".
    """

    builder: Any
    spec: DatasetSpec
    train: str
    validation: str
    test: str


def open_source(
    spec: DatasetSpec, data_dir: str | Path | None, test_split: str = "test"
) -> TfdsSource:
    """Opens the newest prepared version and holds out the end of its training split.

    Raises:
        InputError: If the set is not found or its description damaged, or its training split is
            not larger than `spec.validation_examples`.
    """
    import tensorflow_datasets as tfds

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
    found = dataclasses.replace(
        spec, train_examples=min(spec.train_examples, rest), test_examples=test_examples
    )
    return TfdsSource(
        builder=builder,
        spec=found,
        train=f"train[:{found.train_examples}]",
        validation=f"train[{rest}:]",
        test=test_split,
    )


@contextlib.contextmanager
def readable(source: TfdsSource) -> Iterator[None]:
    """Says which data set it is whose files cannot be read within a `with` block.

    Raises:
        InputError: Where TensorFlow finds a file missing, cut off or altered.
    """
    import tensorflow as tf

    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"data.name={source.spec.name!r}: its files in {source.builder.data_dir} cannot be "
            f"read ({reason:.300}); expected a complete prepared data set."
        ) from error
