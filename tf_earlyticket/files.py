"""Files: written whole or not at all, and read without trust. The only module that does either.

What is written goes under a temporary name beside its place, is brought to the disk, and is then
renamed; so a reader, a kill, a full disk or a power loss finds the old content or the new one.
Arrays are kept in the safetensors format, in which nothing but numbers can lie.
"""

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from tf_earlyticket.errors import InputError

Record = TypeVar("Record")

_CHUNK = 1 << 20
_CHECKSUM = "crc32"
_MAX_JSON_BYTES = 1 << 26
# Where a file holds the hash of its own content.
_HASH = "sha256"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says which file it is that cannot be written within a `with` block.

    Raises:
        OSError: For one, with the path and the reason in its message.
    """
    try:
        yield
    except OSError as error:
        # Of what was written on the way, under a temporary name, only the reason is told.
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        raise OSError(f"{path} cannot be written: {cause.strerror or cause}") from cause


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write a file to, which takes the place of `path` at the end.

    Its directory is made where it is missing. If anything fails, nothing of it stays.

    Raises:
        OSError: If it cannot be written; the message names `path`.

    Example:
        >>> with replacing(Path("figure.png")) as temporary:
        ...     figure.savefig(temporary, format="png")
    """
    temporary = _temporary(path)
    with naming(path):
        make_directory(path.parent)
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Gives an empty temporary directory beside `path`, to fill; it is gone after the block.

    What shall stay is moved out of it with `move`, the piece that stands for all others last.

    Raises:
        OSError: If it cannot be written; the message names `path`.
    """
    temporary = _temporary(path)
    with naming(path):
        make_directory(path.parent)
        temporary.mkdir()
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def move(source: Path, target: Path) -> None:
    """Moves a file or directory to its place on the same file system, over what is there."""
    for part in [source, *source.rglob("*")] if source.is_dir() else [source]:
        sync(part)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(source, target)
    sync(target.parent)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def make_directory(path: Path) -> None:
    """Makes a directory with its parents where they are missing, and brings their names to disk."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync(made.parent)


def sync(path: Path) -> None:
    """Brings a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file. If it cannot be written, the OSError names it, and an older one stays."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as JSON; a ValueError for NaN and infinity, which are not."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Returns what `write_json` writes."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Writes values as JSON, with a hash of them that `read_sealed` checks."""
    write_json(path, {**values, _HASH: _hash_of_values(values)})


def read_sealed(path: Path) -> dict[str, Any]:
    """Returns what `write_sealed` wrote.

    Raises:
        InputError: As `read_json`, or if the values are others than those that were written.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a mapping, got a {type(values).__name__}")
    # Files of before had none.
    stated = values.pop(_HASH, None)
    if stated is not None and stated != _hash_of_values(values):
        raise InputError(f"{path} must hold what was written, got other values")
    return values


def _hash_of_values(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as CSV under a header; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays of numbers or bools of any shapes by name.

    bfloat16, which NumPy does not have by itself, is kept in float32, where its values fit. A
    checksum is kept with them, so that damage is noticed when they are read.
    """
    plain = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.kind == "V" or array.dtype.name == "bfloat16":
            array = array.astype(np.float32)
        # The format takes the bytes as they lie in memory.
        plain[name] = np.asarray(array, order="C")
    with replacing(path) as temporary:
        # Not the library's own writing: it has other errors for a full disk.
        temporary.write_bytes(safetensors.numpy.save(plain, {_CHECKSUM: _checksum(plain)}))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns what `write_arrays` wrote, by name; not in the order written.

    Raises:
        InputError: If it is missing, damaged, or no such file.
    """
    content = read_bytes(path)
    try:
        views = safetensors.numpy.load(content)
        for view in views.values():
            if view.dtype.kind == "b" and view.size and view.view(np.uint8).max() > 1:
                raise ValueError("an array of bools holds other bytes than 0 and 1")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        # Files of earlier versions have none.
        stated = header.get("__metadata__", {}).get(_CHECKSUM)
        if stated is not None and stated != _checksum(views):
            raise ValueError("its checksum is another one: it was damaged after it was written")
        return {name: view.copy() for name, view in views.items()}
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} must hold arrays of numbers, but {error!s:.200}") from None


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of an uncompressed .npz file of NumPy, by name, in the order written.

    `np.load` trusts the sizes that a file declares. Here a member is read only after what it
    declares was found to fit the bytes that are there. Damage may change which arrays there are,
    not their values: compare the names with those that you expect.

    Raises:
        InputError: If it is missing, damaged, or no such file.
    """
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename.removesuffix(".npy") for entry in entries]
            if len(set(names)) != len(names):
                raise ValueError("two of its entries have one name")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("an entry is compressed")
            if sum(max(entry.file_size, entry.compress_size) for entry in entries) > len(data):
                raise ValueError("its entries declare more bytes than it has")
            arrays = (_npy_array(archive.read(entry)) for entry in entries)
            return dict(zip(names, arrays, strict=True))
    # What parsing a damaged archive or header can raise.
    except (zipfile.BadZipFile, ValueError, TypeError, SyntaxError, RuntimeError, EOFError,
            OverflowError, MemoryError, struct.error) as error:  # fmt: skip
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} must hold arrays of numbers, but {reason:.200}") from None


def _npy_array(member: bytes) -> np.ndarray:
    stream = io.BytesIO(member)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array has a format other than version 1.0")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    start = stream.tell()
    if dtype.kind not in "fiub":
        raise ValueError(f"an array is of type {dtype}")
    if math.prod(shape) * dtype.itemsize != len(member) - start:
        raise ValueError(f"an array declares shape {shape}, its bytes are {len(member) - start}")
    flat = np.frombuffer(member, dtype, offset=start)
    if dtype.kind == "b" and flat.size and flat.view(np.uint8).max() > 1:
        raise ValueError("an array of bools holds other bytes than 0 and 1")
    array = flat.reshape(shape, order="F" if by_columns else "C")
    return array.astype(dtype.newbyteorder("="))


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the CRC-32 of names, types, shapes and values."""
    found = 0
    for name, array in sorted(arrays.items()):
        # As they lie in the file, where a scalar has no axis either.
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        found = zlib.crc32(f"{name} {native.dtype.name} {array.shape}".encode(), found)
        found = zlib.crc32(np.ascontiguousarray(native).view(np.uint8).data, found)
    return f"{found:08x}"


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Returns the content of a regular file.

    Raises:
        InputError: If it is a link, no regular file, larger than `limit` bytes, or unreadable.
    """
    size = _regular_size(path)
    if limit is not None and size > limit:
        raise InputError(f"{path} must have at most {limit:,} bytes, got {size:,}")
    with _readable(path):
        return path.read_bytes()


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file; NaN and infinity are refused.

    Raises:
        InputError: If it is missing, too large or not JSON.
    """
    content = read_bytes(path, _MAX_JSON_BYTES)
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} must be JSON, got: {error!s:.200}") from None


def read_record(path: Path, kind: type[Record]) -> Record:
    """Returns the content of a JSON file as an object of a dataclass, its types checked.

    Entries that the dataclass does not have are passed over.

    Raises:
        InputError: As `read_json`, or if a field is missing or of another type; it is named.
    """
    content = read_json(path)
    try:
        return msgspec.convert(content, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error!s:.200}") from None


def typed(values: Any, kind: type[Record]) -> Record:
    """Returns plain values, as of JSON, as an object of a type; unknown entries are passed over.

    Raises:
        ValueError: If an entry is missing or of another type.
    """
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except msgspec.ValidationError as error:
        # Which is a ValueError in later versions of msgspec only.
        raise ValueError(f"it is of another form: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def sha256(path: Path) -> str:
    """Returns the hash of a regular file's bytes; errors as for `read_bytes`."""
    _regular_size(path)
    digest = hashlib.sha256()
    with _readable(path), open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _regular_size(path: Path) -> int:
    try:
        with _readable(path):
            found = os.lstat(path)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r} is the name of no file: {error}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise InputError(f"{path} must be a regular file, got {kind}")
    return found.st_size


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
