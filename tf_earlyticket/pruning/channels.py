"""Channels: which slices of which weights belong together, and what a network costs without them.

A channel is made by output slices of kernels, carried along by BatchNorm, biases and depthwise
kernels, and read by input slices of kernels. Where its reading slices are zero it can be taken out,
with the same outputs of the network, whatever is added to it on the way.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tf_earlyticket.pruning.masks import Array, Mask

MAKES, CARRIES, READS = "makes", "carries", "reads"
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Use:
    """Channels along an axis of a weight.

    Attributes:
        weight: Its name.
        axis: From 0.
        role: `MAKES`, `CARRIES` or `READS`.
        channels: Int array [length of the axis], the number of the channel at each place.
    """

    weight: str
    axis: int
    role: str
    channels: Numbers


@dataclass(frozen=True, eq=False)
class Size:
    """A number in a layer's config that counts channels.

    Attributes:
        layer: Name of the layer.
        path: Where it stands: ("filters",), or ("padding", 1, 0).
        channels: Those that it counts.
    """

    layer: str
    path: tuple[str | int, ...]
    channels: Numbers


@dataclass(frozen=True, eq=False)
class Family:
    """Channels that the same weights make, carry and read.

    Attributes:
        makes: Names of the weights whose output slices make them.
        reads: Names of those whose input slices read them.
        channels: Their numbers, int array.
        pinned: Why none of them can be taken out; "" where they can.
    """

    makes: tuple[str, ...]
    reads: tuple[str, ...]
    channels: Numbers
    pinned: str = ""

    @property
    def size(self) -> int:
        """Number of channels."""
        return len(self.channels)

    @property
    def name(self) -> str:
        """That of the first weight that makes them."""
        return (self.makes or self.reads or ("",))[0]


@dataclass(frozen=True)
class Cost:
    """What a layer costs in one example.

    Attributes:
        layer: Its name.
        multiply_adds: Of all its calls; None where they cannot be counted.
        parameters: All its weights, BatchNorm's statistics too.
    """

    layer: str
    multiply_adds: int | None
    parameters: int


@dataclass(frozen=True)
class Amounts:
    """What something comes to, of a layer or a whole network.

    Attributes:
        dense: With all weights; None where it cannot be counted, as for the others.
        masked: With the weights that masks keep.
        removed: Without the channels that nothing reads, which `et.remove_channels` takes out.
    """

    dense: int | None
    masked: int | None
    removed: int | None


@dataclass(frozen=True)
class LayerCost:
    """What a layer costs in one example: multiply-adds of all its calls, and all its weights."""

    name: str
    macs: Amounts
    parameters: Amounts


def total_amounts(amounts: Iterable[Amounts]) -> Amounts:
    """Returns the sums, without what cannot be counted."""
    columns = list(zip(*((a.dense, a.masked, a.removed) for a in amounts), strict=True))
    return Amounts(*(sum(value or 0 for value in column) for column in columns or [()] * 3))


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """The channels of a network, and what its layers cost.

    Attributes:
        shapes: Of every weight, by name, in model order.
        positions: How often each weight that is multiplied with is used in one example, over all
            calls of its layer: a 3x3 kernel on 32x32 pixels 1024 times.
        uncounted: Names of weights with two or more axes whose use cannot be counted.
        products: Multiply-adds of two activations by name of the attention layer, whose weights
            are those of layers inside; None where they cannot be counted.
        uses: Where channels lie in weights; of a channel that is pinned, too.
        sizes: Where layers' configs count them.
        families: All of them, in model order.
    """

    shapes: Mapping[str, tuple[int, ...]]
    positions: Mapping[str, int]
    uncounted: tuple[str, ...]
    products: Mapping[str, int | None]
    uses: tuple[Use, ...]
    sizes: tuple[Size, ...]
    families: tuple[Family, ...]
    _axes: dict[str, list[Use]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        axes: dict[str, list[Use]] = defaultdict(list)
        for use in self.uses:
            axes[use.weight].append(use)
        object.__setattr__(self, "_axes", dict(axes))

    @property
    def channels(self) -> int:
        """Number of all channels."""
        return sum(family.size for family in self.families)

    @property
    def removable(self) -> list[Family]:
        """The families that are not pinned."""
        return [family for family in self.families if not family.pinned]

    @property
    def pinned(self) -> list[Family]:
        """The families that stay whole, with the reason."""
        return [family for family in self.families if family.pinned]

    def everything(self) -> Mask:
        """Returns the choice that keeps all channels: True [channels]."""
        return np.ones(self.channels, bool)

    def kernels(self) -> list[str]:
        """Returns the weights that make or read a channel which can be taken out, in order."""
        free = np.zeros(self.channels, bool)
        for family in self.removable:
            free[family.channels] = True
        found = {u.weight for u in self.uses if u.role != CARRIES and free[u.channels].any()}
        return [name for name in self.shapes if name in found]

    def shape(self, weight: str, kept: Mask | None = None) -> tuple[int, ...]:
        """Returns the shape that a weight has with the channels `kept` [channels] alone."""
        shape = list(self.shapes[weight])
        if kept is not None:
            for use in self._axes.get(weight, ()):
                shape[use.axis] = int(np.count_nonzero(kept[use.channels]))
        return tuple(shape)

    def mask(self, weight: str, kept: Mask) -> Mask:
        """Returns the mask of a weight in which the slices of the other channels are False."""
        mask = np.ones(self.shapes[weight], bool)
        for use in self._axes.get(weight, ()):
            mask &= kept[use.channels].reshape(
                [-1 if a == use.axis else 1 for a in range(mask.ndim)]
            )
        return mask

    def cut(self, weight: str, array: Array, kept: Mask) -> Array:
        """Returns a weight's array without the slices of the other channels."""
        for use in self._axes.get(weight, ()):
            array = np.compress(kept[use.channels], array, axis=use.axis)
        return array

    def places(self, kept: Mask) -> dict[str, dict[int, Numbers]]:
        """Returns where in each weight that is cut its slices lie, by name and axis."""
        found: dict[str, dict[int, Numbers]] = {}
        for use in self.uses:
            if not kept[use.channels].all():
                found.setdefault(use.weight, {})[use.axis] = np.flatnonzero(kept[use.channels])
        return found

    def put_back(self, weight: str, small: Array, whole: Array, kept: Mask) -> Array:
        """Returns a copy of a weight's array `whole` with a `cut` one, `small`, in its places."""
        places = [np.arange(size) for size in self.shapes[weight]]
        for use in self._axes.get(weight, ()):
            places[use.axis] = np.flatnonzero(kept[use.channels])
        whole = whole.copy()
        whole[np.ix_(*places)] = small
        return whole

    def only(self, weights: Iterable[str], reason: str = "is not pruned") -> "ChannelGraph":
        """Returns the graph in which channels stay that another weight makes or reads."""
        allowed = set(weights)

        def limited(family: Family) -> Family:
            for weight in (*family.makes, *family.reads):
                if weight not in allowed and not family.pinned:
                    return replace(family, pinned=f"{weight} {reason}")
            return family

        return replace(self, families=tuple(limited(family) for family in self.families))

    def multiply_adds(
        self, kept: Mask | None = None, masks: Mapping[str, Array] | None = None
    ) -> int:
        """Returns the multiply-adds of one example, of the layers that can be counted.

        Args:
            kept: Bool [channels], those that are left; None: all.
            masks: Masks by weight; only weights that they keep count.
        """
        of_weights = sum(
            positions * _elements(self.shape(name, kept), (masks or {}).get(name))
            for name, positions in self.positions.items()
        )
        return of_weights + sum(count or 0 for count in self.products.values())

    def parameters(self, kept: Mask | None = None, masks: Mapping[str, Array] | None = None) -> int:
        """Returns the number of all weights; arguments as for `multiply_adds`."""
        return sum(
            _elements(self.shape(name, kept), (masks or {}).get(name)) for name in self.shapes
        )

    def costs(
        self, kept: Mask | None = None, masks: Mapping[str, Array] | None = None
    ) -> list[Cost]:
        """Returns what each layer with weights or products costs; arguments as above."""
        found: dict[str, list[Any]] = {}
        for name in self.shapes:
            elements = _elements(self.shape(name, kept), (masks or {}).get(name))
            layer = name.rpartition("/")[0]
            holder = layer.rpartition("/")[0]
            if holder in self.products:
                found.setdefault(holder, [self.products[holder], 0])
            cost = found.setdefault(layer, [0, 0])
            cost[1] += elements
            if name in self.uncounted:
                cost[0] = None
            elif cost[0] is not None:
                cost[0] += elements * self.positions.get(name, 0)
        return [Cost(layer, *cost) for layer, cost in found.items()]

    def layer_costs(self, kept: Mask, masks: Mapping[str, Array]) -> list[LayerCost]:
        """Returns what each layer costs: whole, with masks, and with the channels `kept` alone."""
        compared = zip(self.costs(), self.costs(masks=masks), self.costs(kept), strict=True)
        return [
            LayerCost(
                ways[0].layer,
                Amounts(*(way.multiply_adds for way in ways)),
                Amounts(*(way.parameters for way in ways)),
            )
            for ways in compared
        ]

    def without_readers(self, weights: Mapping[str, Array]) -> Mask:
        """Returns which channels [channels] to keep: all that are pinned or that something reads.

        Of each axis of a weight at least one channel is kept.

        Args:
            weights: Every weight by name; those of zero do not read.
        """
        reading = [(use, weights[use.weight] != 0) for use in self.uses if use.role == READS]
        kept = self.everything()
        free = [family.channels for family in self.removable]
        while True:
            read = np.zeros(self.channels, bool)
            for use, nonzero in reading:
                # What only channels read that are gone themselves, is not read.
                live = nonzero & self.mask(use.weight, kept)
                others = tuple(axis for axis in range(live.ndim) if axis != use.axis)
                np.logical_or.at(read, use.channels, live.any(axis=others))
            found = self.everything()
            for channels in free:
                found[channels] = read[channels]
            self._keep_one(found, kept)
            if (found == kept).all():
                return kept
            kept = found

    def _keep_one(self, found: Mask, before: Mask) -> None:
        for use in self.uses:
            if not found[use.channels].any():
                # Of those that were there: what another one reads may be gone by now.
                found[use.channels[before[use.channels]][0]] = True

    def revived(self, weights: Mapping[str, Array], kept: Mask) -> dict[str, int]:
        """Returns how many weights, by name, read channels that are not kept and are not zero."""
        found = {}
        for use in self.uses:
            if use.role == READS:
                array = self.cut_others(use, weights[use.weight], kept)
                slices = np.compress(~kept[use.channels], array, axis=use.axis)
                if count := int(np.count_nonzero(slices)):
                    found[use.weight] = count
        return found

    def cut_others(self, use: Use, array: Array, kept: Mask) -> Array:
        """Returns a weight's array cut along all its axes but that of `use`."""
        for other in self._axes.get(use.weight, ()):
            if other is not use:
                array = np.compress(kept[other.channels], array, axis=other.axis)
        return array


def _elements(shape: tuple[int, ...], mask: Array | None) -> int:
    return int(np.prod(shape, dtype=np.int64)) if mask is None else int(np.count_nonzero(mask))


class ChannelBuilder:
    """Collects what is known of channels while a network is walked, and joins what is the same."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._reasons: dict[int, str] = {}
        self._uses: dict[tuple[str, int], tuple[str, Numbers]] = {}
        self._sizes: dict[tuple[str, tuple[str | int, ...]], Numbers] = {}

    def new(self, count: int) -> Numbers:
        """Returns the numbers [count] of new channels."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, a: Numbers, b: Numbers) -> None:
        """Makes channels of two arrays of one length the same, place by place."""
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            one, other = self._root(one), self._root(other)
            # The earlier number stays, so that families come in model order.
            self._parents[max(one, other)] = min(one, other)

    def pin(self, channels: Numbers, reason: str) -> None:
        """Says why channels must stay; the first reason is the one that is told."""
        for channel in channels.tolist():
            self._reasons.setdefault(channel, reason)

    def pin_weight(self, weight: str, reason: str) -> None:
        """Says why all channels that lie along the axes of a weight must stay."""
        for (name, _), (_, channels) in self._uses.items():
            if name == weight:
                self.pin(channels, reason)

    def use(self, weight: str, axis: int, role: str, channels: Numbers) -> None:
        """Says which channels lie along an axis of a weight; those of a second call are joined."""
        known = self._uses.setdefault((weight, axis), (role, channels))
        self.join(known[1], channels)

    def size(self, layer: str, path: tuple[str | int, ...], channels: Numbers) -> None:
        """Says which channels a number in a layer's config counts; of a second call, the same."""
        self.join(self._sizes.setdefault((layer, path), channels), channels)

    def build(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        positions: Mapping[str, int],
        uncounted: Iterable[str] = (),
        products: Mapping[str, int | None] | None = None,
    ) -> ChannelGraph:
        """Returns the graph; arguments as its attributes."""
        roots = np.array([self._root(channel) for channel in range(len(self._parents))], np.int64)
        distinct, number = np.unique(roots, return_inverse=True)
        uses = tuple(
            Use(weight, axis, role, number[channels])
            for (weight, axis), (role, channels) in self._uses.items()
        )
        reasons = ["" for _ in distinct]
        for channel, reason in sorted(self._reasons.items()):
            reasons[number[channel]] = reasons[number[channel]] or reason
        return ChannelGraph(
            dict(shapes),
            dict(positions),
            tuple(uncounted),
            dict(products or {}),
            uses,
            tuple(Size(*key, number[channels]) for key, channels in self._sizes.items()),
            tuple(_families(uses, reasons)),
        )

    def _root(self, channel: int) -> int:
        parents = self._parents
        while parents[channel] != channel:
            parents[channel] = parents[parents[channel]]
            channel = parents[channel]
        return channel


def _families(uses: Iterable[Use], reasons: list[str]) -> Iterable[Family]:
    places: list[list[tuple[str, str]]] = [[] for _ in reasons]
    for use in uses:
        for channel in np.unique(use.channels):
            places[channel].append((use.role, use.weight))
    alike = defaultdict(list)
    for channel, reason in enumerate(reasons):
        alike[tuple(places[channel]), reason].append(channel)
    for (used, reason), channels in alike.items():
        makes, reads = (
            tuple(weight for role, weight in used if role == wanted) for wanted in (MAKES, READS)
        )
        # Such as a constant, which no weight makes or reads.
        pinned = reason or ("" if makes and reads else "no weight makes and reads it")
        yield Family(makes, reads, np.array(channels), pinned)
