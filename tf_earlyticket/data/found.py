"""Data sets that are described by their own files: pictures in folders, arrays, any set of TFDS.

`find` looks at names and sizes, decodes no picture but a few, and imports no TensorFlow; what it
finds is entered in the registry under the name that the config has. When the set is loaded, every
picture is read once: those that cannot be read are told, mean and deviation of the pixels measured.
Pictures stay in memory if they are small beside it, else they are read from their files again; the
batches are the same.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import logging
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tf_earlyticket import checks
from tf_earlyticket.data.catalog import DATASETS, TFDS, DatasetSpec, Entry, dataset_folder
from tf_earlyticket.errors import InputError

logger = logging.getLogger(__name__)
PICTURES = (".png", ".jpg", ".jpeg")
# Of what is not divided yet: this part is the test set, and of the rest that is held out.
_TEST_SHARE, _HELD_OUT_SHARE = 0.2, 0.1
_LARGEST_USUAL = 224
_LOOKED_AT = 100
# Pixels are held in memory up to so many bytes and this part of the machine's memory.
_MOST_BYTES, _MOST_OF_MEMORY = 8 * 2**30, 0.25
# Pictures whose pixels are measured, and pictures that are read at a time.
_MEASURED, _AT_A_TIME = 10_000, 1024
_SPLIT_SEED = 2026
# As users of such files name them, and as Keras' own files do.
_ARRAY_NAMES = {
    "train": (("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
Arrays = dict[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class _Files:
    """Pictures in files.

    Attributes:
        parts: Places and labels of "train" and "test".
        read: Returns the picture of a place, uint8 [size, size, channels], or why it cannot be
            read.
        name: Returns a place in words.
    """

    parts: dict[str, tuple[Sequence[Any], np.ndarray]]
    read: Callable[[Any], np.ndarray | str]
    name: Callable[[Any], str] = str

    def read_again(self, place: Any) -> np.ndarray:
        """Returns a picture that could be read before.

        Raises:
            InputError: If it no longer can.
        """
        found = self.read(place)
        if isinstance(found, str):
            raise checks.refuse("--data_dir", self.name(place), f"the picture of before ({found})")
        return found


def find(name: str, data_dir: str | Path | None) -> str:
    """Enters the set that the files under `data_dir` describe in the registry.

    Args:
        name: "folder": a folder of classes, or "train" and "test" folders of such; "arrays": a
            file `.npz`, or the folder that holds it; "tfds/NAME": a prepared set of TFDS.
        data_dir: Where it lies.

    Returns:
        A hash that tells it from others: of the names and sizes of its files.

    Raises:
        InputError: If it is not there, or cannot be used.
    """
    if data_dir is None and not name.startswith(TFDS):
        raise checks.refuse("--data_dir", None, f"where the data of config.data.name={name!r} lie")
    if name == "folder":
        return _find_folder(Path(data_dir).expanduser())
    if name == "arrays":
        return _find_arrays(Path(data_dir).expanduser())
    return _find_prepared(name, data_dir)


def _register(
    name: str,
    load: Callable[[DatasetSpec], Arrays | _Files],
    classes: Sequence[str],
    counts: dict[str, int],
    shape: tuple[int, int],
    sizes: Sequence[int],
) -> None:
    """Enters a set: counts of training, held-out and test pictures; shape is (size, channels)."""
    size, channels = shape
    spec = DatasetSpec(
        name,
        len(classes),
        (size, size, channels),
        counts["train"] - counts["validation"],
        counts["validation"],
        counts["test"],
    )
    unknown = (0.0,) * channels, (1.0,) * channels
    entry = Entry(spec, partial(_measured, load), *unknown, 0, False, tuple(classes), sizes, None)
    DATASETS.register(name, entry)


def _measured(load: Callable[[DatasetSpec], Arrays | _Files], spec: DatasetSpec) -> Any:
    """Loads a set; enters mean and deviation of its training pixels."""
    from tf_earlyticket.data.in_memory import in_memory
    from tf_earlyticket.data.numbered import FileData

    found, sums = load(spec), None
    files = found if isinstance(found, _Files) else None
    if files is not None:
        found, sums = _read_once(files, spec)
    counts = {part: len(labels) for part, (_, labels) in found.items()}
    missing = spec.train_examples + spec.validation_examples - counts["train"]
    if missing > 0 or counts["test"] < spec.test_examples:
        # Of corrupt files that were left out.
        train = max(spec.train_examples - max(missing, 0), 0)
        spec = dataclasses.replace(spec, train_examples=train, test_examples=counts["test"])
        with checks.prefixed(f"config.data.name={spec.name!r}: "):
            checks.integer("train_examples", train, 1)
    chosen = slice(0, spec.train_examples, max(1, spec.train_examples // _MEASURED))
    images, labels = found["train"]
    sums = np.stack([_sums(image) for image in images[chosen]]) if sums is None else sums[chosen]
    count = len(sums) * spec.image_shape[0] ** 2
    # Whole numbers without a limit, so that the deviation is zero where all are alike.
    total, squares = sums.sum(axis=0).astype(object)
    deviation = np.sqrt((count * squares - total**2).astype(np.float64)) / count
    if not deviation.all():
        raise InputError(
            f"config.data.name={spec.name!r}: expected pictures of more than one grey."
        )
    rounded = (tuple(round(float(v), 2) for v in each) for each in (total / count, deviation))
    mean, deviation = rounded
    entry = dataclasses.replace(DATASETS.get(spec.name), mean=mean, deviation=deviation)
    DATASETS.register(spec.name, entry)
    if isinstance(images, np.ndarray):
        return in_memory(spec, found)
    rest = len(labels) - spec.validation_examples
    parts = {
        "train": (images[: spec.train_examples], labels[: spec.train_examples]),
        "validation": (images[rest:], labels[rest:]),
        "test": found["test"],
    }
    return FileData(spec, parts, files.read_again)


def _sums(picture: np.ndarray) -> np.ndarray:
    """Returns the sums of pixels and of their squares, int64 [2, channels]."""
    pixels = picture.reshape(-1, picture.shape[-1]).astype(np.uint32)
    return np.stack([pixels.sum(axis=0), (pixels**2).sum(axis=0)]).astype(np.int64)


def _read_once(files: _Files, spec: DatasetSpec) -> tuple[dict[str, Any], np.ndarray]:
    """Reads the pictures of a set; returns what can be read, and the sums of those of "train".

    Pictures of the result are arrays, or their places where they are too many for memory.
    """
    total = len(files.parts["train"][1])
    held_out = range(total - spec.validation_examples, total)
    chosen = {
        "train": [*range(min(spec.train_examples, total)), *held_out],
        "test": range(len(files.parts["test"][1])),
    }
    count = sum(map(len, chosen.values()))
    needed = count * math.prod(spec.image_shape)
    held = needed <= min(_MOST_BYTES, _MOST_OF_MEMORY * _memory())
    if not held:
        words = "%s pictures would take %.1f GiB of memory: they are read from their files instead."
        logger.warning(words, f"{count:,}", needed / 2**30)

    def look(place) -> tuple[np.ndarray | str, np.ndarray | None]:
        picture = files.read(place)
        return picture, None if isinstance(picture, str) else _sums(picture)

    found, sums, bad = {}, {}, []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for part, numbers in chosen.items():
            places, labels = files.parts[part]
            images = np.empty((len(numbers) if held else 0, *spec.image_shape), np.uint8)
            kept, sums[part] = [], []
            for start in range(0, len(numbers), _AT_A_TIME):
                stretch = numbers[start : start + _AT_A_TIME]
                looked = pool.map(look, [places[number] for number in stretch])
                for number, (picture, of_pixels) in zip(stretch, looked, strict=True):
                    if isinstance(picture, str):
                        bad.append(f"{files.name(places[number])} ({picture})")
                        continue
                    if held:
                        images[len(kept)] = picture
                    kept.append(number)
                    sums[part].append(of_pixels)
            there = images[: len(kept)] if held else [places[number] for number in kept]
            found[part] = there, labels[kept]
    if bad:
        words = f"{len(bad)} of {count:,} pictures cannot be read: {'; '.join(bad[:3])}"
        if spec.corrupt == "refuse":
            expected = "whole pictures, or config.data.corrupt='skip', which leaves them out"
            raise InputError(f"{words}; expected {expected}.")
        logger.warning("%s; they are left out.", words)
    return found, np.array(sums["train"])


def _memory() -> int:
    """Returns the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _hash(values: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(list(values)).encode()).hexdigest()[:16]


def _held_out(train: int) -> int:
    return max(1, round(_HELD_OUT_SHARE * train))


# Folders of pictures.


def _find_folder(root: Path) -> str:
    if not root.is_dir():
        raise checks.refuse("--data_dir", str(root), "a folder of folders of pictures")
    divided = (root / "train").is_dir()
    parts = {"train": root / "train", "test": root / "test"} if divided else {"train": root}
    if divided and not parts["test"].is_dir():
        raise checks.refuse("--data_dir", str(root), "a folder test/ beside its folder train/")
    listed = {part: _listed(folder) for part, folder in parts.items()}
    classes = sorted(listed["train"])
    if len(classes) < 2:
        expected = "at least two folders, of a class each, with pictures (.png, .jpg) in them"
        raise checks.refuse("--data_dir", str(parts["train"]), expected)
    for part, found in listed.items():
        unknown = sorted(set(found) - set(classes))
        empty = [name for name in classes if not found.get(name)]
        if unknown or (empty and part == "train"):
            what = f"a class {unknown[0]!r} that train/ lacks" if unknown else f"{empty[0]!r} empty"
            raise checks.refuse(
                "--data_dir", str(parts[part]), f"pictures of each class, not {what}"
            )
    files = {
        part: [(path, label) for label, each in enumerate(classes) for path in found.get(each, [])]
        for part, found in listed.items()
    }
    if not divided:
        files = _divided(files["train"])
    for part, found in files.items():
        if len(found) < 2:
            raise checks.refuse("--data_dir", str(root), f"at least two pictures for {part}")
        # Held out is what comes last: a random part.
        order = np.random.RandomState(_SPLIT_SEED).permutation(len(found))
        files[part] = [found[place] for place in order]
    counts = {part: len(found) for part, found in files.items()}
    counts["validation"] = _held_out(counts["train"])
    load = partial(_load_folder, files)
    _register("folder", load, classes, counts, _look(files["train"]), range(8, 1025))
    paths = sorted(path for found in files.values() for path, _ in found)
    return _hash([*classes, *((str(p.relative_to(root)), p.stat().st_size) for p in paths)])


def _listed(folder: Path) -> dict[str, list[Path]]:
    """Returns the pictures of each class, in the order of their names."""
    found = {}
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.name.startswith("."):
            files = (p for p in each.rglob("*") if p.suffix.lower() in PICTURES and p.is_file())
            found[each.name] = sorted(p for p in files if not p.name.startswith("."))
    return found


def _divided(files: list[tuple[Path, int]]) -> dict[str, list[tuple[Path, int]]]:
    """Divides pictures into training and test ones, each class in proportion."""
    parts: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    for label in sorted({label for _, label in files}):
        own = [file for file in files if file[1] == label]
        order = np.random.RandomState(_SPLIT_SEED + label).permutation(len(own))
        cut = round(_TEST_SHARE * len(own))
        for place, number in enumerate(order):
            parts["test" if place < cut else "train"].append(own[number])
    return parts


def _look(files: list[tuple[Path, int]]) -> tuple[int, int]:
    """Returns the usual height of pictures and how many channels they have, of the first ones."""
    shapes, grey = [], True
    for path, _ in files[:_LOOKED_AT]:
        try:
            with Image.open(path) as picture:
                shapes.append(min(picture.size))
                grey &= picture.mode in ("1", "L", "LA") or _is_deep(picture)
        except (OSError, ValueError, Image.DecompressionBombError):
            # Told when all are read.
            continue
    if not shapes:
        raise InputError(f"{files[0][0]} and others cannot be read: expected pictures.")
    return int(np.clip(np.median(shapes), 8, _LARGEST_USUAL)), 1 if grey else 3


def _load_folder(files: dict[str, list], spec: DatasetSpec) -> _Files:
    parts = {
        part: ([path for path, _ in found], np.array([label for _, label in found], np.int32))
        for part, found in files.items()
    }
    size, _, channels = spec.image_shape
    return _Files(parts, partial(_read_picture, size=size, channels=channels))


def _read_picture(file: Path | io.BytesIO, size: int, channels: int) -> np.ndarray | str:
    """Returns a picture, uint8 [size, size, channels], or why it cannot be read."""
    try:
        with Image.open(file) as picture:
            if _is_deep(picture):
                # Of 16 bits the upper ones; Pillow would make all above 255 white.
                picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
            return fitted(picture.convert("L" if channels == 1 else "RGB"), size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return " ".join(str(error).replace(str(file), "it").split())[:80] or type(error).__name__


def _is_deep(picture: Image.Image) -> bool:
    """Tells a grey picture of 16 bits."""
    return picture.mode.startswith("I")


def fitted(picture: Image.Image, size: int) -> np.ndarray:
    """Returns the central square of a picture at a size, uint8 [size, size, channels]."""
    side = min(picture.size)
    left, top = ((whole - side) // 2 for whole in picture.size)
    box = (left, top, left + side, top + side)
    if (side, side) != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    else:
        picture = picture.crop(box)
    pixels = np.asarray(picture, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


# Arrays.

# What reading a damaged file may end in.
_DAMAGES = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def _find_arrays(path: Path) -> str:
    if path.is_dir():
        files = sorted(path.glob("*.npz"))
        if len(files) != 1:
            raise checks.refuse("--data_dir", str(path), f"one .npz file in it, not {len(files)}")
        path = files[0]
    try:
        shapes = _shapes(path)
        names = {part: _named(part, shapes) for part in _ARRAY_NAMES}
        if names["train"] is None:
            expected = "arrays images and labels, or x_train and y_train"
            raise checks.refuse("--data_dir", str(path), f"{expected}; it has {', '.join(shapes)}")
        with np.load(path, allow_pickle=False) as arrays:
            labels = {p: arrays[n[1]] for p, n in names.items() if n is not None}
    except _DAMAGES as error:
        if isinstance(error, InputError):
            raise
        raise _no_arrays(path, error) from None
    for part, pair in names.items():
        if pair is not None:
            _check_arrays(path, pair, shapes, labels[part])
    images = shapes[names["train"][0]][0]
    size, channels = images[1], images[3] if len(images) == 4 else 1
    total, classes = len(labels["train"]), int(max(values.max() for values in labels.values())) + 1
    counts = {"train": total, "test": len(labels["test"]) if "test" in labels else 0}
    if "test" not in labels:
        counts["test"] = round(_TEST_SHARE * total)
        counts["train"] = total - counts["test"]
    if min(counts.values()) < 2 or classes < 2:
        raise checks.refuse("--data_dir", str(path), "several pictures of at least two classes")
    counts["validation"] = _held_out(counts["train"])
    load = partial(_load_arrays, path, names, counts["test"])
    _register("arrays", load, [str(n) for n in range(classes)], counts, (size, channels), (size,))
    return _hash([path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()])


def _no_arrays(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"--data_dir={path}: expected a .npz file of arrays ({reason:.200}).")


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Returns shape and type of each array of a file, which is not read for it."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                version = np.lib.format.read_magic(file)
                read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                shape, _, dtype = read(file)
            found[name.removesuffix(".npy")] = shape, dtype
    return found


def _named(part: str, there: Iterable[str]) -> tuple[str, str] | None:
    return next((pair for pair in _ARRAY_NAMES[part] if set(pair) <= set(there)), None)


def _check_arrays(path: Path, names: tuple[str, str], shapes: dict, labels: np.ndarray) -> None:
    shape, dtype = shapes[names[0]]
    square = len(shape) in (3, 4) and shape[1] == shape[2] and (*shape, 1)[3] in (1, 3)
    with checks.prefixed(f"{path}: "):
        if not square or dtype != np.uint8:
            expected = "uint8 [n, size, size, channels] or [n, size, size], with 1 or 3 channels"
            raise checks.refuse(names[0], f"{dtype} {list(shape)}", expected)
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.shape != shape[:1]:
            expected = f"a label for each of {shape[0]} pictures"
            raise checks.refuse(names[1], f"array of shape {list(labels.shape)}", expected)
        if not labels.size:
            raise checks.refuse(names[1], f"array of shape {list(labels.shape)}", "some labels")
        if not np.issubdtype(labels.dtype, np.integer):
            raise checks.refuse(names[1], f"array of {labels.dtype}", "integers from 0")
        if labels.min() < 0:
            raise checks.refuse(names[1], f"{labels.dtype} from {labels.min()}", "integers from 0")


def _load_arrays(
    path: Path, names: dict[str, tuple[str, str] | None], test: int, spec: DatasetSpec
) -> Arrays:
    del spec
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {p: [arrays[name] for name in pair] for p, pair in names.items() if pair}
    except _DAMAGES as error:
        raise _no_arrays(path, error) from None
    for part, (images, labels) in found.items():
        images = images if images.ndim == 4 else images[..., None]
        found[part] = images, labels.reshape(-1).astype(np.int32)
    images, labels = found["train"]
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(labels))
    if "test" not in found:
        found["test"] = images[order[:test]], labels[order[:test]]
        order = order[test:]
    found["train"] = images[order], labels[order]
    return {part: tuple(pair) for part, pair in found.items()}


# Prepared sets of TFDS.


def _find_prepared(name: str, data_dir: str | Path | None) -> str:
    folder = dataset_folder(name.removeprefix(TFDS), data_dir)
    try:
        splits = {
            split["name"]: sum(map(int, split["shardLengths"]))
            for split in json.loads((folder / "dataset_info.json").read_text())["splits"]
        }
        features = json.loads((folder / "features.json").read_text())
        features = features["featuresDict"]["features"]
        image, label = features["image"]["image"], features["label"]["classLabel"]
        shape = [int(side) for side in image["shape"]["dimensions"]]
        classes = int(label["numClasses"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"--data_dir={data_dir}: {folder} is not a prepared set of pictures with the features "
            f"image and label ({type(error).__name__}: {str(error):.100}); expected one."
        ) from None
    test = next((split for split in ("test", "validation") if splits.get(split)), None)
    if not splits.get("train") or test is None:
        expected = f"splits train and test; it has {', '.join(splits) or 'none'}"
        raise checks.refuse("config.data.name", name, expected)
    counts = {"train": splits["train"], "test": splits[test]}
    counts["validation"] = _held_out(counts["train"])
    fixed = len(shape) == 3 and shape[0] == shape[1] and shape[0] > 0
    size = shape[0] if fixed else min([side for side in shape[:2] if side > 0] or [_LARGEST_USUAL])
    labels = folder / "label.labels.txt"
    names = labels.read_text().split("\n")[:classes] if labels.exists() else []
    names = names if len(names) == classes else [str(number) for number in range(classes)]
    load = partial(_load_prepared, folder, test)
    _register(name, load, names, counts, (size, shape[2] or 3), range(8, 1025))
    return _hash([name, folder.name, splits])


def _load_prepared(folder: Path, test: str, spec: DatasetSpec) -> _Files:
    from tf_earlyticket.data.prepared import places_and_labels, read_example

    try:
        parts = {
            "train": places_and_labels(folder, "train"),
            "test": places_and_labels(folder, test),
        }
    except Exception as error:
        # What TFDS and TensorFlow raise for damaged files differs by version.
        reason = " ".join(str(error).split())
        raise InputError(
            f"config.data.name={spec.name!r}: its files in {folder} cannot be read "
            f"({reason:.300}); expected a complete prepared data set."
        ) from error
    size, _, channels = spec.image_shape

    def read(place: tuple[str, int, int]) -> np.ndarray | str:
        try:
            picture = io.BytesIO(read_example(place)["image"].bytes_list.value[0])
        except (OSError, ValueError, IndexError) as error:
            return type(error).__name__
        return _read_picture(picture, size, channels)

    return _Files(parts, read, "{0[0]}, byte {0[1]:,}".format)
