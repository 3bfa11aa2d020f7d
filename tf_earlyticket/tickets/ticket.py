"""The ticket (s, v): mask m_s, and the weights w_v it is trained from."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.pruning.masks import check_masks, mask_sparsity, network_sparsity
from tf_earlyticket.tickets.storage import (
    MASKED_MODEL,
    PIXELS,
    RECORD_FILE,
    SAVED_MODEL,
    Array,
    Arrays,
    Layer,
    Pictures,
    Places,
    read_ticket,
    write_ticket,
)

_MAX_NAME = 1000
# The header of a safetensors file keeps this name for itself.
_RESERVED_NAME = "__metadata__"


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
        input: The pictures that the network takes; None: unknown, or none.
        channels: Of a ticket of whole channels, the map from the small network, from which those
            that nothing reads are removed, to this one: for each weight that is smaller there, by
            axis, the places that stay, rising int arrays. Empty: nothing is removed.

    Raises:
        InputError: Masks and weights do not fit together, or a field cannot be stored.
    """

    masks: Arrays = field(repr=False)
    rewind_weights: Arrays = field(repr=False)
    rewind_epoch: int | None
    start_epoch: int | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    final_weights: Arrays = field(default_factory=dict, repr=False)
    input: Pictures | None = None
    channels: dict[str, dict[int, Array]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Checks the fields and brings them to the types they are documented to have."""
        weights = _numbers("rewind_weights", self.rewind_weights)
        given = _named_arrays("masks", self.masks)
        for name in given:
            checks.choice("a name in masks", name, weights)
        masks: Any = check_masks(given, {name: weights[name] for name in given})
        final: Arrays = {}
        # None at all is what a ticket has that was never trained.
        if not isinstance(self.final_weights, Mapping) or self.final_weights:
            final = _numbers("final_weights", self.final_weights)
            _check_final(final, weights, masks)
        checked: dict[str, Any] = {
            "masks": masks,
            "rewind_weights": weights,
            "final_weights": final,
            "provenance": _plain_json(self.provenance),
            "channels": _checked_channels(self.channels, weights),
        }
        for name in ("rewind_epoch", "start_epoch"):
            epoch = getattr(self, name)
            checked[name] = None if epoch is None else checks.integer(name, epoch, 0)
        if self.input is not None:
            checked["input"] = _checked_pictures(self.input)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def sparsity(self) -> float:
        """Fraction of prunable weights that are zero, over all masks together."""
        return mask_sparsity(self.masks)

    @property
    def network_sparsity(self) -> float:
        """Fraction of all kernels of the network (weights with two or more axes) pruned."""
        shapes = {name: weight.shape for name, weight in self.rewind_weights.items()}
        return network_sparsity(self.masks, shapes)

    def layers(self) -> list[dict[str, Any]]:
        """Returns per mask, in order: "name", "shape" (list), "kept", "sparsity" (fraction)."""
        return [asdict(Layer.of(name, mask)) for name, mask in self.masks.items()]

    def small(self) -> "Ticket":
        """Returns the ticket of the network without its removed channels; itself if it has none.

        Its weights have the names and shapes of `et.remove_channels(model)`.
        """
        if not self.channels:
            return self
        masks, rewind, final = (
            {name: self._cut(name, array) for name, array in arrays.items()}
            for arrays in (self.masks, self.rewind_weights, self.final_weights)
        )
        return replace(self, masks=masks, rewind_weights=rewind, final_weights=final, channels={})

    def _cut(self, name: str, array: Array) -> Array:
        for axis, places in self.channels.get(name, {}).items():
            array = np.take(array, places, axis)
        return array

    def save(
        self,
        directory: str | os.PathLike[str],
        *,
        saved_model: str | os.PathLike[str] | None = None,
        masked_model: str | os.PathLike[str] | None = None,
    ) -> None:
        """Writes the ticket; one that is already there is replaced, other entries are kept.

        An interruption leaves the old ticket, the new one, or none.

        Args:
            directory: Created with its parents where missing.
            saved_model: Directory of the trained network as a SavedModel, on the same file
                system; it is moved into the ticket. None: the ticket has none.
            masked_model: The same of the network with the channels that `saved_model` is without.

        Raises:
            InputError: `directory` is a file.
        """
        write_ticket(
            Path(directory),
            masks=self.masks,
            rewind_weights=self.rewind_weights,
            final_weights=self.final_weights,
            rewind_epoch=self.rewind_epoch,
            start_epoch=self.start_epoch,
            provenance=self.provenance,
            input=self.input,
            channels=[
                Places(name, axis, places.tolist())
                for name, axes in self.channels.items()
                for axis, places in axes.items()
            ],
            networks={
                name: Path(network)
                for name, network in ((SAVED_MODEL, saved_model), (MASKED_MODEL, masked_model))
                if network is not None
            },
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
        arrays, record = read_ticket(Path(directory))
        channels: dict[str, dict[int, Any]] = {}
        for entry in record.channels:
            channels.setdefault(entry.weight, {})[entry.axis] = entry.places
        with checks.prefixed(f"{Path(directory, RECORD_FILE)}: "):
            return cls(
                **arrays,
                rewind_epoch=record.rewind_epoch,
                start_epoch=record.start_epoch,
                provenance=record.provenance,
                input=record.input,
                channels=channels,
            )


def _named_arrays(argument: str, arrays: Mapping[str, Array]) -> Arrays:
    if not isinstance(arrays, Mapping) or not arrays:
        raise checks.refuse(argument, arrays, "arrays by name, at least one")
    for name in arrays:
        path = PurePosixPath(name) if isinstance(name, str) else None
        if (
            path is None
            or not path.parts
            or path.is_absolute()
            or ".." in path.parts
            or not name.isprintable()
            or "\\" in name
            or len(name) > _MAX_NAME
            or name == _RESERVED_NAME
        ):
            raise checks.refuse(f"a name in {argument}", name, "that of a weight, as layer/kernel")
    return {name: np.asarray(array) for name, array in arrays.items()}


def _numbers(argument: str, arrays: Mapping[str, Array]) -> Arrays:
    """Returns named arrays that hold finite numbers."""
    found = _named_arrays(argument, arrays)
    for name, array in found.items():
        where = f"{argument}[{name!r}]"
        if array.dtype.kind not in "fiub":
            accepted = "an array of a float, integer or bool type of NumPy"
            raise checks.refuse(where, array.dtype.name, accepted)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            wrong = array[~np.isfinite(array)]
            raise checks.refuse(where, wrong[0].item(), f"finite numbers, got {wrong.size} others")
    return found


def _check_final(final: Arrays, rewind: Arrays, masks: Arrays) -> None:
    if list(final) != list(rewind):
        different = sorted(set(final) ^ set(rewind)) or list(final)
        raise checks.refuse("final_weights", different, "the names of rewind_weights, in order")
    for name, array in final.items():
        wanted, got = ((a.dtype.name, a.shape) for a in (rewind[name], array))
        if wanted != got:
            expected = f"{wanted} as in rewind_weights"
            raise checks.refuse(f"final_weights[{name!r}]", got, expected)
    for name, mask in masks.items():
        wrong = final[name][~mask & (final[name] != 0)]
        if wrong.size:
            expected = f"0 where the mask prunes, got {wrong.size} others"
            raise checks.refuse(f"final_weights[{name!r}]", wrong[0].item(), expected)


def _checked_pictures(given: Pictures) -> Pictures:
    if not isinstance(given, Pictures):
        raise checks.refuse("input", given, "et.Pictures or None")
    with checks.prefixed("input."):
        lists = {name: _list(name, value) for name, value in vars(given).items()}
        shape = [checks.integer("shape", size, 1) for size in lists["shape"]]
        if len(shape) != 3:
            raise checks.refuse("shape", shape, "height, width and channels")
        mean = [checks.number("mean", value) for value in lists["mean"]]
        deviation = [checks.number("deviation", value, above=0) for value in lists["deviation"]]
        for name, values in (("mean", mean), ("deviation", deviation)):
            if len(values) != shape[-1]:
                raise checks.refuse(name, values, f"{shape[-1]} numbers, one per channel")
        classes = lists["classes"]
        if not classes or not all(isinstance(name, str) for name in classes):
            raise checks.refuse("classes", classes, "names, one for each output")
        if lists["range"] != PIXELS:
            raise checks.refuse("range", lists["range"], f"{PIXELS}, as of bytes")
    return Pictures(shape, mean, deviation, classes)


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise checks.refuse(name, value, "a list")
    return list(value)


def _plain_json(provenance: dict[str, Any]) -> dict[str, Any]:
    """Returns what `ticket.json` will hold, so that a loaded ticket equals the saved one."""
    expected = "a dict of what JSON can hold"
    if not isinstance(provenance, dict):
        raise checks.refuse("provenance", provenance, expected)
    try:
        plain: dict[str, Any] = json.loads(json.dumps(provenance, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise checks.refuse("provenance", provenance, f"{expected}, got: {error!s:.200}") from None
    return plain


def _checked_channels(channels: Any, weights: Arrays) -> dict[str, dict[int, Array]]:
    """Returns the map with arrays of places; each weight keeps at least one along an axis."""
    if not isinstance(channels, Mapping):
        raise checks.refuse("channels", channels, "places by weight and axis")
    found: dict[str, dict[int, Array]] = {}
    for name, axes in channels.items():
        checks.choice("a name in channels", name, weights)
        for axis, given in axes.items():
            where = f"channels[{name!r}][{axis}]"
            checks.integer(f"an axis in channels[{name!r}]", axis, 0, weights[name].ndim - 1)
            places, size = np.asarray(given), weights[name].shape[axis]
            good = places.ndim == 1 and places.dtype.kind in "iu" and 0 < places.size <= size
            if not good or places[0] < 0 or places[-1] >= size or (np.diff(places) <= 0).any():
                raise checks.refuse(where, given, f"rising integers from 0 to {size - 1}")
            found.setdefault(name, {})[axis] = places.astype(np.int64)
    return found
