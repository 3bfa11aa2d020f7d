"""The data sets by name: what is known of each without opening it, and how it is loaded.

Nothing here imports TensorFlow or TFDS before a data set is loaded: the command line checks its
input before those slow imports.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
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
        pad: Pixels added on each side before training images are cropped; None: as registered.
        flip: Whether they are mirrored at random; None: as registered.
        corrupt: What to do with pictures that cannot be read: "refuse" or "skip".
    """

    name: str
    num_classes: int
    image_shape: tuple[int, int, int]
    train_examples: int
    validation_examples: int
    test_examples: int
    pad: int | None = None
    flip: bool | None = None
    corrupt: str = "refuse"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered data set: how it is usually used, and what `register_dataset` was given."""

    usual: DatasetSpec
    load: Callable[..., Any]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    pad: int
    flip: bool
    classes: tuple[str, ...]
    image_sizes: Sequence[int]
    available: Callable[[str | Path | None], object] | None


# Beginning of the names of prepared sets of TFDS that are described by their own files.
TFDS = "tfds/"
DEFAULT_DATA_DIR = "~/tensorflow_datasets"
# What TFDS cannot download by itself, and takes from its folder for that.
_ARCHIVES = {"imagenet2012": "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar"}

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
    classes: Sequence[str] = (),
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
        classes: Names of the labels, in their order; else their numbers serve.
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
    if classes and len(classes) != num_classes:
        raise checks.refuse("classes", classes, f"{num_classes} names, or none")
    usual = DatasetSpec(
        name,
        num_classes,
        image_shape,
        train_examples - validation_examples,
        validation_examples,
        test_examples,
    )
    sizes = image_sizes or (height,)
    entry = Entry(
        usual, load, tuple(mean), tuple(deviation), pad, flip, tuple(classes), sizes, available
    )
    DATASETS.register(name, entry, own=own)


def is_found(name: str) -> bool:
    """Tells the names of sets that their files describe, see `found`, from registered ones."""
    return name in ("folder", "arrays") or name.startswith(TFDS)


def describe(
    name: str,
    *,
    image_size: int | None = None,
    validation_examples: int | None = None,
    train_examples: int | None = None,
    pad: int | None = None,
    flip: bool | None = None,
    corrupt: str = "refuse",
) -> DatasetSpec:
    """Returns the specification of a data set; opens no file.

    Args:
        name: As registered.
        image_size: Height and width in pixels; None: the set's usual ones.
        validation_examples: Examples held out of the training split; None: the usual number.
        train_examples: Upper limit on the training examples, for short runs; None: all that are
            not held out.
        pad: As for `DatasetSpec`, like `flip` and `corrupt`.

    Raises:
        InputError: For an unknown name, or a number outside what the set offers.
    """
    checks.choice("corrupt", corrupt, ("refuse", "skip"))
    if pad is not None:
        checks.integer("pad", pad, 0)
    entry = DATASETS.get(name)
    (size, _, channels), held_out = entry.usual.image_shape, entry.usual.validation_examples
    total = entry.usual.train_examples + held_out
    if image_size is not None:
        sizes = entry.image_sizes
        if isinstance(sizes, range):
            size = checks.integer("image_size", image_size, sizes.start, sizes.stop - 1)
        else:
            size = checks.choice("image_size", checks.integer("image_size", image_size), sizes)
    if validation_examples is not None:
        held_out = checks.integer("validation_examples", validation_examples, 0, total - 1)
    rest = total - held_out
    if train_examples is not None:
        rest = checks.integer("train_examples", train_examples, 1, rest)
    return dataclasses.replace(
        entry.usual,
        image_shape=(size, size, channels),
        train_examples=rest,
        validation_examples=held_out,
        pad=pad,
        flip=flip,
        corrupt=corrupt,
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


def _own(module: str, function: str) -> Callable[..., Any]:
    """Returns a loader whose module, and with it TensorFlow, is imported when it is called."""

    def load(spec: DatasetSpec, data_dir: str | Path | None, deterministic: bool) -> Any:
        found = importlib.import_module(f"tf_earlyticket.data.{module}")
        return getattr(found, function)(spec, data_dir, deterministic)

    return load


register_dataset(
    "digits",
    _own("in_memory", "load_digits"),
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
    _own("prepared", "load_cifar10"),
    num_classes=10,
    image_shape=(32, 32, 3),
    train_examples=50_000,
    validation_examples=5_000,
    test_examples=10_000,
    mean=(125.3, 123.0, 113.9),
    deviation=(63.0, 62.1, 66.7),
    pad=4,
    flip=True,
    classes=[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    available=partial(dataset_folder, "cifar10"),
    own=True,
)
register_dataset(
    "imagenet2012",
    _own("prepared", "load_imagenet"),
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
