"""The data sets by name: what is known of each without opening it, and how it is loaded.

Nothing here imports TensorFlow or TFDS before a data set is loaded: the command line checks its
input before those slow imports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_earlyticket import checks
from tf_earlyticket.data.tfds_files import dataset_folder
from tf_earlyticket.registry import Registry, parameters_of

if TYPE_CHECKING:
    from tf_earlyticket.data.streams import Data


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """The shape of a data set as it is used in a run.

    Attributes:
        name: As registered.
        num_classes: Labels are 0 to num_classes - 1.
        image_shape: (height, width, channels) as the model sees it.
        train_examples: Examples trained on per epoch, before whole batches are cut.
        validation_examples: Examples held out of the original training split.
        test_examples: Examples of the test split.
    """

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    train_examples: int
    validation_examples: int
    test_examples: int


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered data set: the arguments of `register_dataset`."""

    load: Callable[..., Any]
    num_classes: int
    image_shape: tuple[int, int, int]
    train_examples: int
    test_examples: int
    validation_examples: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    pad: int
    flip: bool
    image_sizes: Sequence[int]
    available: Callable[[str | Path | None], object] | None


DATASETS: Registry[Entry] = Registry("name")


def register_dataset(
    name: str,
    load: Callable[..., Any],
    *,
    num_classes: int,
    image_shape: tuple[int, int, int],
    train_examples: int,
    test_examples: int,
    validation_examples: int,
    mean: Sequence[float],
    deviation: Sequence[float],
    pad: int = 0,
    flip: bool = False,
    image_sizes: Sequence[int] = (),
    available: Callable[[str | Path | None], object] | None = None,
    own: bool = False,
) -> None:
    """Makes a data set known by a name, for `config.data.name`.

    Args:
        name: A new name; one that was registered before is replaced.
        load: Returns {"train": (images, labels), "test": (images, labels)}; images are uint8
            [n, height, width, channels], labels integers [n]. Called once per run. It may take
            `spec` (the `DatasetSpec` wanted), `data_dir` (of the flag) and `deterministic`, and
            may return a `data.streams.Data` that streams by itself instead.
        num_classes: Labels are 0 to num_classes - 1.
        image_shape: (height, width, channels); square.
        train_examples: Images in "train".
        test_examples: Images in "test".
        validation_examples: So many at the end of "train" are held out, for the probes.
        mean: Of the pixels (0 to 255), per channel.
        deviation: Standard deviation of the pixels, per channel.
        pad: Pixels added on each side before the random crop of training images; 0: no crop.
        flip: Whether training images are mirrored at random.
        image_sizes: Heights that `load` can give besides the usual one: a range, or several.
        available: Called with `data_dir` before a run; raises `InputError` if files are missing.
        own: Whether it is the toolkit's own, which users cannot replace.

    Raises:
        InputError: If the name is one of the toolkit's own, or sizes do not fit together.
    """
    checks.function("load", load)
    height, width, channels = image_shape
    if height != width:
        raise checks.refuse("image_shape", image_shape, "as many rows as columns")
    checks.integer("validation_examples", validation_examples, 1, train_examples - 1)
    for argument, values in (("mean", mean), ("deviation", deviation)):
        if len(values) != channels:
            raise checks.refuse(argument, values, f"{channels} numbers, one per channel")
    entry = Entry(
        load=load,
        num_classes=num_classes,
        image_shape=image_shape,
        train_examples=train_examples,
        test_examples=test_examples,
        validation_examples=validation_examples,
        mean=tuple(mean),
        deviation=tuple(deviation),
        pad=pad,
        flip=flip,
        image_sizes=image_sizes or (height,),
        available=available,
    )
    DATASETS.register(name, entry, own=own)


def describe(
    name: str,
    *,
    image_size: int | None = None,
    validation_examples: int | None = None,
    train_examples: int | None = None,
) -> DatasetSpec:
    """Returns the specification of a data set; opens no file.

    Args:
        name: As registered.
        image_size: Height and width in pixels; None: the set's usual ones.
        validation_examples: Examples held out of the training split; None: the usual number.
        train_examples: Upper limit on the training examples, for short runs; None: all that are
            not held out.

    Raises:
        InputError: For an unknown name, or a number outside what the set offers.
    """
    entry = DATASETS.get(name)
    size, held_out = entry.image_shape[0], entry.validation_examples
    if image_size is not None:
        sizes = entry.image_sizes
        if isinstance(sizes, range):
            size = checks.integer("image_size", image_size, sizes.start, sizes.stop - 1)
        else:
            size = checks.choice("image_size", checks.integer("image_size", image_size), sizes)
    if validation_examples is not None:
        last = entry.train_examples - 1
        held_out = checks.integer("validation_examples", validation_examples, 0, last)
    rest = entry.train_examples - held_out
    if train_examples is not None:
        rest = checks.integer("train_examples", train_examples, 1, rest)
    return DatasetSpec(
        name=name,
        num_classes=entry.num_classes,
        image_shape=(size, size, entry.image_shape[2]),
        train_examples=rest,
        validation_examples=held_out,
        test_examples=entry.test_examples,
    )


def check_available(name: str, data_dir: str | Path | None = None) -> None:
    """Checks that the files of a data set exist; a set that needs none always passes.

    Args:
        name: As registered.
        data_dir: A TFDS data directory; None: `~/tensorflow_datasets`.

    Raises:
        InputError: For an unknown name, or if no prepared version is found.
    """
    available = DATASETS.get(name).available
    if available is not None:
        available(data_dir)


def load(
    spec: DatasetSpec, data_dir: str | Path | None = None, *, deterministic: bool = True
) -> Data:
    """Opens a data set; small sets are read into memory, nothing is downloaded.

    The `spec` of the returned data is the truth: where the files hold fewer examples than the
    original set (a tiny copy), its counts are theirs.

    Args:
        spec: From `describe`.
        data_dir: A TFDS data directory; None: `~/tensorflow_datasets`.
        deterministic: False lets streamed data (ImageNet) be handed on in the order in which
            reading and decoding finish.

    Raises:
        InputError: If the set is unknown, is not found, holds too few examples for
            `spec.validation_examples`, or is not what was registered.
    """
    function = DATASETS.get(spec.name).load
    given = {"spec": spec, "data_dir": data_dir, "deterministic": deterministic}
    taken = parameters_of(function)
    found = function(**{name: value for name, value in given.items() if name in taken})

    from tf_earlyticket.data.in_memory import in_memory
    from tf_earlyticket.data.streams import Data

    return found if isinstance(found, Data) else in_memory(spec, found)


def _load_digits(spec: DatasetSpec) -> dict[str, tuple]:
    from tf_earlyticket.data.in_memory import load_digits

    return load_digits(spec.image_shape[0])


def _load_cifar10(spec: DatasetSpec, data_dir: str | Path | None) -> Data:
    from tf_earlyticket.data.in_memory import load_cifar10

    return load_cifar10(spec, data_dir)


def _load_imagenet(spec: DatasetSpec, data_dir: str | Path | None, deterministic: bool) -> Data:
    from tf_earlyticket.data.imagenet import load_imagenet

    return load_imagenet(spec, data_dir, deterministic)


register_dataset(
    "digits",
    _load_digits,
    num_classes=10,
    image_shape=(16, 16, 1),
    image_sizes=(16, 32),
    train_examples=1297,
    validation_examples=200,
    test_examples=500,
    mean=(77.7,),
    deviation=(81.9,),
    pad=2,
    flip=False,  # A mirrored digit is another shape.
    own=True,
)
register_dataset(
    "cifar10",
    _load_cifar10,
    num_classes=10,
    image_shape=(32, 32, 3),
    train_examples=50_000,
    validation_examples=5_000,
    test_examples=10_000,
    mean=(125.3, 123.0, 113.9),
    deviation=(63.0, 62.1, 66.7),
    pad=4,
    flip=True,
    available=partial(dataset_folder, "cifar10"),
    own=True,
)
register_dataset(
    "imagenet2012",
    _load_imagenet,
    num_classes=1000,
    image_shape=(224, 224, 3),
    image_sizes=range(32, 513),
    train_examples=1_281_167,
    validation_examples=25_000,
    test_examples=50_000,
    mean=(123.675, 116.28, 103.53),
    deviation=(58.395, 57.12, 57.375),
    available=partial(dataset_folder, "imagenet2012"),
    own=True,
)
