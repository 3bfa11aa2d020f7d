"""Mean and spread over seeds, and the division of a list of cells among processes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from tf_earlyticket.errors import InputError

Item = TypeVar("Item")


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Returns "mean", "min", "max", "std" (sample; None for a single value) and "count".

    Raises:
        InputError: There are no values.
    """
    if not len(values):
        raise InputError("values must hold at least one number, got none")
    numbers = np.asarray(values, dtype=np.float64)
    return {
        "mean": float(numbers.mean()),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        "std": float(numbers.std(ddof=1)) if numbers.size > 1 else None,
        "count": int(numbers.size),
    }


def summarize(
    records: Iterable[Mapping[str, Any]], keys: Sequence[str], values: Sequence[str]
) -> list[dict[str, Any]]:
    """Groups records by `keys` and returns the spread of each of `values` in every group.

    Args:
        records: Such as the cells of a grid over several seeds.
        keys: Entries that tell groups apart; the groups come sorted by them.
        values: Entries with numbers.

    Returns:
        Rows with the keys, "seeds" (number of records) and "<value>_mean", "_min", "_max", "_std".
    """
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(tuple(record[key] for key in keys), []).append(record)
    rows = []
    for group in sorted(groups):
        row = {**dict(zip(keys, group, strict=True)), "seeds": len(groups[group])}
        for value in values:
            measured = spread([record[value] for record in groups[group]])
            measured.pop("count")
            row.update({f"{value}_{name}": number for name, number in measured.items()})
        rows.append(row)
    return rows


def parse_shard(text: str) -> tuple[int, int]:
    """Returns (index, count) of a shard such as "0/4", the first of four.

    Raises:
        InputError: If it is of another form, or the index is not below the count.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if index >= count:
        raise InputError(f"shard={text!r}: expected i/n with 0 <= i < n, such as 0/4.")
    return index, count


def shard_of(items: Sequence[Item], index: int, count: int) -> list[Item]:
    """Returns every `count`-th of the items, beginning with the one at `index`, from 0."""
    return list(items[index::count])
