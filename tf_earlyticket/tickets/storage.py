"""The files of a ticket: written whole or not at all, and refused where anything is wrong.

    ticket.json           names, shapes, sparsity, epochs, provenance, a hash of every other file
    masks.npz             the masks, eight to a byte
    rewind_weights.npz    every weight at the end of the rewind epoch
    final_weights.npz     every weight after training, where the ticket was trained
    saved_model/          the trained sparse network, where it was exported

Reading runs no code from the files and reserves no memory for sizes that they only declare.
"""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.array_files import read_arrays, sha256, write_arrays
from tf_earlyticket.tickets.json_record import expect, get_field, read_record

SCHEMA_VERSION = 2
RECORD_FILE = "ticket.json"
MASKS_FILE = "masks.npz"
REWIND_FILE = "rewind_weights.npz"
FINAL_FILE = "final_weights.npz"
SAVED_MODEL = "saved_model"
_FILES = (MASKS_FILE, REWIND_FILE, FINAL_FILE)
_MAX_NAME = 1000
_MAX_DIMENSIONS = 32


def write_ticket(
    directory: Path,
    *,
    masks: Mapping[str, np.ndarray],
    rewind_weights: Mapping[str, np.ndarray],
    final_weights: Mapping[str, np.ndarray],
    fields: Mapping[str, Any],
    saved_model: Path | None,
) -> None:
    """Writes a ticket; one that is there is replaced, other files are kept.

    `ticket.json` makes the directory a ticket: it is removed first and put back last, so an
    interruption leaves the old ticket, the new one, or none.

    Args:
        directory: Created with its parents where missing.
        masks: Bool arrays by weight name.
        rewind_weights: Arrays by name.
        final_weights: The same names, or empty.
        fields: The other entries of `ticket.json`.
        saved_model: A directory on the same file system, moved into the ticket; None: no
            SavedModel, and one of an earlier ticket is removed.

    Raises:
        InputError: `directory` is a file.
        OSError: A file cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"directory must be a directory or a new path, got {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    parent = directory.resolve().parent
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=parent) as scratch:
        new = Path(scratch)
        write_arrays(new / MASKS_FILE, map(np.packbits, masks.values()))
        write_arrays(new / REWIND_FILE, rewind_weights.values())
        if final_weights:
            write_arrays(new / FINAL_FILE, final_weights.values())
        hashes = {path.name: sha256(path) for path in sorted(new.iterdir())}
        if saved_model is not None:
            hashes |= {f"{SAVED_MODEL}/{name}": sha256(saved_model / name)
                       for name in _files_under(saved_model)}  # fmt: skip
        record = {
            "schema_version": SCHEMA_VERSION,
            **fields,
            "weights": [
                {"name": name, "shape": list(weight.shape), "dtype": weight.dtype.name}
                for name, weight in rewind_weights.items()
            ],
            "sha256": hashes,
        }
        (new / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        (directory / RECORD_FILE).unlink(missing_ok=True)
        for name in _FILES:
            (directory / name).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.replace(new / name, directory / name)
        shutil.rmtree(directory / SAVED_MODEL, ignore_errors=True)
        if saved_model is not None:
            os.replace(saved_model, directory / SAVED_MODEL)
        os.replace(new / RECORD_FILE, directory / RECORD_FILE)


def read_ticket(directory: Path) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Reads the files of a ticket and checks them against each other.

    Returns:
        (arrays, record): arrays are "masks", "rewind_weights" and "final_weights" (empty where
        there are none), by weight name; record is the content of `ticket.json`.

    Raises:
        InputError: A file is missing, damaged, altered or no regular file, or a field of
            `ticket.json` is wrong; the message names it.
    """
    source = directory / RECORD_FILE
    try:
        record = read_record(source, SCHEMA_VERSION)
    except InputError as error:
        raise InputError(f"directory={str(directory)!r} must hold a ticket, but {error}") from None
    _check_hashes(directory, record)
    layers = _entries(source, record, "layers")
    weights = _entries(source, record, "weights")
    packed = _counted(directory / MASKS_FILE, len(layers))
    arrays = {
        "masks": {
            name: _unpacked(source, name, layer, bits)
            for (name, layer), bits in zip(layers.items(), packed, strict=True)
        },
        "rewind_weights": _weights(directory / REWIND_FILE, source, weights),
        "final_weights": {},
    }
    if FINAL_FILE in record["sha256"]:
        arrays["final_weights"] = _weights(directory / FINAL_FILE, source, weights)
    return arrays, record


def _files_under(directory: Path) -> list[str]:
    """Returns the paths of all files, and of links to anything, relative to the directory."""
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    )


def _check_hashes(directory: Path, record: dict[str, Any]) -> None:
    source = directory / RECORD_FILE
    hashes = get_field(source, record, "sha256", dict)
    for name in (MASKS_FILE, REWIND_FILE):
        if name not in hashes:
            raise InputError(f"{source}: sha256 must have an entry for {name}, got none")
    for name, stated in hashes.items():
        parts = PurePosixPath(name).parts
        inside = parts[:1] == (SAVED_MODEL,) and len(parts) > 1 and ".." not in parts
        if name not in _FILES and (not inside or "\\" in name):
            raise InputError(f"{source}: sha256 must name files of the ticket, got {name!r:.200}")
        for folder in PurePosixPath(name).parents:
            if str(folder) != "." and (directory / folder).is_symlink():
                raise InputError(f"{directory / folder} must be a directory, got a link")
        if (found := sha256(directory / name)) != stated:
            wanted = f"the sha256 {stated!r:.80} that {RECORD_FILE} gives"
            raise InputError(
                f"{directory / name} must have {wanted}, got {found}: it was altered or cut off"
            )
    saved = directory / SAVED_MODEL
    for name in _files_under(saved) if saved.is_dir() else ():
        if f"{SAVED_MODEL}/{name}" not in hashes:
            raise InputError(f"{saved / name} must be in sha256 of {RECORD_FILE}, got a file more")


def _entries(source: Path, record: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    """Returns the entries of a list in the record by their names, which must be distinct."""
    entries = get_field(source, record, key, list)
    by_name = {}
    for entry in entries:
        name = get_field(source, entry, "name", str)
        path = PurePosixPath(name)
        plain = name.isprintable() and "\\" not in name and len(name) <= _MAX_NAME
        if not plain or not path.parts or path.is_absolute() or ".." in path.parts:
            raise InputError(
                f"{source}: names in {key} must be those of weights, got {name!r:.200}"
            )
        by_name[name] = entry
    if len(by_name) != len(entries):
        raise InputError(f"{source}: names in {key} must be distinct, got one twice")
    return by_name


def _unpacked(source: Path, name: str, layer: dict[str, Any], bits: np.ndarray) -> np.ndarray:
    shape = get_field(source, layer, "shape", list)
    whole = len(shape) <= _MAX_DIMENSIONS and all(
        isinstance(length, int) and not isinstance(length, bool) and length >= 0 for length in shape
    )
    packed = bits.dtype == np.uint8 and bits.ndim == 1
    if not packed or not whole or bits.nbytes != (math.prod(shape) + 7) // 8:
        expected = f"must fit its {bits.nbytes} bytes of mask"
        raise InputError(f"{source}: shape of layer {name!r} {expected}, got {shape!r:.200}")
    return np.unpackbits(bits, count=math.prod(shape)).view(bool).reshape(shape)


def _weights(path: Path, source: Path, entries: dict[str, dict]) -> dict[str, np.ndarray]:
    arrays = dict(zip(entries, _counted(path, len(entries)), strict=True))
    for name, array in arrays.items():
        actual = {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        expect(source, f"entry {name!r} of weights", entries[name], actual)
    return arrays


def _counted(path: Path, count: int) -> list[np.ndarray]:
    arrays = read_arrays(path)
    if len(arrays) != count:
        raise InputError(
            f"{path} must hold {count} arrays as {RECORD_FILE} says, got {len(arrays)}"
        )
    return arrays
