"""What is known about each data set without opening it.

Nothing here imports TensorFlow or TFDS: the command line checks its input
before those slow imports.
"""

import dataclasses
import re
from pathlib import Path

from tf_earlyticket.errors import InputError, suggestion

DEFAULT_DATA_DIR = "~/tensorflow_datasets"


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """The shape of a data set as it is used in a run.

    Attributes:
        name: one of `dataset_names()`.
        num_classes: number of classes; labels are 0..num_classes-1.
        image_shape: (height, width, channels) as the model sees it.
        train_examples: examples trained on per epoch, before whole batches are cut.
        validation_examples: examples held out of the original training split.
        test_examples: examples of the test split.
    """

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    train_examples: int
    validation_examples: int
    test_examples: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row of the catalog.

    `pool` counts the examples that are divided into training and held-out ones.
    `test_split` is the TFDS split used for the test, None for a set without TFDS.
    """

    num_classes: int
    channels: int
    image_size: int
    image_sizes: range | tuple[int, ...]
    pool: int
    validation: int
    test: int
    test_split: str | None


CATALOG = {
    "digits": Entry(10, 1, 16, (16, 32), 1297, 200, 500, None),
    "cifar10": Entry(10, 3, 32, (32,), 50_000, 5_000, 10_000, "test"),
    # ILSVRC-2012's own test labels are not public: its validation split is the test set.
    "imagenet2012": Entry(1000, 3, 224, range(32, 513), 1_281_167, 25_000, 50_000, "validation"),
}


def dataset_names() -> tuple[str, ...]:
    """Returns the names that `describe` accepts."""
    return tuple(CATALOG)


def describe(
    name: str,
    *,
    image_size: int | None = None,
    validation_examples: int | None = None,
    train_examples: int | None = None,
) -> DatasetSpec:
    """Returns the specification of a data set; opens no file.

    Args:
        name: one of `dataset_names()`.
        image_size: height and width in pixels; None for the set's own default.
        validation_examples: examples held out of the training split; None for
            the set's default.
        train_examples: upper limit on the training examples, for short runs;
            None for all that are not held out.

    Raises:
        InputError: for an unknown name, or a number outside what the set offers.
    """
    entry = _entry(name)
    size = entry.image_size if image_size is None else image_size
    if not _is_int(size) or size not in entry.image_sizes:
        raise InputError(
            f"image_size={image_size!r}: {name} accepts {_sizes_text(entry.image_sizes)}."
        )
    held_out = _checked(
        "validation_examples", validation_examples, entry.validation, 0, entry.pool - 1, name
    )
    rest = entry.pool - held_out
    return DatasetSpec(
        name=name,
        num_classes=entry.num_classes,
        image_shape=(size, size, entry.channels),
        train_examples=_checked("train_examples", train_examples, rest, 1, rest, name),
        validation_examples=held_out,
        test_examples=entry.test,
    )


def check_available(name: str, data_dir: str | Path | None = None) -> None:
    """Checks that the files of a data set exist; a set that needs none always passes.

    Args:
        name: one of `dataset_names()`.
        data_dir: a TFDS data directory; None for `~/tensorflow_datasets`.

    Raises:
        InputError: for an unknown name, or if no prepared version is found.
    """
    if _entry(name).test_split is not None:
        dataset_folder(name, data_dir)


def dataset_folder(name: str, data_dir: str | Path | None = None) -> Path:
    """Returns the newest version folder of a prepared TFDS data set.

    Args:
        name: the name of a TFDS set in the catalog.
        data_dir: a TFDS data directory; None for `~/tensorflow_datasets`.

    Raises:
        InputError: if there is no `<data_dir>/<name>/**/dataset_info.json`, or the
            catalog has no TFDS set of that name.
    """
    tfds_test_split(name)
    root = Path(DEFAULT_DATA_DIR if data_dir is None else data_dir).expanduser()
    folders = [path.parent for path in (root / name).glob("**/dataset_info.json")]
    if not folders:
        archives = (
            f"put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar in {root}/downloads/manual "
            "and "
            if name == "imagenet2012"
            else ""
        )
        raise InputError(
            f"--data_dir={data_dir or '(not given)'}: no prepared {name} in {root / name}; give "
            f"the folder that holds {name}/, or {archives}run "
            f"`tfds build {name} --data_dir={root}`."
        )
    return max(folders, key=_version)


def tfds_test_split(name: str) -> str:
    """Returns the name of the TFDS split that serves as the test set."""
    split = _entry(name).test_split
    if split is None:
        raise InputError(f"name={name!r}: has no TFDS splits.")
    return split


def _entry(name: str) -> Entry:
    if name not in CATALOG:
        raise InputError(
            f"name={name!r}: unknown data set; accepted are {', '.join(CATALOG)}."
            + suggestion(str(name), CATALOG)
        )
    return CATALOG[name]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(argument: str, value: int | None, default: int, low: int, high: int, name: str) -> int:
    if value is None:
        return default
    if not _is_int(value) or not low <= value <= high:
        raise InputError(
            f"{argument}={value!r}: {name} accepts an integer from {low} to {high} here."
        )
    return value


def _sizes_text(sizes: range | tuple[int, ...]) -> str:
    if isinstance(sizes, range):
        return f"an integer from {sizes.start} to {sizes.stop - 1}"
    return " or ".join(str(size) for size in sizes)


def _version(folder: Path) -> tuple[tuple[int, ...], str]:
    """Orders version folders by number, so that 3.10.0 is newer than 3.9.0."""
    is_version = re.fullmatch(r"\d+(\.\d+)*", folder.name)
    return tuple(map(int, folder.name.split("."))) if is_version else (), str(folder)
