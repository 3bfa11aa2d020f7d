"""Arrays in a file: NumPy's `.npz`, read so that nothing but plain numbers can come out of it.

`np.load` trusts what a file declares: sizes of members and of arrays. Here a member is read only
after what it declares was found to fit the bytes that are there.
"""

import hashlib
import io
import math
import os
import stat
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tf_earlyticket.errors import InputError

_CHUNK = 1 << 20
# What parsing a damaged archive or header can raise.
_DAMAGE = (
    zipfile.BadZipFile,
    ValueError,
    TypeError,
    SyntaxError,
    RuntimeError,
    EOFError,
    OverflowError,
    NotImplementedError,
    MemoryError,
    struct.error,
)


def write_arrays(path: Path, arrays: Iterable[np.ndarray]) -> None:
    """Writes array i under the key "i"; uncompressed, since names may hold "/" and ":"."""
    np.savez(path, **{str(index): array for index, array in enumerate(arrays)})


def read_arrays(path: Path) -> list[np.ndarray]:
    """Returns the arrays of a file that `write_arrays` wrote, in its order.

    Raises:
        InputError: If the file is not exactly of that kind, or an array holds other than numbers.
    """
    data = read_regular_file(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if [entry.filename for entry in entries] != [f"{i}.npy" for i in range(len(entries))]:
                raise ValueError("its entries are not 0.npy, 1.npy, ...")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("an entry is compressed")
            if sum(max(entry.file_size, entry.compress_size) for entry in entries) > len(data):
                raise ValueError("its entries declare more bytes than it has")
            return [_array(archive.read(entry)) for entry in entries]
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} must hold arrays of numbers, but {reason:.200}") from None


def _array(member: bytes) -> np.ndarray:
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


def read_regular_file(path: Path, limit: int | None = None) -> bytes:
    """Returns the bytes of a file.

    Raises:
        InputError: If it is a link, no regular file, larger than `limit` bytes, or unreadable.
    """
    size = _regular_size(path)
    if limit is not None and size > limit:
        raise InputError(f"{path} must have at most {limit:,} bytes, got {size:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def sha256(path: Path) -> str:
    """Returns the hash of a file's bytes.

    Raises:
        InputError: As `read_regular_file`.
    """
    _regular_size(path)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _regular_size(path: Path) -> int:
    try:
        found = os.lstat(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{str(path)!r} is the name of no file: {error}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise InputError(f"{path} must be a regular file, got {kind}")
    return found.st_size
