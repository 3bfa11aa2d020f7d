"""The ticket (s, v): mask m_s, and the weights w_v it is trained from."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import check_masks, mask_sparsity, unpack
from tf_earlyticket.pruning.schedule import check_integer
from tf_earlyticket.tickets.json_record import expect, get_field
from tf_earlyticket.tickets.storage import RECORD_FILE, read_ticket, write_ticket


@dataclass(frozen=True, eq=False)
class Ticket:
    """A sparse structure and the weights to train it from (paper, section 3.1).

    The arrays are held as given, not copied.

    Attributes:
        masks: Bool arrays (True = kept) of the prunable kernels, by the name of the weight.
        rewind_weights: Every weight of the plain model (kernels, biases, BatchNorm) by name, at
            the end of `rewind_epoch`. Float, integer or bool arrays, all finite.
        rewind_epoch: v, in epochs from 1; 0 for the initial weights; None if unknown.
        start_epoch: s, the epoch (from 1) at whose end pruning started; None if unknown.
        provenance: How the ticket came about; anything JSON can hold.
        final_weights: Every weight after training, zero where the masks prune, with the names,
            shapes and types of `rewind_weights`; empty if the ticket was not trained.

    Raises:
        InputError: Masks and weights do not fit together, or a field cannot be stored.
    """

    masks: dict[str, np.ndarray] = field(repr=False)
    rewind_weights: dict[str, np.ndarray] = field(repr=False)
    rewind_epoch: int | None
    start_epoch: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    final_weights: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Checks the fields and brings them to the types they are documented to have."""
        weights = _numbers("rewind_weights", self.rewind_weights)
        masks = _named_arrays("masks", self.masks)
        for name in masks:
            if name not in weights:
                raise InputError(f"masks must be named as rewind_weights are, got {name!r}")
        masks = check_masks(masks, {name: weights[name] for name in masks})
        final = {}
        # None at all is what a ticket has that was never trained.
        if not isinstance(self.final_weights, Mapping) or self.final_weights:
            final = _numbers("final_weights", self.final_weights)
            _check_final(final, weights, masks)
        checked = {
            "masks": masks,
            "rewind_weights": weights,
            "final_weights": final,
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

    def save(
        self, directory: str | os.PathLike[str], *, saved_model: str | os.PathLike | None = None
    ) -> None:
        """Writes the ticket; one that is already there is replaced, other entries are kept.

        An interruption leaves the old ticket, the new one, or none.

        Args:
            directory: Created with its parents where missing.
            saved_model: Directory of the trained network as a SavedModel, on the same file
                system; it is moved into the ticket. None: the ticket has none.

        Raises:
            InputError: `directory` is a file.
        """
        write_ticket(
            Path(directory),
            masks=self.masks,
            rewind_weights=self.rewind_weights,
            final_weights=self.final_weights,
            fields={
                "rewind_epoch": self.rewind_epoch,
                "start_epoch": self.start_epoch,
                "sparsity": self.sparsity,
                "layers": self.layers(),
                "provenance": self.provenance,
            },
            saved_model=None if saved_model is None else Path(saved_model),
        )

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Ticket":
        """Reads a ticket and checks it: hashes of all its files, shapes, types, counts, values.

        Nothing in the files is executed; a SavedModel is hashed, not loaded.

        Args:
            directory: Where `save` or `et.export_ticket` wrote it.

        Raises:
            InputError: A file is missing or was altered, or a field of `ticket.json` is wrong.
        """
        source = Path(directory, RECORD_FILE)
        arrays, record = read_ticket(Path(directory))
        fields = {
            "rewind_epoch": get_field(source, record, "rewind_epoch", int | None),
            "start_epoch": get_field(source, record, "start_epoch", int | None),
            "provenance": get_field(source, record, "provenance", dict),
        }
        try:
            ticket = cls(**arrays, **fields)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None
        for stated, actual in zip(record["layers"], ticket.layers(), strict=True):
            for key, value in actual.items():
                expect(source, f"{key} of layer {actual['name']!r}", stated.get(key), value)
        expect(source, "sparsity", record.get("sparsity"), ticket.sparsity)
        return ticket


def _named_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not isinstance(arrays, Mapping) or not all(isinstance(key, str) for key in arrays):
        raise InputError(f"{name} must map names to arrays, got {type(arrays).__name__}")
    return dict(zip(*unpack(name, arrays), strict=True))


def _numbers(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns named arrays that hold finite numbers."""
    found = _named_arrays(name, arrays)
    for key, array in found.items():
        if array.dtype.kind not in "fiub":
            raise InputError(
                f"{name}[{key!r}] must be of a float, integer or bool type of NumPy, got "
                f"{array.dtype.name}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            wrong = int(np.count_nonzero(~np.isfinite(array)))
            raise InputError(f"{name}[{key!r}] must be finite, got {wrong} NaN or infinite values")
    return found


def _check_final(
    final: Mapping[str, np.ndarray],
    rewind: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> None:
    if list(final) != list(rewind):
        different = sorted(set(final) ^ set(rewind)) or ["the order"]
        raise InputError(f"final_weights must be named as rewind_weights are, got {different[0]!r}")
    for name, array in final.items():
        wanted, got = ((a.dtype.name, a.shape) for a in (rewind[name], array))
        if wanted != got:
            raise InputError(f"final_weights[{name!r}] must be of {wanted}, got {got}")
    for name, mask in masks.items():
        wrong = int(np.count_nonzero(final[name][~mask]))
        if wrong:
            raise InputError(
                f"final_weights[{name!r}] must be 0 where the mask prunes, got {wrong} others"
            )


def _plain_json(provenance: dict[str, Any]) -> dict[str, Any]:
    """Returns what `ticket.json` will hold, so that a loaded ticket equals the saved one."""
    if not isinstance(provenance, dict):
        raise InputError(f"provenance must be a dict, got {type(provenance).__name__}")
    try:
        return json.loads(json.dumps(provenance, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance must hold only what JSON can hold, got: {error}") from None
