"""The files of a ticket: written whole or not at all, and refused where anything is wrong.

    ticket.json                   names, shapes, sparsity, epochs, provenance, what the network
                                  takes, hashes of the others
    masks.safetensors             the masks, eight to a byte
    rewind_weights.safetensors    every weight at the end of the rewind epoch
    final_weights.safetensors     every weight after training, where the ticket was trained
    saved_model/                  the trained sparse network, where it was exported; of a ticket of
                                  channels without those that nothing reads
    masked_model/                 then the same with them, to compare with

Reading runs no code from the files and reserves no memory for sizes that they only declare.
Tickets of schema version 2, with arrays in NumPy's .npz files, can still be read.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks, files
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import mask_sparsity

SCHEMA_VERSION = 3
RECORD_FILE = "ticket.json"
SAVED_MODEL, MASKED_MODEL = _NETWORKS = ("saved_model", "masked_model")
_ENDINGS = {2: ".npz", SCHEMA_VERSION: ".safetensors"}
_MASKS, _REWIND, _FINAL = _KINDS = ("masks", "rewind_weights", "final_weights")
_MAX_DIMENSIONS = 32
# The least and greatest value of a pixel of eight bits.
PIXELS = [0, 255]

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


@dataclass
class Layer:
    """A mask in short: of its weights, `kept` stay; `sparsity` is the fraction that do not."""

    name: str
    shape: list[int]
    kept: int
    sparsity: float

    @classmethod
    def of(cls, name: str, mask: Array) -> "Layer":
        """Returns the entry of a mask."""
        return cls(name, list(mask.shape), int(np.count_nonzero(mask)), mask_sparsity([mask]))


@dataclass
class Weight:
    """What an array of the plain model is."""

    name: str
    shape: list[int]
    dtype: str

    @classmethod
    def of(cls, name: str, array: Array) -> "Weight":
        """Returns the entry of an array."""
        return cls(name, list(array.shape), array.dtype.name)


@dataclass(frozen=True)
class Pictures:
    """How a network takes pictures: as `(pixel - mean) / deviation`, channel by channel.

    Attributes:
        shape: [height, width, channels].
        mean: Of the pixels (0 to 255), for each channel.
        deviation: Standard deviation of the pixels, for each channel.
        classes: What the outputs stand for, in their order.
        range: Least and greatest value of a pixel as it is given, always 0 and 255.

    Example:
        >>> pictures = et.Pictures([32, 32, 3], [125.3, 123.0, 113.9], [63.0, 62.1, 66.7], names)
        >>> et.export_ticket(model, "ticket", pictures=pictures)
    """

    shape: list[int]
    mean: list[float]
    deviation: list[float]
    classes: list[str]
    range: list[int] = field(default_factory=lambda: list(PIXELS))


@dataclass
class Places:
    """Which places along an axis of a weight the network without its dead channels has."""

    weight: str
    axis: int
    places: list[int]


@dataclass
class Record:
    """The content of `ticket.json`; layers and weights are in the order of the model."""

    schema_version: int
    rewind_epoch: int | None
    start_epoch: int | None
    sparsity: float
    layers: list[Layer]
    provenance: dict[str, Any]
    weights: list[Weight]
    sha256: dict[str, str]
    input: Pictures | None = None
    channels: list[Places] = field(default_factory=list)


def write_ticket(
    directory: Path,
    *,
    masks: Mapping[str, Array],
    rewind_weights: Mapping[str, Array],
    final_weights: Mapping[str, Array],
    networks: Mapping[str, Path],
    **fields: Any,
) -> None:
    """Writes a ticket; one that is there is replaced, other files are kept.

    `ticket.json` makes the directory a ticket: it is removed first and put back last, so an
    interruption leaves the old ticket, the new one, or none.

    Args are the fields of a `Ticket`, and directories of SavedModels on the same file system, which
    are moved into the ticket, by their names there; others of an earlier ticket are removed.
    """
    if directory.exists() and not directory.is_dir():
        raise checks.refuse("directory", str(directory), "a directory or a new path")
    directory = directory.resolve()
    packed = {name: np.packbits(mask) for name, mask in masks.items()}
    arrays = dict(zip(_KINDS, (packed, rewind_weights, final_weights), strict=True))
    written = {_file(SCHEMA_VERSION, kind): arrays[kind] for kind in _KINDS if arrays[kind]}
    with files.replacing_directory(directory) as new:
        for file, content in written.items():
            files.write_arrays(new / file, content)
        hashes = {file: files.sha256(new / file) for file in written}
        for name, network in networks.items():
            for file in _files_under(network):
                hashes[f"{name}/{file}"] = files.sha256(network / file)
        record = Record(
            schema_version=SCHEMA_VERSION,
            sparsity=mask_sparsity(masks),
            layers=[Layer.of(*item) for item in masks.items()],
            weights=[Weight.of(*item) for item in rewind_weights.items()],
            sha256=hashes,
            **fields,
        )
        files.write_json(new / RECORD_FILE, asdict(record))
        files.make_directory(directory)
        (directory / RECORD_FILE).unlink(missing_ok=True)
        for version in _ENDINGS:
            for kind in _KINDS:
                (directory / _file(version, kind)).unlink(missing_ok=True)
        for name in _NETWORKS:
            shutil.rmtree(directory / name, ignore_errors=True)
        for file in written:
            files.move(new / file, directory / file)
        for name, network in networks.items():
            files.move(network, directory / name)
        files.move(new / RECORD_FILE, directory / RECORD_FILE)


def read_ticket(directory: Path) -> tuple[dict[str, Arrays], Record]:
    """Reads the files of a ticket and checks them against each other.

    Returns:
        (arrays, record): arrays are "masks", "rewind_weights" and "final_weights" (empty where
        there are none), by weight name; record is the content of `ticket.json`.

    Raises:
        InputError: A file is missing, damaged, altered or no regular file, or a field of
            `ticket.json` is wrong; the message names it.
    """
    source = directory / RECORD_FILE
    with checks.prefixed(f"directory={str(directory)!r}: expected a ticket, but "):
        record = files.read_record(source, Record)
    checks.choice(f"{source}: schema_version", record.schema_version, _ENDINGS)
    _check_hashes(directory, record)
    arrays: dict[str, Arrays] = {_FINAL: {}}
    for kind in _KINDS:
        file = _file(record.schema_version, kind)
        entries: list[Any] = record.layers if kind == _MASKS else record.weights
        if file in record.sha256:
            arrays[kind] = _read(directory / file, [entry.name for entry in entries])
    packed = arrays[_MASKS]
    arrays[_MASKS] = {e.name: _unpacked(source, e, packed[e.name]) for e in record.layers}
    for layer in record.layers:
        _expect(source, "layers", layer, Layer.of(layer.name, arrays[_MASKS][layer.name]))
    for kind in (_REWIND, _FINAL):
        for weight, item in zip(record.weights, arrays[kind].items(), strict=False):
            _expect(source, "weights", weight, Weight.of(*item))
    if record.sparsity != (sparsity := mask_sparsity(arrays[_MASKS])):
        raise checks.refuse(f"{source}: sparsity", record.sparsity, f"{sparsity}, as the masks say")
    return arrays, record


def _file(version: int, kind: str) -> str:
    return kind + _ENDINGS[version]


def _files_under(directory: Path) -> list[str]:
    """Returns the paths of all files, and of links to anything, relative to the directory."""
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def _check_hashes(directory: Path, record: Record) -> None:
    source, hashes = directory / RECORD_FILE, record.sha256
    known = [_file(record.schema_version, kind) for kind in _KINDS]
    for file in (_file(record.schema_version, kind) for kind in (_MASKS, _REWIND)):
        if file not in hashes:
            raise InputError(f"{source}: sha256 must have an entry for {file}, got none")
    for name, stated in hashes.items():
        parts = PurePosixPath(name).parts
        inside = len(parts) > 1 and parts[0] in _NETWORKS and ".." not in parts
        if name not in known and (not inside or "\\" in name):
            raise checks.refuse(f"{source}: sha256", name, "names of files of the ticket")
        for folder in PurePosixPath(name).parents:
            if str(folder) != "." and (directory / folder).is_symlink():
                raise InputError(f"{directory / folder} must be a directory, got a link")
        if (found := files.sha256(directory / name)) != stated:
            wanted = f"the sha256 {stated!r:.80} that {RECORD_FILE} gives"
            raise InputError(
                f"{directory / name} must have {wanted}, got {found}: it was altered or cut off"
            )
    for network in _NETWORKS:
        saved = directory / network
        for name in _files_under(saved) if saved.is_dir() else ():
            if f"{network}/{name}" not in hashes:
                raise InputError(
                    f"{saved / name} must be in sha256 of {RECORD_FILE}, got a file more"
                )


def _expect(source: Path, what: str, stated: Layer | Weight, actual: Layer | Weight) -> None:
    for key, value in asdict(actual).items():
        if (found := getattr(stated, key)) != value:
            name = f"{source}: {key} of {stated.name!r:.200} in {what}"
            raise checks.refuse(name, found, f"{value!r}, as the arrays say")


def _read(path: Path, names: list[str]) -> Arrays:
    """Returns the arrays of a file in the order of their names, which the record gives."""
    # Old files tell them apart by their places.
    old = path.suffix == _ENDINGS[2]
    keys = [str(number) for number in range(len(names))] if old else names
    found: Arrays = files.read_npz(path) if old else files.read_arrays(path)
    if set(found) != set(keys) or len(set(names)) != len(names):
        raise InputError(
            f"{path} must hold the {len(names)} arrays that {RECORD_FILE} names, each once"
        )
    return {name: found[key] for name, key in zip(names, keys, strict=True)}


def _unpacked(source: Path, layer: Layer, bits: Array) -> Array:
    shape = layer.shape
    whole = len(shape) <= _MAX_DIMENSIONS and all(length >= 0 for length in shape)
    packed = bits.dtype == np.uint8 and bits.ndim == 1
    if not packed or not whole or bits.nbytes != (math.prod(shape) + 7) // 8:
        name = f"{source}: shape of {layer.name!r:.200} in layers"
        raise checks.refuse(name, shape, f"one that fits its {bits.nbytes} bytes of mask")
    return np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)
