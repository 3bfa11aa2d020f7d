"""JSON records from untrusted files: read within limits, each field checked when it is used."""

import json
from pathlib import Path
from types import UnionType
from typing import Any

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.array_files import read_regular_file

_MAX_BYTES = 1 << 26


def read_record(source: Path, schema_version: int) -> dict[str, Any]:
    """Returns the content of a JSON file, its `schema_version` checked, the rest not.

    Raises:
        InputError: If it is missing, too large, no JSON object or of another version.
    """
    data = read_regular_file(source, _MAX_BYTES)
    try:
        record = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} must be JSON, got: {error}") from None
    version = get_field(source, record, "schema_version", int)
    if version != schema_version:
        raise InputError(f"{source}: schema_version must be {schema_version}, got {version}")
    return record


def get_field(source: Path, record: Any, key: str, kind: type | UnionType) -> Any:
    """Returns a field of a record.

    Raises:
        InputError: If it is missing or of another type.
    """
    if not isinstance(record, dict) or key not in record:
        raise InputError(f"{source}: field {key!r} is missing")
    value = record[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = getattr(kind, "__name__", kind)
        raise InputError(f"{source}: {key} must be of type {wanted}, got {value!r:.80}")
    return value


def expect(source: Path, what: str, stated: Any, actual: Any) -> None:
    """Checks what a record states against what the arrays say.

    Raises:
        InputError: If they differ.
    """
    if stated != actual:
        raise InputError(
            f"{source}: {what} must be {actual!r} as the arrays say, got {stated!r:.200}"
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")
