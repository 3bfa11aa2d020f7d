"""Structures: which weights live or die together, as units that a criterion ranks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.channels import CARRIES, ChannelGraph, Family
from tf_earlyticket.pruning.masks import Array, Key, Mask, kept_count

# Weights of each unit; one number where all units have as many.
Sizes = int | npt.NDArray[np.int64]


class Structure(ABC):
    """Turns scores of weights into scores of units, and kept units into masks.

    Units are in one fixed order over all tensors together, in which ties are broken: the earlier
    is kept. A unit may have weights of several tensors.
    """

    # Whether each unit lies within one tensor, so that each tensor can be ranked by itself.
    within_tensors: ClassVar[bool] = False

    @abstractmethod
    def units(self, scores: Mapping[Key, Array]) -> tuple[Array, Sizes]:
        """Returns the score [units] of each unit, float, and how many weights it has."""

    @abstractmethod
    def whole(self, masks: Mapping[Key, Mask]) -> Mask:
        """Returns which units [units] have all their weights in the masks."""

    @abstractmethod
    def masks(self, kept: Mask, scores: Mapping[Key, Array]) -> dict[Key, Mask]:
        """Returns the masks, like the scores, in which the units `kept` [units] are left."""

    def protected(
        self, scores: Mapping[Key, Array], previous: Mapping[Key, Mask] | None
    ) -> Mask | None:
        """Returns the units [units] that stay at every sparsity; None: none."""
        return None

    @property
    def fixed_sparsity(self) -> float | None:
        """The sparsity that a pattern has and that pruning ends at; None: any."""
        return None


@dataclass(frozen=True)
class Elements(Structure):
    """Each weight is a unit of its own."""

    within_tensors = True

    def units(self, scores: Mapping[Key, Array]) -> tuple[Array, Sizes]:
        return _joined(list(scores.values())), 1

    def whole(self, masks: Mapping[Key, Mask]) -> Mask:
        return _joined(list(masks.values()))

    def masks(self, kept: Mask, scores: Mapping[Key, Array]) -> dict[Key, Mask]:
        parts = _parts(kept, [score.size for score in scores.values()])
        return {
            key: part.reshape(score.shape)
            for (key, score), part in zip(scores.items(), parts, strict=True)
        }


class TensorStructure(Structure):
    """A structure whose units lie within one tensor; a unit scores the mean of its weights.

    A structure of your own says in one method which weights are together.

    Example:
        >>> class OutputChannels(TensorStructure):
        ...     def unit_numbers(self, shape):
        ...         return np.broadcast_to(np.arange(shape[-1]), shape)
    """

    within_tensors = True

    @abstractmethod
    def unit_numbers(self, shape: tuple[int, ...]) -> npt.NDArray[np.integer]:
        """Returns the unit of each weight of a tensor: numbers from 0, each of which occurs.

        Args:
            shape: Of the tensor, such as [h, w, c_in, c_out]; () of a single number.

        Returns:
            Integer array of that shape.
        """

    def units(self, scores: Mapping[Key, Array]) -> tuple[Array, Sizes]:
        means, counts = [], []
        for score in scores.values():
            numbers, count = self._counted(score.shape)
            means.append(np.bincount(numbers, score.ravel()) / count)
            counts.append(count)
        sizes = np.concatenate(counts)
        alike = sizes.size > 0 and sizes.min() == sizes.max()
        return np.concatenate(means), int(sizes[0]) if alike else sizes

    def whole(self, masks: Mapping[Key, Mask]) -> Mask:
        found = []
        for mask in masks.values():
            numbers, count = self._counted(mask.shape)
            found.append(np.ones(count.size, bool))
            found[-1][numbers[~mask.ravel()]] = False
        return np.concatenate(found)

    def masks(self, kept: Mask, scores: Mapping[Key, Array]) -> dict[Key, Mask]:
        counted = [self._counted(score.shape) for score in scores.values()]
        parts = _parts(kept, [count.size for _, count in counted])
        return {
            key: part[numbers].reshape(score.shape)
            for (key, score), part, (numbers, _) in zip(scores.items(), parts, counted, strict=True)
        }

    def _counted(
        self, shape: tuple[int, ...]
    ) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.int64]]:
        """Returns the flat unit numbers of a tensor, and how often each occurs."""
        numbers = np.asarray(self.unit_numbers(shape))
        good = numbers.shape == shape and np.issubdtype(numbers.dtype, np.integer)
        if good and numbers.min(initial=0) >= 0:
            counts = np.bincount(numbers.ravel())
            if counts.all():
                return numbers.ravel(), counts
        expected = f"integers of shape {shape}, from 0 on, each of which occurs"
        raise checks.refuse(f"{type(self).__name__}.unit_numbers({shape})", numbers, expected)


@dataclass(frozen=True)
class InputGroups(TensorStructure):
    """Groups along the input channels (paper, appendix B.1, Fig. 7).

    A group is `size` consecutive weights along axis -2 of kernels [..., c_in, c_out], the only
    axis of 1-D tensors. Where the axis does not divide, the last group is short.

    Args:
        size: Weights of a group, >= 1.

    Raises:
        InputError: `size` is out of range.
    """

    size: int = 1

    def __post_init__(self) -> None:
        checks.integer("size", self.size, 1)

    def unit_numbers(self, shape: tuple[int, ...]) -> npt.NDArray[np.integer]:
        """The groups in flat (C) order of an array with one entry for each."""
        if not shape:
            return np.zeros((), int)
        axis = max(len(shape) - 2, 0)
        grouped = (*shape[:axis], -(-shape[axis] // self.size), *shape[axis + 1 :])
        numbers = np.arange(math.prod(grouped)).reshape(grouped)
        return numbers.take(np.arange(shape[axis]) // self.size, axis)


@dataclass(frozen=True)
class OutputGroups(TensorStructure):
    """Blocks of neighbouring output channels at one place of a kernel: "1x4", "1x2".

    A block is `size` consecutive weights along the last axis of kernels [..., c_in, c_out]. Where
    the axis does not divide, the last block is short.

    Args:
        size: Weights of a block, >= 1.

    Raises:
        InputError: `size` is out of range.
    """

    size: int = 1

    def __post_init__(self) -> None:
        checks.integer("size", self.size, 1)

    def unit_numbers(self, shape: tuple[int, ...]) -> npt.NDArray[np.integer]:
        """The blocks in flat (C) order of an array with one entry for each."""
        if not shape:
            return np.zeros((), int)
        grouped = (*shape[:-1], -(-shape[-1] // self.size))
        numbers = np.arange(math.prod(grouped)).reshape(grouped)
        return numbers.take(np.arange(shape[-1]) // self.size, -1)


@dataclass(frozen=True)
class NofM(Elements):
    """At most `n` of every `m` weights along the input channels: "2:4", which GPUs skip.

    A group is `m` consecutive weights along axis -2 of kernels [..., c_in, c_out], the only axis
    of 1-D tensors; the best `n` of each stay. Pruning ends with exactly `n` in every group; where
    the axis does not divide, the last group is short and keeps min(n, its length), so that a layer
    of fewer than `m` channels can end below the pattern's sparsity, 1 - n/m. On the way there the
    other weights go one by one, by the ranking, so that each mask has the sparsity of the schedule.

    Args:
        n: Weights of a group that stay, >= 1.
        m: Weights of a group, > n.

    Raises:
        InputError: A value is out of range.
    """

    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        checks.integer("n", self.n, 1)
        checks.integer("m", self.m, self.n + 1)

    def __str__(self) -> str:
        return f"structure='{self.n}:{self.m}'"

    @property
    def fixed_sparsity(self) -> float:
        """1 - n/m."""
        return 1 - self.n / self.m

    def protected(self, scores: Mapping[Key, Array], previous: Mapping[Key, Mask] | None) -> Mask:
        """The best `n` of each group; of equal ones the earlier."""
        return _joined(
            [
                self._best(score, None if previous is None else previous[key])
                for key, score in scores.items()
            ]
        )

    def _best(self, score: Array, mask: Mask | None) -> Mask:
        if not score.ndim:
            return np.ones((), bool) if mask is None else mask
        along = np.moveaxis(score, max(score.ndim - 2, 0), -1).astype(np.float64)
        # What is pruned and what fills the last group are behind all others.
        if mask is not None:
            along[~np.moveaxis(mask, max(score.ndim - 2, 0), -1)] = -np.inf
        channels = along.shape[-1]
        groups = -(-channels // self.m)
        padding = [(0, 0)] * (along.ndim - 1) + [(0, groups * self.m - channels)]
        along = np.pad(along, padding, constant_values=-np.inf)
        along = along.reshape(*along.shape[:-1], groups, self.m)
        # How many of its group are before each: faster than sorting for the usual few.
        before = np.zeros(along.shape, np.int32)
        for place in range(self.m):
            one = along[..., place : place + 1]
            before += one > along
            before[..., place + 1 :] += one == along[..., place + 1 :]
        best = (before < self.n) & (along > -np.inf)
        best = best.reshape(*best.shape[:-2], groups * self.m)[..., :channels]
        return np.moveaxis(best, -1, max(score.ndim - 2, 0))


@dataclass(frozen=True)
class InMatrices(Structure):
    """Another structure, of kernels whose last two axes are not inputs and outputs.

    A kernel of attention is [c_in, heads, size], of its output [heads, size, c_out]: the structure
    sees [c_in, heads * size] and [heads * size, c_out]. Of a transposed convolution it sees
    [..., c_in, c_out], too.

    Args:
        inner: The structure, of units within tensors.
        shapes: Of each such kernel by name: (c_in, c_out), in the order of its weights.
        inputs_last: Names of kernels [..., c_out, c_in], of transposed convolutions.
    """

    within_tensors = True
    inner: Structure
    shapes: Mapping[Key, tuple[int, int]]
    inputs_last: Collection[Key] = ()

    def __str__(self) -> str:
        return str(self.inner)

    def units(self, scores: Mapping[Key, Array]) -> tuple[Array, Sizes]:
        return self.inner.units(self._seen(scores))

    def whole(self, masks: Mapping[Key, Mask]) -> Mask:
        return self.inner.whole(self._seen(masks))

    def masks(self, kept: Mask, scores: Mapping[Key, Array]) -> dict[Key, Mask]:
        found = self.inner.masks(kept, self._seen(scores))
        return {
            key: self._turned(key, mask).reshape(scores[key].shape) for key, mask in found.items()
        }

    def protected(
        self, scores: Mapping[Key, Array], previous: Mapping[Key, Mask] | None
    ) -> Mask | None:
        seen = None if previous is None else self._seen(previous)
        return self.inner.protected(self._seen(scores), seen)

    @property
    def fixed_sparsity(self) -> float | None:
        """That of the other structure."""
        return self.inner.fixed_sparsity

    def _seen(self, arrays: Mapping[Key, Array]) -> dict[Key, Array]:
        return {
            key: self._turned(key, a.reshape(self.shapes.get(key, a.shape)))
            for key, a in arrays.items()
        }

    def _turned(self, key: Key, array: Array) -> Array:
        return array.swapaxes(-1, -2) if key in self.inputs_last else array


@dataclass(frozen=True)
class Channels(Structure):
    """Whole channels of the network, which can be taken out (`et.remove_channels`).

    A unit is a channel: the slices of the kernels that make it and those that read it. It scores
    the mean over them, each divided by its layer's mean, so that layers can be compared. So many
    channels are kept of each family that all counts are multiples, for speed; then whole steps are
    added while they fit the budget.

    Args:
        of: What the sparsity is a part of: "weights" (of the kernels that are pruned), or "macs",
            the multiply-adds of the network.
        multiple: Of which the number of channels of a family is; None: 8, or 16 where layers
            compute in bfloat16, whose fast kernels need it.
        floor: Part of each family that stays, in (0, 1].
        graph: Of the model; given when it is wrapped.
        final: The sparsity at which a ramp will end; given while it lasts.

    Raises:
        InputError: A value is out of range.
    """

    of: str = "weights"
    multiple: int | None = None
    floor: float = 0.1
    graph: ChannelGraph | None = field(default=None, compare=False, repr=False)
    final: float | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        checks.choice("of", self.of, ("weights", "macs"))
        if self.multiple is not None:
            checks.integer("multiple", self.multiple, 1)
        checks.number("floor", self.floor, above=0, high=1)

    def bound(self, graph: ChannelGraph, multiple: int) -> "Channels":
        """Returns the structure of a model; `multiple` is for users who give none."""
        return replace(self, graph=graph, multiple=self.multiple or multiple)

    @property
    def network(self) -> ChannelGraph:
        """The graph of the model.

        Raises:
            InputError: It was not given one.
        """
        if self.graph is None:
            raise InputError("structure='channels': expected the weights of a wrapped model.")
        return self.graph

    def units(self, scores: Mapping[Key, Array]) -> tuple[Array, Sizes]:
        """Of all channels of the network, pinned ones too."""
        return self._importance(scores, None)

    def whole(self, masks: Mapping[Key, Mask]) -> Mask:
        """A channel is there if something is left of each of its slices."""
        graph = self.network
        found = graph.everything()
        for use in graph.uses:
            if use.role != CARRIES and use.weight in masks:
                others = tuple(a for a in range(masks[use.weight].ndim) if a != use.axis)
                np.logical_and.at(found, use.channels, masks[use.weight].any(axis=others))
        for family in graph.pinned:
            found[family.channels] = True
        return found

    def masks(self, kept: Mask, scores: Mapping[Key, Array]) -> dict[Key, Mask]:
        return {key: self.network.mask(str(key), kept) for key in scores}

    def cost(self, kept: Mask, weights: Mapping[Key, Array]) -> int:
        """Returns what is left of what the sparsity is a part of, in weights or multiply-adds."""
        graph = self.network
        if self.of == "macs":
            return graph.multiply_adds(kept)
        return sum(math.prod(graph.shape(str(key), kept)) for key in weights)

    def sparsity(self, masks: Mapping[Key, Mask]) -> float:
        """Returns the part that masks take away, as the schedule counts it."""
        return 1 - self.cost(self.whole(masks), masks) / self.cost(self.network.everything(), masks)

    def highest_sparsity(self, weights: Mapping[Key, Array]) -> float:
        """Returns the sparsity at which each family is at its floor."""
        order = np.arange(self.network.channels)
        kept = self._counted(order, lambda family: 0, self.network.everything())
        whole = self.network.everything()
        return 1 - self.cost(kept, weights) / self.cost(whole, weights)

    def ranked(
        self,
        scores: Mapping[Key, Array],
        sparsity: float,
        previous: Mapping[Key, Mask] | None,
        *,
        layerwise: bool = False,
    ) -> dict[Key, Mask]:
        """Returns masks of whole channels within the budget of a sparsity.

        Args:
            scores: Of every weight.
            sparsity: Fraction that goes of what `of` says.
            previous: Masks in which channels stay away.
            layerwise: Whether each family keeps the same part of its channels.
        """
        allowed = self.network.everything() if previous is None else self.whole(previous)
        importance, _ = self._importance(scores, previous)
        if layerwise:
            importance = self._within_families(importance, allowed)
        whole = self.cost(self.network.everything(), scores)

        def within(sparsity: float) -> Callable[[Mask], bool]:
            budget = kept_count(whole, sparsity)
            return lambda kept: self.cost(kept, scores) <= budget

        least = None
        if self.final is not None and sparsity < self.final:
            # What goes on the way never comes back, so what the end wants, as far as it is known
            # now, has to stay. Else coarse steps, each taken for a goal in between, add up far
            # beyond the last goal.
            least = self._chosen(importance, allowed, within(self.final))
        kept = self._chosen(importance, allowed, within(sparsity), least)
        masks = self.masks(kept, scores)
        if previous is not None:
            masks = {key: mask & previous[key] for key, mask in masks.items()}
        return masks

    def _importance(
        self, scores: Mapping[Key, Array], masks: Mapping[Key, Mask] | None
    ) -> tuple[Array, Sizes]:
        graph = self.network
        totals, sizes = np.zeros(graph.channels), np.zeros(graph.channels, np.int64)
        for use in graph.uses:
            if use.role == CARRIES or use.weight not in scores:
                continue
            score = scores[use.weight]
            mask = np.ones(score.shape, bool) if masks is None else masks[use.weight]
            others = tuple(axis for axis in range(score.ndim) if axis != use.axis)
            sums = np.sum(score, axis=others, where=mask, dtype=np.float64)
            counts = np.count_nonzero(mask, axis=others)
            if sums.sum() > 0:
                sums = sums * (counts.sum() / sums.sum())
            totals += np.bincount(use.channels, sums, graph.channels)
            np.add.at(sizes, use.channels, counts)
        return totals / np.maximum(sizes, 1), sizes

    def _within_families(self, importance: Array, allowed: Mask) -> Array:
        """Returns the place of each channel in its family, the best 0, as a part of it below 0."""
        places = np.zeros(importance.size)
        for family in self.network.removable:
            order = np.lexsort((-importance[family.channels], ~allowed[family.channels]))
            places[family.channels[order]] = -np.arange(family.size) / family.size
        return places

    def _chosen(
        self,
        importance: Array,
        allowed: Mask,
        fits: Callable[[Mask], bool],
        least: Mask | None = None,
    ) -> Mask:
        # Of equal ones the earlier channel is first.
        order = np.argsort(-importance, kind="stable")
        order = order[allowed[order]]
        rank = np.empty(importance.size, np.int64)
        rank[order] = np.arange(order.size)
        families = self.network.removable
        ranks = {id(f): np.sort(rank[f.channels[allowed[f.channels]]]) for f in families}

        def wanted(family: Family, count: int) -> int:
            fixed = 0 if least is None else int(np.count_nonzero(least[family.channels]))
            return max(fixed, int(np.searchsorted(ranks[id(family)], count)))

        def of_best(count: int) -> Mask:
            return self._counted(order, lambda family: wanted(family, count), allowed)

        # The most channels of one ranking that fit with all counts rounded up ...
        low, high = 0, order.size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(of_best(middle)) else (low, middle - 1)
        kept = of_best(low)
        # ... then steps of single families while they do.
        growing = list(families)
        while growing:
            growing.sort(key=lambda family: self._next(family, rank, kept, allowed))
            grown = []
            for family in growing:
                more = int(np.count_nonzero(kept[family.channels])) + 1
                larger = kept.copy()
                self._keep(larger, family, more, order, allowed)
                if (larger != kept).any() and fits(larger):
                    kept = larger
                    grown.append(family)
            growing = grown
        return kept

    def _next(self, family: Family, rank: Array, kept: Mask, allowed: Mask) -> int:
        """Returns the rank of the best channel of a family that is not kept."""
        left = family.channels[allowed[family.channels] & ~kept[family.channels]]
        return int(rank[left].min()) if left.size else rank.size

    def _counted(self, order: Array, wanted: Callable[[Family], int], allowed: Mask) -> Mask:
        """Returns a choice of so many channels of each family, and all that are pinned."""
        kept = self.network.everything()
        for family in self.network.removable:
            self._keep(kept, family, wanted(family), order, allowed)
        return kept

    def _keep(self, kept: Mask, family: Family, count: int, order: Array, allowed: Mask) -> None:
        """Keeps so many channels of a family, rounded up to a multiple, at least the floor."""
        multiple = self.multiple or 1
        count = max(count, 1, math.ceil(self.floor * family.size))
        count = math.ceil(count / multiple) * multiple
        inside = np.zeros(kept.size, bool)
        inside[family.channels] = True
        ordered = order[inside[order] & allowed[order]]
        kept[family.channels] = False
        kept[ordered[:count]] = True


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays])


def _parts(flat: Mask, sizes: Sequence[int]) -> list[Mask]:
    return np.split(flat, np.cumsum(sizes)[:-1])
