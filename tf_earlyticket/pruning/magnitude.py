"""Exactly the k largest of many millions of magnitudes, in two passes over the weights.

Without the sign bit, floating-point numbers order like their bits read as an integer. A sample
brackets the k-th largest; the first pass counts what lies above the bracket and collects what lies
in it, among which the threshold is then found exactly; the second pass writes the masks. Both work
on pieces that fit the processor's cache, in as many threads as there are cores.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Integer types as wide as the float types. By name, so that bfloat16 works without ml_dtypes.
FLOAT_BITS = {
    "float16": np.int16,
    "bfloat16": np.int16,
    "float32": np.int32,
    "float64": np.int64,
}

_PIECE = 1 << 17  # weights
_SAMPLE = 1 << 16  # weights
# The bracket's half width in standard deviations of a sample's rank.
_DEVIATIONS = 5
_MOST_THREADS = 8


def element_masks(
    weights: Sequence[np.ndarray], kept: int, previous: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Ranks the weights of all tensors by magnitude and keeps exactly the `kept` largest.

    Of equal magnitudes, the earlier in tensor order and flat (C) order is kept.

    Args:
        weights: Finite arrays of any shapes, of types in `FLOAT_BITS`.
        kept: Number of weights to keep over all tensors, at most those left in `previous`.
        previous: Bool masks like `weights`; what they prune stays pruned.

    Returns:
        Bool masks like `weights`, True = kept.
    """
    ranking = _Ranking(weights, previous)
    masks = [np.zeros(weight.shape, dtype=bool) for weight in weights]
    if kept > 0:
        threshold, missing, ties = ranking.threshold(kept)
        flat = [mask.reshape(-1) for mask in masks]
        # All ties or none: then a comparison decides. Else the earlier ones are kept.
        ranking.write_above(threshold - 1 if missing == ties else threshold, flat)
        if missing != ties:
            ranking.add_ties(threshold, missing, flat)
    return masks


class _Ranking:
    """The magnitudes of some tensors as integers, and earlier masks of them."""

    def __init__(self, weights, previous):
        names = {weight.dtype.name for weight in weights}
        if len(names) > 1:
            common = np.float64 if "float64" in names else np.float32
            weights = [weight.astype(common) for weight in weights]
        self._type = FLOAT_BITS[weights[0].dtype.name]
        self._bits = []
        for weight in weights:
            native = np.ascontiguousarray(weight, dtype=weight.dtype.newbyteorder("="))
            self._bits.append(native.reshape(-1).view(self._type))
        self._previous = None
        if previous is not None:
            self._previous = [np.ascontiguousarray(mask).reshape(-1) for mask in previous]
        self._total = sum(bits.size for bits in self._bits)

    def threshold(self, kept: int) -> tuple[int, int, int | None]:
        """Returns the magnitude of rank `kept`, from 1.

        Returns:
            The magnitude as an integer; how many weights of just this magnitude are to be kept;
            how many there are, None if that was not counted.
        """
        everything = (1, np.iinfo(self._type).max)
        for low, high in (self._bracket(kept), everything):
            counted = self._over_pieces(
                lambda pieces, low=low, high=high: self._count(pieces, low, high)
            )
            above = sum(count for count, _ in counted)
            between = np.concatenate([values for _, values in counted])
            cut = above + between.size - kept
            if 0 <= cut < between.size:
                # Masses of equal values make np.partition slow.
                threshold = low if low == high else np.partition(between, cut)[cut]
                larger = above + np.count_nonzero(between > threshold)
                return int(threshold), kept - larger, np.count_nonzero(between == threshold)
        # Fewer than `kept` are not zero, and those are all in `between` of the second bracket.
        return 0, kept - above - between.size, None

    def _bracket(self, kept: int) -> tuple[int, int]:
        """Returns two magnitudes, almost certainly with that of rank `kept` between them."""
        if self._total <= 4 * _SAMPLE:
            return 1, np.iinfo(self._type).max
        chosen = np.sort(np.random.default_rng(0).integers(self._total, size=_SAMPLE))
        sample, start = [], 0
        for index, bits in enumerate(self._bits):
            here = slice(*np.searchsorted(chosen, [start, start + bits.size]))
            places = chosen[here] - start
            values = bits[places] & np.iinfo(self._type).max
            if self._previous is not None:
                values *= self._previous[index][places]
            sample.append(values)
            start += bits.size
        ordered = np.sort(np.concatenate(sample))
        pruned = 1 - kept / self._total
        margin = 1 + _DEVIATIONS * np.sqrt(_SAMPLE * pruned * (1 - pruned))
        places = np.array([pruned * _SAMPLE - margin, pruned * _SAMPLE + margin])
        low, high = ordered[np.clip(places, 0, _SAMPLE - 1).astype(int)]
        # Zero is no magnitude to rank: pruned weights have it too.
        return max(int(low), 1), max(int(high), 1)

    def _count(self, pieces, low: int, high: int) -> tuple[int, np.ndarray]:
        """Returns the number of magnitudes above `high`, and those from `low` to `high`."""
        above, between = 0, [np.empty(0, self._type)]
        for magnitudes, _ in self._magnitudes(pieces):
            over = magnitudes > high
            above += np.count_nonzero(over)
            # Whatever is over `high` is not below `low`.
            between.append(magnitudes[(magnitudes >= low) != over])
        return above, np.concatenate(between)

    def write_above(self, threshold: int, masks: list[np.ndarray]) -> None:
        """Sets the flat masks to where a magnitude is above `threshold`, at least 0."""

        def write(pieces) -> None:
            for magnitudes, (index, part) in self._magnitudes(pieces):
                np.greater(magnitudes, threshold, out=masks[index][part])

        self._over_pieces(write)

    def add_ties(self, threshold: int, missing: int, masks: list[np.ndarray]) -> None:
        """Adds the first `missing` weights of just this magnitude to the flat masks."""
        for index, mask in enumerate(masks):
            if missing == 0:
                return
            same = (self._bits[index] & np.iinfo(self._type).max) == threshold
            if self._previous is not None:
                same &= self._previous[index]
            ties = np.flatnonzero(same)[:missing]
            mask[ties] = True
            missing -= ties.size

    def _magnitudes(self, pieces):
        """Yields the magnitudes of each piece, zero where pruned before, in a reused buffer."""
        buffer = np.empty(_PIECE, self._type)
        for index, part in pieces:
            bits = self._bits[index][part]
            magnitudes = np.bitwise_and(bits, np.iinfo(self._type).max, out=buffer[: bits.size])
            if self._previous is not None:
                np.multiply(magnitudes, self._previous[index][part], out=magnitudes)
            yield magnitudes, (index, part)

    def _over_pieces(self, work: Callable) -> list:
        """Returns the results of `work` on runs of pieces, one run per thread, in order."""
        pieces = [
            (index, slice(start, start + _PIECE))
            for index, bits in enumerate(self._bits)
            for start in range(0, bits.size, _PIECE)
        ]
        threads = min(_cores(), _MOST_THREADS, self._total // (4 * _PIECE))
        if threads <= 1:
            return [work(pieces)]
        ends = np.linspace(0, len(pieces), threads + 1).astype(int)
        runs = [pieces[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(work, runs))


def _cores() -> int:
    # Where a process may use fewer cores than there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
