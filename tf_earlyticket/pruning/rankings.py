"""Rankings by name: which weights go first."""

from collections.abc import Callable

import numpy as np

from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.pruning.masks import (
    ArrayCollection,
    Arrays,
    check_masks,
    global_masks,
    layerwise_masks,
    repack,
    unpack,
)

_RANKINGS: dict[str, Callable] = {"global": global_masks, "layerwise": layerwise_masks}
_OWN = tuple(_RANKINGS)


def ranking_names() -> tuple[str, ...]:
    """Returns the names that `ranking=` accepts."""
    return tuple(_RANKINGS)


def check_ranking(name: str) -> None:
    """Checks the name of a ranking.

    Raises:
        InputError: If it is unknown.
    """
    if name not in _RANKINGS:
        raise InputError(
            f"ranking={name!r}: expected one of {', '.join(map(repr, _RANKINGS))}."
            f"{suggestion(str(name), _RANKINGS)}"
        )


def register_ranking(name: str, rank: Callable) -> None:
    """Makes a ranking of your own known by a name, for `ranking=` and `config.pruning.ranking`.

    Args:
        name: A new name; one that was registered before is replaced.
        rank: Called as `global_masks` is, `rank(weights, sparsity, group_size=..., previous=...)`
            with `weights` and `previous` (or None) as dicts of arrays by name. Returns bool masks
            by the same names, True = kept; weights that `previous` prunes must stay pruned.

    Raises:
        InputError: If the name is one of the toolkit's own or `rank` cannot be called.
    """
    if name in _OWN:
        raise InputError(f"name={name!r}: expected another name than {', '.join(_OWN)}.")
    if not callable(rank):
        raise InputError(f"rank is a {type(rank).__name__}: expected a function.")
    _RANKINGS[name] = rank


def compute_masks(
    weights: Arrays,
    sparsity: float,
    *,
    ranking: str = "global",
    group_size: int = 1,
    previous: Arrays | None = None,
) -> ArrayCollection:
    """Returns the masks of the ranking that is named; else as `global_masks`.

    Raises:
        InputError: If `ranking` is unknown, its masks do not fit the weights or bring pruned ones
            back, or as `global_masks`.
    """
    check_ranking(ranking)
    masks = _RANKINGS[ranking](weights, sparsity, group_size=group_size, previous=previous)
    if ranking in _OWN:
        return masks
    masks = check_masks(masks, weights)
    if previous is not None:
        keys, before = unpack("previous", previous)
        for key, old, new in zip(keys, before, unpack("masks", masks)[1], strict=True):
            back = int(np.count_nonzero(new & ~old.astype(bool)))
            if back:
                raise InputError(
                    f"ranking={ranking!r} brings back {back} pruned weights of {key!r}: expected "
                    "masks within the previous ones."
                )
    return repack(weights, unpack("masks", masks)[1])
