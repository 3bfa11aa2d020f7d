"""The ticket (s, v): mask m_s, and the weights w_v it is trained from; its files."""

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any

import numpy as np

from tf_earlyticket.core.masks import check_masks, mask_sparsity, unpack
from tf_earlyticket.core.schedule import check_integer
from tf_earlyticket.errors import InputError

SCHEMA_VERSION = 1
RECORD_FILE = "ticket.json"
MASKS_FILE = "masks.npz"
WEIGHTS_FILE = "rewind_weights.npz"


@dataclass(frozen=True, eq=False)
class Ticket:
    """A sparse structure and the weights to train it from (paper, section 3.1).

    The arrays are held as given, not copied.

    Attributes:
        masks: Bool arrays (True = kept) of the prunable kernels, by the name of the weight.
        rewind_weights: Every weight of the plain model (kernels, biases, BatchNorm) by name, at
            the end of `rewind_epoch`. Float, integer or bool arrays.
        rewind_epoch: v, in epochs from 1; 0 for the initial weights; None if unknown.
        start_epoch: s, the epoch (from 1) at whose end pruning started; None if unknown.
        provenance: How the ticket came about; anything JSON can hold.

    Raises:
        InputError: Masks and weights do not fit together, or a field cannot be stored.
    """

    masks: dict[str, np.ndarray] = field(repr=False)
    rewind_weights: dict[str, np.ndarray] = field(repr=False)
    rewind_epoch: int | None
    start_epoch: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks the fields and brings them to the types they are documented to have."""
        weights = _named_arrays("rewind_weights", self.rewind_weights)
        masks = _named_arrays("masks", self.masks)
        for name in masks:
            if name not in weights:
                raise InputError(f"masks must be named as rewind_weights are, got {name!r}")
        for name, weight in weights.items():
            if weight.dtype.kind not in "fiub":
                raise InputError(
                    f"rewind_weights[{name!r}] must be of a float, integer or bool type of "
                    f"NumPy, got {weight.dtype.name}"
                )
        checked = {
            "masks": check_masks(masks, {name: weights[name] for name in masks}),
            "rewind_weights": weights,
            "provenance": _plain_json(self.provenance),
        }
        for name in ("rewind_epoch", "start_epoch"):
            epoch = getattr(self, name)
            checked[name] = None if epoch is None else check_integer(name, epoch, 0)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights that are zero, over all masks together."""
        return mask_sparsity(self.masks)

    def layers(self) -> list[dict[str, Any]]:
        """Returns per mask, in order: "name", "shape" (list), "kept", "sparsity" (fraction)."""
        return [
            {
                "name": name,
                "shape": list(mask.shape),
                "kept": int(np.count_nonzero(mask)),
                "sparsity": mask_sparsity([mask]),
            }
            for name, mask in self.masks.items()
        ]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the ticket; one that is already there is replaced, other entries are kept.

        `ticket.json` makes the directory a ticket: it is removed first and put back last, so
        an interruption leaves the old ticket, the new one, or none.

        Args:
            directory: Created with its parents where missing.

        Raises:
            InputError: `directory` is a file.
        """
        directory = Path(directory)
        if directory.exists() and not directory.is_dir():
            raise InputError(f"directory must be a directory or a new path, got {directory}")
        directory.mkdir(parents=True, exist_ok=True)
        parent = directory.resolve().parent
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=parent) as scratch:
            bits = map(np.packbits, self.masks.values())
            weights = self.rewind_weights.values()
            hashes = {
                MASKS_FILE: _write_arrays(Path(scratch, MASKS_FILE), bits),
                WEIGHTS_FILE: _write_arrays(Path(scratch, WEIGHTS_FILE), weights),
            }
            record = {
                "schema_version": SCHEMA_VERSION,
                "rewind_epoch": self.rewind_epoch,
                "start_epoch": self.start_epoch,
                "sparsity": self.sparsity,
                "layers": self.layers(),
                "rewind_weights": [
                    {"name": name, "shape": list(weight.shape), "dtype": weight.dtype.name}
                    for name, weight in self.rewind_weights.items()
                ],
                "sha256": hashes,
                "provenance": self.provenance,
            }
            Path(scratch, RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
            (directory / RECORD_FILE).unlink(missing_ok=True)
            for name in (MASKS_FILE, WEIGHTS_FILE, RECORD_FILE):
                os.replace(Path(scratch, name), directory / name)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Ticket":
        """Reads a ticket and checks it: hashes, shapes, types and counts.

        Args:
            directory: Where `save` wrote it.

        Raises:
            InputError: A file is missing or was altered, or a field of `ticket.json` is wrong.
        """
        source = Path(directory, RECORD_FILE)
        record = _read_record(source)
        layers = _entries(source, record, "layers")
        weights = _entries(source, record, "rewind_weights")
        hashes = _get(source, record, "sha256", dict)
        masks = {}
        packed = _read_arrays(Path(directory, MASKS_FILE), hashes, len(layers))
        for (name, layer), bits in zip(layers.items(), packed, strict=True):
            shape = _get(source, layer, "shape", list)
            whole = all(isinstance(length, int) and length >= 0 for length in shape)
            if not whole or bits.nbytes != (math.prod(shape) + 7) // 8:
                expected = f"must fit its {bits.nbytes} bytes of mask"
                raise InputError(f"{source}: shape of layer {name!r} {expected}, got {shape!r}")
            masks[name] = np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)
            kept = int(np.count_nonzero(masks[name]))
            _expect(source, f"kept of layer {name!r}", layer.get("kept"), kept)
        arrays = _read_arrays(Path(directory, WEIGHTS_FILE), hashes, len(weights))
        for (name, weight), array in zip(weights.items(), arrays, strict=True):
            actual = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
            _expect(source, f"entry {name!r} of rewind_weights", weight, actual)
        fields = {
            "rewind_epoch": _get(source, record, "rewind_epoch", int | None),
            "start_epoch": _get(source, record, "start_epoch", int | None),
            "provenance": _get(source, record, "provenance", dict),
        }
        rewind_weights = dict(zip(weights, arrays, strict=True))
        try:
            return cls(masks=masks, rewind_weights=rewind_weights, **fields)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None


def _named_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not isinstance(arrays, Mapping) or not all(isinstance(key, str) for key in arrays):
        raise InputError(f"{name} must map names to arrays, got {type(arrays).__name__}")
    return dict(zip(*unpack(name, arrays), strict=True))


def _plain_json(provenance: dict[str, Any]) -> dict[str, Any]:
    """Returns what `ticket.json` will hold, so that a loaded ticket equals the saved one."""
    if not isinstance(provenance, dict):
        raise InputError(f"provenance must be a dict, got {type(provenance).__name__}")
    try:
        return json.loads(json.dumps(provenance, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance must hold only what JSON can hold, got: {error}") from None


def _write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> str:
    """Writes array i under the key "i", since names hold "/" and ":"; returns the hash."""
    np.savez(path, **{str(index): array for index, array in enumerate(arrays)})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}"
        raise InputError(f"directory must hold a ticket, but {reason}") from None


def _read_arrays(path: Path, hashes: dict[str, str], count: int) -> list[np.ndarray]:
    data = _read(path)
    if (found := hashlib.sha256(data).hexdigest()) != hashes.get(path.name):
        wanted = f"the sha256 {hashes.get(path.name)} that {RECORD_FILE} gives"
        raise InputError(f"{path} must have {wanted}, got {found}: it was altered or cut off")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        if len(archive.files) != count:
            found = len(archive.files)
            raise InputError(f"{path} must hold {count} arrays as {RECORD_FILE} says, got {found}")
        return [archive[str(index)] for index in range(count)]


def _read_record(source: Path) -> dict[str, Any]:
    data = _read(source)
    try:
        record = json.loads(data)
    except ValueError as error:
        raise InputError(f"{source} must be JSON, got: {error}") from None
    version = _get(source, record, "schema_version", int)
    if version != SCHEMA_VERSION:
        raise InputError(f"{source}: schema_version must be {SCHEMA_VERSION}, got {version}")
    return record


def _get(source: Path, record: Any, key: str, kind: type | UnionType) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise InputError(f"{source}: field {key!r} is missing")
    if not isinstance(record[key], kind):
        wanted = getattr(kind, "__name__", kind)
        raise InputError(f"{source}: {key} must be of type {wanted}, got {record[key]!r:.80}")
    return record[key]


def _entries(source: Path, record: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Returns the entries of a list in the record by their names, which must be distinct."""
    entries = _get(source, record, key, list)
    by_name = {_get(source, entry, "name", str): entry for entry in entries}
    if len(by_name) != len(entries):
        raise InputError(f"{source}: names in {key} must be distinct, got one twice")
    return by_name


def _expect(source: Path, what: str, stated: Any, actual: Any) -> None:
    if stated != actual:
        raise InputError(f"{source}: {what} must be {actual!r} as the arrays say, got {stated!r}")
