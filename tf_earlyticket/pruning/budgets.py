"""How many weights each layer keeps, where that is not left to one ranking of all."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tf_earlyticket.pruning.masks import Key


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
