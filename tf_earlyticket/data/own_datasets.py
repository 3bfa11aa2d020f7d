"""Data sets of your own, by name. Imports neither TensorFlow nor TFDS."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from tf_earlyticket.data.catalog import CATALOG, Entry
from tf_earlyticket.errors import InputError


@dataclasses.dataclass(frozen=True)
class OwnDataset:
    """A data set that `register_dataset` made known; its arguments, but for the sizes."""

    load: Callable[[], Mapping[str, tuple]]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    pad: int
    flip: bool


OWN_DATASETS: dict[str, OwnDataset] = {}


def register_dataset(
    name: str,
    load: Callable[[], Mapping[str, tuple]],
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
) -> None:
    """Makes a data set of your own known by a name, for `config.data.name`.

    Args:
        name: A new name; one that was registered before is replaced.
        load: Returns {"train": (images, labels), "test": (images, labels)}; images are uint8
            [n, height, width, channels], labels integers [n]. Called once per run.
        num_classes: Labels are 0 to num_classes - 1.
        image_shape: (height, width, channels); square.
        train_examples: Images in "train".
        test_examples: Images in "test".
        validation_examples: So many at the end of "train" are held out, for the probes.
        mean: Of the pixels (0 to 255), per channel.
        deviation: Standard deviation of the pixels, per channel.
        pad: Pixels added on each side before the random crop of training images; 0: no crop.
        flip: Whether training images are mirrored at random.

    Raises:
        InputError: If the name is one of the toolkit's own, or sizes do not fit together.
    """
    if name in CATALOG and name not in OWN_DATASETS:
        raise InputError(f"name={name!r}: expected another name than {', '.join(CATALOG)}.")
    if not callable(load):
        raise InputError(f"load is a {type(load).__name__}: expected a function.")
    height, width, channels = image_shape
    if height != width:
        raise InputError(f"image_shape={image_shape}: expected as many rows as columns.")
    if not 0 < validation_examples < train_examples:
        raise InputError(
            f"validation_examples={validation_examples}: expected 1 to {train_examples - 1}."
        )
    for argument, values in (("mean", mean), ("deviation", deviation)):
        if len(values) != channels:
            raise InputError(f"{argument}={values}: expected {channels} numbers, one per channel.")
    CATALOG[name] = Entry(
        num_classes, channels, height, (height,), train_examples, validation_examples,
        test_examples, None,
    )  # fmt: skip
    OWN_DATASETS[name] = OwnDataset(load, tuple(mean), tuple(deviation), pad, flip)
