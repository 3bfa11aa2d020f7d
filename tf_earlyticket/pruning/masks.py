"""Collections of masks and weights: checked, counted, compared.

A collection is a mapping from names to arrays or a sequence of arrays; functions return the same
kind, as a dict or a list. Masks are bool arrays, True = kept.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError, suggestion

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
# A name, or the index in a sequence.
Key = Hashable
Arrays = Mapping[str, Array] | Sequence[Array]
Value = TypeVar("Value")


def unpack(name: str, collection: Arrays) -> dict[Key, Array]:
    """Returns the arrays of a collection, called `name` by the user, by name or index."""
    arrays: dict[Key, Array]
    if isinstance(collection, Mapping):
        arrays = {key: np.asarray(array) for key, array in collection.items()}
    elif isinstance(collection, Sequence) and not isinstance(collection, str | bytes):
        arrays = {index: np.asarray(array) for index, array in enumerate(collection)}
    else:
        raise checks.refuse(name, collection, "a mapping or a sequence of arrays")
    if not arrays:
        raise checks.refuse(name, collection, "at least one array")
    return arrays


def repack(collection: Arrays, values: Mapping[Key, Value]) -> Any:
    """Returns `values`, which are in the order of `collection`, as a dict or a list like it."""
    return dict(values) if isinstance(collection, Mapping) else list(values.values())


def match_masks(name: str, masks: Arrays, other: str, reference: Arrays) -> dict[Key, Mask]:
    """Returns masks as bool arrays in the order of another collection, once all of them fit it.

    `name` and `other` are what the user calls the two; values are bool, or 0 and 1.
    """
    found, wanted = unpack(name, masks), unpack(other, reference)
    if isinstance(masks, Mapping) != isinstance(reference, Mapping):
        kind = "mapping" if isinstance(reference, Mapping) else "sequence"
        raise checks.refuse(name, masks, f"a {kind}, as {other} is")
    for key in wanted:
        if key not in found:
            raise checks.refuse(name, list(found), f"an entry {key!r}, as {other} has")
    for key in found:
        if key not in wanted:
            error = checks.refuse(name, list(found), f"no entry {key!r}, which {other} lacks")
            raise InputError(f"{error}{suggestion(str(key), map(str, wanted))}")
    matched = {key: found[key] for key in wanted}
    for key, mask in matched.items():
        if mask.shape != wanted[key].shape:
            expected = f"{wanted[key].shape}, as in {other}"
            raise checks.refuse(f"{name}[{key!r}].shape", mask.shape, expected)
        if mask.dtype != np.bool_ and not ((mask == 0) | (mask == 1)).all():
            raise checks.refuse(f"{name}[{key!r}]", mask, "only 0 and 1 (1 = kept)")
    return {key: mask.astype(bool, copy=False) for key, mask in matched.items()}


def check_masks(masks: Arrays, weights: Arrays) -> Any:
    """Returns masks of the given weights as bool arrays, in the order of the weights.

    Raises:
        InputError: A name is missing or unknown, a shape differs, or a value is not 0 or 1.
    """
    return repack(weights, match_masks("masks", masks, "weights", weights))


def kept_count(total: int, sparsity: float) -> int:
    """Returns how many of `total` weights are kept: `round((1 - sparsity) * total)`.

    Computed with Python numbers: float32 is off by one for tens of millions of weights.

    Args:
        total: Number of weights, >= 0.
        sparsity: Fraction to prune, in [0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    sparsity = checks.number("sparsity", sparsity, low=0, below=1)
    return round((1 - sparsity) * checks.integer("total", total, 0))


def mask_sparsity(masks: Arrays) -> float:
    """Returns the fraction of pruned weights over all tensors together, in [0, 1].

    Args:
        masks: Collection of bool or 0/1 arrays, 1 = kept.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """
    return _share([~mask for mask in _own_masks("masks", masks).values()])


def is_kernel(name: str, shape: Sequence[int | None]) -> bool:
    """Tells whether a weight of a network could be pruned: it has two axes and is no bias."""
    return len(shape) > 1 and name.rpartition("/")[2] != "bias"


def network_sparsity(
    masks: Mapping[str, Array], shapes: Mapping[str, Sequence[int | None]]
) -> float:
    """Returns which part of all kernels of a network masks prune, a fraction.

    Args:
        masks: Bool arrays by the weight's name, True = kept.
        shapes: Of every weight of the network by name.
    """
    pruned = sum(mask.size - int(np.count_nonzero(mask)) for mask in masks.values())
    kernels = sum(
        # Some variables of statistics have a free axis.
        math.prod(length or 0 for length in shape)
        for name, shape in shapes.items()
        if is_kernel(name, shape)
    )
    return pruned / max(kernels, 1)


def sparsity_in_words(sparsity: float, network: float | None) -> str:
    """Returns a sparsity in percent, of all kernels of the network beside it where it is known."""
    # 100.0 % would say that nothing is left.
    own, whole = (
        f"{100 * (min(share, 0.999) if share < 1 else share):.1f} %"
        for share in (sparsity, network or 0.0)
    )
    return own if network is None else f"{own} ({whole} of all kernels)"


def layer_sparsity(masks: Arrays) -> Any:
    """Returns the fraction of pruned weights of each tensor, in [0, 1] (0 if it is empty).

    Args:
        masks: Collection of bool or 0/1 arrays, 1 = kept.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """
    found = _own_masks("masks", masks)
    return repack(masks, {key: _share([~mask]) for key, mask in found.items()})


def mask_distance(a: Arrays, b: Arrays) -> float:
    """Returns the normalised Hamming distance of two mask collections (paper, Fig. 3).

    Args:
        a: Collection of bool or 0/1 arrays, 1 = kept.
        b: The same kind of collection, with the same names or length, and equal shapes.

    Returns:
        Fraction of all positions at which the masks differ, in [0, 1].

    Raises:
        InputError: A collection is empty, they do not match, or a value is not 0 or 1.
    """
    masks = _own_masks("a", a)
    others = match_masks("b", b, "a", a)
    return _share([masks[key] != others[key] for key in masks])


def _own_masks(name: str, masks: Arrays) -> dict[Key, Mask]:
    return match_masks(name, masks, name, masks)


def _share(flags: Sequence[Mask]) -> float:
    """Returns the fraction that is True, over all arrays together; 0 of nothing."""
    total = sum(flag.size for flag in flags)
    return sum(int(np.count_nonzero(flag)) for flag in flags) / total if total else 0.0
