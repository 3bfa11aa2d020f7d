"""Compares two runs number for number: shows that a change of the code changes no result.

    python tools/compare_runs.py BEFORE AFTER

Compares the tickets (masks, rewind weights, trained weights, epochs, reason), the report but for
times, versions and the command, the rows of metrics.csv but for seconds, and the weight statistics.
Exit status 0: all equal, bit for bit; 1: the differences are listed. For runs of
`--config.train.deterministic=true` with the same seed, on one machine.
"""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tf_earlyticket.tickets.ticket import Ticket

# What may differ between two runs that computed the same.
TIMES = ("seconds", "environment", "command")
_PASSED_OVER = (*TIMES, "config", "schema_version")
# Of the SavedModels of a family, whose names Keras numbers anew in one process.
SIZES = ("bytes",)


def differences(before: Path, after: Path) -> list[str]:
    """Returns a line for each thing in which two runs differ, none if they are equal."""
    return [
        *_tickets(Ticket.load(before / "ticket"), Ticket.load(after / "ticket")),
        *_values("report", *(_json(run / "report.json") for run in (before, after))),
        *_values("metrics", *(_rows(run / "metrics.csv") for run in (before, after))),
        *_values("weight_std", *(_json(run / "weight_statistics.json") for run in (before, after))),
    ]


def _tickets(before: Ticket, after: Ticket) -> Iterator[str]:
    for kind in ("masks", "rewind_weights", "final_weights"):
        ours, theirs = getattr(before, kind), getattr(after, kind)
        if list(ours) != list(theirs):
            yield f"ticket: {kind} have other names"
            continue
        for name, array in ours.items():
            other = theirs[name]
            if (array.dtype, array.shape) != (other.dtype, other.shape):
                yield f"ticket: {kind} of {name} have another type or shape"
            elif array.tobytes() != other.tobytes():
                count = int(np.count_nonzero(array != other))
                yield f"ticket: {count} of {array.size} {kind} of {name} differ"
    for name in ("rewind_epoch", "start_epoch"):
        yield from _values(f"ticket.{name}", getattr(before, name), getattr(after, name))
    reasons = (ticket.provenance.get("start_reason") for ticket in (before, after))
    yield from _values("ticket.start_reason", *reasons)


def _values(path: str, before, after) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            if key not in _PASSED_OVER:
                # New entries may come; none may go.
                yield from _values(f"{path}.{key}", before[key], after.get(key, "(missing)"))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _values(f"{path}[{place}]", one, other)
    elif before != after:
        yield f"{path}: {before!r:.100} became {after!r:.100}"


def timeless(value, passed_over=TIMES):
    """Returns what was read of a JSON file without those keys, at any depth."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in passed_over}
        return {key: timeless(inner, passed_over) for key, inner in kept.items()}
    return [timeless(inner, passed_over) for inner in value] if isinstance(value, list) else value


def _json(path: Path):
    return json.loads(path.read_text())


def _rows(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def main(arguments: list[str]) -> int:
    """Compares the two runs named on the command line."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    found = differences(*map(Path, arguments))
    for line in found[:40]:
        print(line)
    print(f"{len(found)} differences" if found else "equal, bit for bit")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
