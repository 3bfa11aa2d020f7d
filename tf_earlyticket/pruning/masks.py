"""Masks from weight magnitudes: one ranking over all tensors, or one per tensor.

A collection of weights or masks is a mapping from names to arrays or a sequence of arrays;
functions return the same kind, as a dict or a list. Masks are bool arrays, True = kept.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.pruning.groups import group_masks
from tf_earlyticket.pruning.magnitude import FLOAT_BITS, element_masks
from tf_earlyticket.pruning.schedule import check_integer, check_number

Arrays = Mapping[str, np.ndarray] | Sequence[np.ndarray]
ArrayCollection = dict[str, np.ndarray] | list[np.ndarray]


def unpack(name: str, collection: Arrays) -> tuple[list[Hashable], list[np.ndarray]]:
    """Returns the keys (names or indices) and the arrays of a collection.

    Raises:
        InputError: `collection` (called `name`) is of another kind, or empty.
    """
    if isinstance(collection, Mapping):
        keys, arrays = list(collection), list(collection.values())
    elif isinstance(collection, Sequence) and not isinstance(collection, str | bytes):
        keys, arrays = list(range(len(collection))), list(collection)
    else:
        kind = type(collection).__name__
        raise InputError(f"{name} must be a mapping or a sequence of arrays, got {kind}")
    if not arrays:
        raise InputError(f"{name} must hold at least one array, got {collection!r}")
    return keys, [np.asarray(array) for array in arrays]


def repack(collection: Arrays, items: Sequence[Any]) -> dict[str, Any] | list[Any]:
    """Returns `items`, in the order of `collection`, as a dict or a list like it."""
    if isinstance(collection, Mapping):
        return dict(zip(collection, items, strict=True))
    return list(items)


def kept_count(total: int, sparsity: float) -> int:
    """Returns how many of `total` weights are kept: `round((1 - sparsity) * total)`.

    Computed with Python numbers: float32 is off by one for tens of millions of weights.

    Args:
        total: Number of weights, >= 0.
        sparsity: Fraction to prune, in [0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    sparsity = check_number("sparsity", sparsity, 0, 1)
    return round((1 - sparsity) * check_integer("total", total, 0))


def _check_ranking(
    weights: Arrays, group_size: int, previous: Arrays | None
) -> tuple[list[Hashable], list[np.ndarray], list[np.ndarray] | None]:
    """Returns the keys, the arrays and the earlier masks of a ranking, all checked."""
    check_integer("group_size", group_size, 1)
    keys, arrays = unpack("weights", weights)
    for key, array in zip(keys, arrays, strict=True):
        if array.dtype.name not in FLOAT_BITS:
            accepted = ", ".join(FLOAT_BITS)
            raise InputError(f"weights[{key!r}] must be one of {accepted}, got {array.dtype.name}")
        if not np.isfinite(array).all():
            raise InputError(f"weights[{key!r}] must be finite, got NaN or infinite values")
    matched = None if previous is None else _match("previous", previous, "weights", weights)
    return keys, arrays, matched


def _match(name: str, masks: Arrays, reference_name: str, reference: Arrays) -> list[np.ndarray]:
    """Returns `masks` as bool arrays in the order of `reference`, once all of it fits."""
    keys, arrays = unpack(name, masks)
    wanted_keys, wanted = unpack(reference_name, reference)
    if isinstance(masks, Mapping) != isinstance(reference, Mapping):
        kinds = f"{type(reference).__name__}, got a {type(masks).__name__}"
        raise InputError(f"{name} must be of the same kind as {reference_name}, a {kinds}")
    by_key = dict(zip(keys, arrays, strict=True))
    for key in wanted_keys:
        if key not in by_key:
            raise InputError(f"{name} must have an entry {key!r} as {reference_name} has, got none")
    for key in keys:
        if key not in wanted_keys:
            hint = suggestion(key, map(str, wanted_keys)) if isinstance(key, str) else ""
            raise InputError(f"{name} has an entry {key!r} that {reference_name} lacks.{hint}")
    matched = [by_key[key] for key in wanted_keys]
    for key, mask, array in zip(wanted_keys, matched, wanted, strict=True):
        if mask.shape != array.shape:
            wanted_shape = f"shape {array.shape} it has in {reference_name}"
            raise InputError(f"{name}[{key!r}] must have the {wanted_shape}, got {mask.shape}")
        if mask.dtype != np.bool_ and not ((mask == 0) | (mask == 1)).all():
            raise InputError(f"{name}[{key!r}] must hold only 0 and 1 (1 = kept), got others")
    return [mask.astype(bool, copy=False) for mask in matched]


def check_masks(masks: Arrays, weights: Arrays) -> ArrayCollection:
    """Returns masks of the given weights as bool arrays, in the order of the weights.

    Args:
        masks: Collection of bool or 0/1 arrays (1 = kept). Of the same kind as `weights`, with
            the same names or length, and equal shapes.
        weights: Collection of arrays of any type.

    Raises:
        InputError: A name is missing or unknown, a shape differs, or a value is not 0 or 1.
    """
    return repack(weights, _match("masks", masks, "weights", weights))


def _select(
    arrays: Sequence[np.ndarray],
    sparsity: float,
    group_size: int,
    previous: Sequence[np.ndarray] | None,
    where: str,
) -> list[np.ndarray]:
    kept = kept_count(sum(array.size for array in arrays), sparsity)
    if previous is not None:
        present = sum(np.count_nonzero(mask) for mask in previous)
        # Groups may have left the last mask up to group_size - 1 weights short of its count.
        if kept >= present + group_size:
            raise InputError(
                f"sparsity must not be below the present one{where} ({kept} weights to keep, "
                f"{present} left in previous), got {sparsity!r}"
            )
    if group_size == 1:
        return element_masks(arrays, kept, previous)
    return group_masks(arrays, kept, group_size, previous)


def global_masks(
    weights: Arrays, sparsity: float, *, group_size: int = 1, previous: Arrays | None = None
) -> ArrayCollection:
    """Ranks |w| over all tensors together and keeps the largest (the paper's global sorting).

    Exactly `kept_count(N, sparsity)` of the N weights are kept. Equal magnitudes are ranked by
    tensor order, then by flat (C) order: the earlier is kept. With `group_size` > 1, groups
    are ranked by the mean magnitude of their members (paper, appendix B.1): at most that many
    weights are kept, and fewer than `group_size` below it.

    Args:
        weights: Collection of finite float arrays of any shapes; kernels are
            [..., c_in, c_out].
        sparsity: Fraction to prune, in [0, 1).
        group_size: Consecutive weights along c_in that live or die together, >= 1.
        previous: Masks of an earlier step. Weights they prune stay pruned.

    Returns:
        Bool masks, True = kept, in a collection of the same kind.

    Raises:
        InputError: Weights are missing, not float or not finite, `previous` does not fit them
            or has fewer weights left than `sparsity` keeps, or a number is out of range.
    """
    _, arrays, matched = _check_ranking(weights, group_size, previous)
    return repack(weights, _select(arrays, sparsity, group_size, matched, ""))


def layerwise_masks(
    weights: Arrays, sparsity: float, *, group_size: int = 1, previous: Arrays | None = None
) -> ArrayCollection:
    """Ranks |w| within each tensor and prunes each to the same sparsity (TFMOT's own way).

    Each tensor keeps exactly `kept_count(size, sparsity)` weights with `group_size` 1.
    Arguments and result are those of `global_masks`.

    Raises:
        InputError: As `global_masks`.
    """
    keys, arrays, matched = _check_ranking(weights, group_size, previous)
    masks = []
    for index, (key, array) in enumerate(zip(keys, arrays, strict=True)):
        earlier = None if matched is None else [matched[index]]
        masks += _select([array], sparsity, group_size, earlier, f" of weights[{key!r}]")
    return repack(weights, masks)


def mask_sparsity(masks: Arrays) -> float:
    """Returns the fraction of pruned weights over all tensors together, in [0, 1].

    Args:
        masks: Collection of bool or 0/1 arrays, 1 = kept.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """
    arrays = _match("masks", masks, "masks", masks)
    total = sum(mask.size for mask in arrays)
    kept = sum(np.count_nonzero(mask) for mask in arrays)
    return float((total - kept) / total) if total else 0.0


def layer_sparsity(masks: Arrays) -> dict[str, float] | list[float]:
    """Returns the fraction of pruned weights of each tensor, in [0, 1] (0 if it is empty).

    Args:
        masks: Collection of bool or 0/1 arrays, 1 = kept.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """
    arrays = _match("masks", masks, "masks", masks)
    return repack(masks, [mask_sparsity([mask]) for mask in arrays])


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
    masks_a = _match("a", a, "a", a)
    masks_b = _match("b", b, "a", a)
    total = sum(mask.size for mask in masks_a)
    different = sum(np.count_nonzero(x != y) for x, y in zip(masks_a, masks_b, strict=True))
    return different / total if total else 0.0
