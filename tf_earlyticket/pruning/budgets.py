"""How many weights each layer keeps, where that is not left to one ranking of all."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks
from tf_earlyticket.pruning.masks import Key

Floats = npt.NDArray[np.float64]


def erk_counts(shapes: Mapping[Key, Sequence[int]], total: int) -> dict[Key, int]:
    """Returns how many weights of each tensor are kept: Erdos-Renyi kernel.

    As in RigL (Evci et al., 2020). The density of a tensor is in proportion to the sum of its sides
    over their product, at most 1, so that small layers stay denser. Where `total` is smaller, no
    tensor keeps more.

    Args:
        shapes: Of the tensors, kernels [..., c_in, c_out].
        total: Weights kept of all together, at most as many as there are.

    Returns:
        Counts whose sum is `total`.

    Example:
        >>> erk_counts({"a": (3, 3, 16, 16), "b": (64, 10)}, 1000)
    """
    quotas = {key: float(sum(shape)) for key, shape in shapes.items()}
    return apportioned(quotas, {key: math.prod(shape) for key, shape in shapes.items()}, total)


def balanced_sparsities(
    losses: Mapping[Key, Mapping[float, float]], sizes: Mapping[Key, int], sparsity: float
) -> dict[Key, float]:
    """Returns a sparsity for each layer, so that the largest loss of one pruned alone is smallest.

    Between the measured sparsities losses are taken to be straight lines from zero at 0, and no
    less than at a lower one; beyond the highest that was measured no layer is pruned.

    Args:
        losses: What each layer, pruned alone to a sparsity, costs, such as points of accuracy:
            {layer: {sparsity: loss}}; from `et.sensitivity` by its `losses`.
        sizes: Weights of each layer.
        sparsity: Fraction of all weights together that is to go, in [0, 1).

    Raises:
        InputError: If the measured sparsities do not reach so far.

    Example:
        >>> balanced_sparsities({"a": {0.9: 0.1}, "b": {0.9: 0.4}}, {"a": 100, "b": 100}, 0.5)
    """
    checks.number("sparsity", sparsity, low=0, below=1)
    total = sum(sizes[key] for key in losses)
    curves = {key: _rising(found) for key, found in losses.items()}
    most = sum(sizes[key] * curve[0][-1] for key, curve in curves.items()) / total
    if sparsity > most + 1e-12:
        expected = f"at most {most:.4g}, as far as the losses of single layers were measured"
        raise checks.refuse("sparsity", sparsity, expected)

    def at(loss: float) -> dict[Key, float]:
        return {key: _reached(*curve, loss) for key, curve in curves.items()}

    low, high = 0.0, max(float(curve[1][-1]) for curve in curves.values())
    for _ in range(100):
        middle = (low + high) / 2
        enough = sum(sizes[k] * part for k, part in at(middle).items()) >= sparsity * total
        low, high = (low, middle) if enough else (middle, high)
    below, above = at(low), at(high)
    # Layers jump where more costs nothing: between both the last part is taken evenly.
    pruned_below = sum(sizes[key] * part for key, part in below.items())
    if pruned_below > sparsity * total:
        below, pruned_below = dict.fromkeys(losses, 0.0), 0.0
    pruned_above = sum(sizes[key] * part for key, part in above.items())
    part = 0.0
    if pruned_above > pruned_below:
        part = min(max((sparsity * total - pruned_below) / (pruned_above - pruned_below), 0.0), 1.0)
    return {key: below[key] + part * (above[key] - below[key]) for key in losses}


def _rising(found: Mapping[float, float]) -> tuple[Floats, Floats]:
    """Returns sparsities from 0 and losses that never fall."""
    sparsities = np.array([0.0, *sorted(found)])
    losses = np.maximum.accumulate(np.array([0.0, *(found[key] for key in sorted(found))]))
    return sparsities, losses


def _reached(sparsities: Floats, losses: Floats, loss: float) -> float:
    """Returns the highest sparsity at which no more than a loss is expected."""
    if loss >= losses[-1]:
        return float(sparsities[-1])
    place = int(np.searchsorted(losses, loss, side="right"))
    span = (losses[place] - losses[place - 1], sparsities[place] - sparsities[place - 1])
    return float(sparsities[place - 1] + span[1] * (loss - losses[place - 1]) / span[0])


def budget_counts(
    sparsities: Mapping[Key, float], sizes: Mapping[Key, int], sparsity: float
) -> dict[Key, int]:
    """Returns how many weights of each layer are kept on the way to sparsities of their own.

    Every layer is as far on its way as the whole is; of a higher sparsity no layer keeps more.

    Args:
        sparsities: Where each layer ends, fractions.
        sizes: Weights of each layer, by the same keys.
        sparsity: Of all together, at most what the layers' give.

    Raises:
        InputError: If the keys differ, or the sparsity is higher.
    """
    if set(sparsities) != set(sizes):
        other = sorted(map(str, set(sparsities) ^ set(sizes)))
        expected = f"those of the layers that are pruned; {other[0]!r} is in one of both alone"
        raise checks.refuse("budgets", f"{len(sparsities)} layers", expected)
    total = sum(sizes.values())
    wanted = {key: round(sparsities[key] * size) for key, size in sizes.items()}
    gone = total - round((1 - sparsity) * total)
    most = sum(wanted.values())
    # Each layer was rounded.
    if gone > most + len(sizes):
        raise checks.refuse(
            "sparsity", sparsity, f"at most {most / total:.6g}, that of the budgets"
        )
    removable = {key: count for key, count in wanted.items() if count}
    removed = apportioned({k: float(n) for k, n in removable.items()}, removable, min(gone, most))
    left = gone - min(gone, most)
    kept = {key: size - removed.get(key, 0) for key, size in sizes.items()}
    for key in sorted(kept, key=lambda key: -kept[key])[:left]:
        kept[key] -= 1
    return kept


def apportioned(
    quotas: Mapping[Key, float], sizes: Mapping[Key, int], total: int
) -> dict[Key, int]:
    """Divides a number among keys in proportion to quotas, at most the size of each.

    By the method of the largest next quotient: of a smaller total no key gets more.

    Args:
        quotas: Above 0.
        sizes: The most that a key can get.
        total: From 0 to the sum of the sizes.
    """
    keys = list(sizes)
    quota = np.array([quotas[key] for key in keys], np.float64)
    size = np.array([sizes[key] for key in keys], np.int64)

    def counts(factor: float) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.minimum(size, np.floor(factor * quota).astype(np.int64))

    low, high = 0.0, float((size / quota).max(initial=0.0)) + 1.0
    # Until no more than a few of the largest quotients are left to give.
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if counts(middle).sum() <= total else (low, middle)
    found = counts(low)
    while found.sum() < total:
        quotients = np.where(found < size, quota / (found + 1), -1.0)
        found[int(quotients.argmax())] += 1
    return {key: int(count) for key, count in zip(keys, found, strict=True)}
