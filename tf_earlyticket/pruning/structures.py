"""Structures: which weights live or die together, as units that a criterion ranks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks
from tf_earlyticket.pruning.masks import Array, Key, Mask

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


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([array.ravel() for array in arrays])


def _parts(flat: Mask, sizes: Sequence[int]) -> list[Mask]:
    return np.split(flat, np.cumsum(sizes)[:-1])
