"""Tickets as they were written before schema version 3: arrays in .npz files, by their places."""

import json
from pathlib import Path

import numpy as np

from tf_earlyticket.files import sha256
from tf_earlyticket.tickets.ticket import Ticket


def write_old_ticket(ticket: Ticket, directory: Path, saved_model: Path | None = None) -> None:
    ticket.save(directory, saved_model=saved_model)
    record = json.loads((directory / "ticket.json").read_text())
    kinds = {
        "masks": [np.packbits(mask) for mask in ticket.masks.values()],
        "rewind_weights": ticket.rewind_weights.values(),
        "final_weights": ticket.final_weights.values(),
    }
    for kind, arrays in kinds.items():
        (directory / f"{kind}.safetensors").unlink(missing_ok=True)
        record["sha256"].pop(f"{kind}.safetensors", None)
        if arrays:
            write_old_arrays(directory / f"{kind}.npz", *arrays)
            record["sha256"][f"{kind}.npz"] = sha256(directory / f"{kind}.npz")
    record["schema_version"] = 2
    (directory / "ticket.json").write_text(json.dumps(record, indent=2) + "\n")


def write_old_arrays(path: Path, *arrays: np.ndarray) -> None:
    np.savez(path, **{str(place): array for place, array in enumerate(arrays)})
