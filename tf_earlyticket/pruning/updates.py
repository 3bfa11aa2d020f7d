"""Mask updates: what becomes of the masks at the steps that the schedule names.

Whatever the update, masks are final when the ramp ends, and weights outside the masks are zero
after every step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.pruning.masks import Array, Key, Mask, kept_count
from tf_earlyticket.pruning.scores import ScoreContext, check_finite
from tf_earlyticket.pruning.select import Criterion, select
from tf_earlyticket.pruning.structures import Elements
from tf_earlyticket.registry import Registry

Masks = Mapping[str, Mask]


class Ramp(Protocol):
    """What updates ask of a schedule: its ends, as steps, and the sparsity between them."""

    @property
    def begin_step(self) -> int: ...

    @property
    def end_step(self) -> int: ...

    def sparsity_at(self, step: int) -> float: ...


def progress(ramp: Ramp, step: int) -> float:
    """Returns which part of a ramp is done at a step, in [0, 1]; 1 of a ramp without length."""
    length = ramp.end_step - ramp.begin_step
    if step >= ramp.end_step:
        return 1.0
    return max(0.0, (step - ramp.begin_step) / length)


@dataclass(frozen=True)
class Update:
    """How masks follow the schedule; what others change is said of `shrink`, this one.

    Attributes:
        grows: Whether pruned weights may return before the ramp's end.
        needs_gradients: Whether it looks at gradients, which takes training data.
        latent: Whether pruned weights go on training, out of sight of the network.
    """

    grows: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    latent: ClassVar[bool] = False

    @property
    def power(self) -> float | None:
        """How softly the network sees latent weights near the threshold; None: as they are."""
        return None

    def check(self, criterion: Criterion) -> None:
        """Checks that masks of a criterion can be updated in this way.

        Raises:
            InputError: If they cannot.
        """
        if self.grows and criterion.of_channels:
            # Nothing flows through a channel whose kernels are zero on both sides.
            name = type(self).__name__.lower()
            raise checks.refuse("update", name, "'shrink' with whole channels")

    def sparsity_at(self, ramp: Ramp, step: int) -> float:
        """Returns the sparsity (fraction) of the masks due at an update step."""
        return ramp.sparsity_at(step)

    def is_done(
        self, criterion: Criterion, sparsity: float, present: Masks, part: float, again: bool
    ) -> bool:
        """Tells whether the present masks are those that are due.

        Args:
            criterion: Which weights are kept.
            sparsity: Due, a fraction.
            present: Masks.
            part: Of the ramp that is done, in [0, 1].
            again: Whether the update may have been made before: a run that goes on asks for it.
        """
        return _is_there(criterion, sparsity, present)

    def masks(
        self,
        criterion: Criterion,
        context: ScoreContext,
        sparsity: float,
        present: Masks,
        part: float,
    ) -> dict[str, Mask]:
        """Returns the masks that are due, bool by name.

        Args:
            criterion: Which weights are kept.
            context: The weights, and what is computed with data.
            sparsity: Due, a fraction.
            present: Masks.
            part: Of the ramp that is done, in [0, 1].

        Raises:
            InputError: As `Criterion.masks`.
        """
        found: dict[str, Mask] = criterion.masks(context, sparsity, present)
        return found


class Shrink(Update):
    """`shrink`: pruned weights never return (paper, eq. 5)."""


@dataclass(frozen=True)
class Alternate(Update):
    """`alternate`: sparse and dense phases by turns (AC/DC, Peste et al. 2021).

    The ramp is divided into phases of one length, the first and the last sparse. In a dense phase
    all weights train; those that were pruned start at zero. A sparse phase ranks all weights anew
    and prunes them to the sparsity of the schedule, which rises within it as usual.

    Attributes:
        turns: Number of sparse phases, >= 1, with a dense one between each two.

    Raises:
        InputError: `turns` is no integer of at least 1.
    """

    turns: int = 3
    grows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.integer("turns", self.turns, 1)

    def sparsity_at(self, ramp: Ramp, step: int) -> float:
        part = progress(ramp, step)
        phase = int(part * (2 * self.turns - 1))
        dense = phase % 2 == 1 and part < 1
        return 0.0 if dense else ramp.sparsity_at(step)

    def is_done(
        self, criterion: Criterion, sparsity: float, present: Masks, part: float, again: bool
    ) -> bool:
        if sparsity == 0:
            return all(mask.all() for mask in present.values())
        return _is_there(criterion, sparsity, present)

    def masks(
        self,
        criterion: Criterion,
        context: ScoreContext,
        sparsity: float,
        present: Masks,
        part: float,
    ) -> dict[str, Mask]:
        if sparsity == 0:
            return {key: np.ones_like(mask) for key, mask in present.items()}
        return super().masks(criterion, context, sparsity, present, part)


@dataclass(frozen=True)
class Swap(Update):
    """`swap`: the weakest kept weights go, pruned ones with large gradients come (as in RigL).

    At each update masks are first pruned to the sparsity that is due. Then each tensor loses a
    part of its kept weights, those that score least, and gets as many back among all that it does
    not keep, those whose gradient is largest; they start at zero. The part falls from `fraction` to
    0 along half a cosine over the ramp (Evci et al. 2020).

    Attributes:
        fraction: Part of the kept weights that is exchanged when the ramp begins, in (0, 1).
        batches: Of training data that gradients are averaged over, >= 1.

    Raises:
        InputError: A value is out of range.
    """

    fraction: float = 0.3
    batches: int = 1
    grows: ClassVar[bool] = True
    needs_gradients: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.number("fraction", self.fraction, above=0, below=1)
        checks.integer("batches", self.batches, 1)

    def check(self, criterion: Criterion) -> None:
        super().check(criterion)
        structure = criterion.structure
        if not structure.within_tensors or structure.fixed_sparsity is not None:
            expected = f"'shrink', 'alternate' or 'regrow' with {structure}"
            raise checks.refuse("update", "swap", expected)

    def is_done(
        self, criterion: Criterion, sparsity: float, present: Masks, part: float, again: bool
    ) -> bool:
        return (again or not 0 < part < 1) and _is_there(criterion, sparsity, present)

    def masks(
        self,
        criterion: Criterion,
        context: ScoreContext,
        sparsity: float,
        present: Masks,
        part: float,
    ) -> dict[str, Mask]:
        # Units of several sizes may have left less than is due by now.
        there = _is_there(criterion, sparsity, present)
        masks = (
            dict(present) if there else super().masks(criterion, context, sparsity, present, part)
        )
        exchanged = self.fraction * (1 + math.cos(math.pi * part)) / 2
        if not 0 < part < 1:
            return masks
        scores, gradients = criterion.score(context), context.gradients(self.batches)
        check_finite("gradients", {key: np.asarray(gradients[key]) for key in masks})
        return {
            key: _exchanged(criterion, key, scores, gradients, mask, exchanged)
            for key, mask in masks.items()
        }


@dataclass(frozen=True)
class Regrow(Update):
    """`regrow`: pruned weights go on training until the ramp ends, and may return.

    A straight-through estimate: the network computes with masked weights, and the gradients there
    move the latent weights behind them, also those that are pruned. At each update masks are ranked
    anew by the latent weights. When the ramp ends, latent values of pruned weights are gone, and
    training goes on as with `shrink`.

    Attributes:
        threshold: "hard": kept weights are seen as they are; "feather": as
            w (1 - (t / |w|)^power), with t the largest magnitude that is pruned in their tensor,
            so that a weight enters and leaves without a jump (Feather, Glentis Georgoulakis et
            al. 2023), or the smallest that is kept, if that is less. For single weights.
        softness: The power of Feather, > 0.

    Raises:
        InputError: A value is out of range.
    """

    threshold: str = "hard"
    softness: float = 3.0
    grows: ClassVar[bool] = True
    latent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.choice("threshold", self.threshold, ("hard", "feather"))
        checks.number("softness", self.softness, above=0)

    @property
    def power(self) -> float | None:
        return self.softness if self.threshold == "feather" else None

    def check(self, criterion: Criterion) -> None:
        super().check(criterion)
        if self.power is not None and not isinstance(criterion.structure, Elements):
            expected = f"'hard' with {criterion.structure}"
            raise checks.refuse("threshold", self.threshold, expected)

    def is_done(
        self, criterion: Criterion, sparsity: float, present: Masks, part: float, again: bool
    ) -> bool:
        return again and _is_there(criterion, sparsity, present)

    def masks(
        self,
        criterion: Criterion,
        context: ScoreContext,
        sparsity: float,
        present: Masks,
        part: float,
    ) -> dict[str, Mask]:
        found: dict[str, Mask] = criterion.masks(context, sparsity)
        return found


def seen(latent: Array, mask: Mask, power: float | None) -> tuple[Array, float]:
    """Returns what the network sees of latent weights, and the threshold in force.

    Args:
        latent: Weights, float.
        mask: Bool, of the same shape.
        power: As `Update.power`.
    """
    if power is None or mask.all():
        return np.where(mask, latent, 0).astype(latent.dtype), 0.0
    magnitude = np.abs(latent.astype(np.float64))
    # Of another score or a pattern kept weights may be smaller, and have to be seen all the same.
    threshold = float(min(magnitude[~mask].max(), magnitude[mask].min(initial=np.inf)))
    part = np.where(
        magnitude > threshold, 1 - (threshold / np.maximum(magnitude, 1e-30)) ** power, 0
    )
    return np.where(mask, latent * part, 0).astype(latent.dtype), threshold


def _exchanged(
    criterion: Criterion,
    key: str,
    scores: Mapping[Key, Array],
    gradients: Mapping[str, Array],
    mask: Mask,
    part: float,
) -> Mask:
    """Returns the mask of a tensor in which a part of its units has given way to others."""
    structure = criterion.structure
    own, sizes = structure.units({key: np.asarray(scores[key])})
    others, _ = structure.units({key: np.abs(np.asarray(gradients[key]))})
    kept = np.flatnonzero(structure.whole({key: mask}))
    gone = int(part * kept.size)
    # Of equal scores the later goes.
    staying = kept[np.argsort(-own[kept], kind="stable")][: kept.size - gone]
    ranked = np.asarray(others, np.float64)
    ranked[staying] = np.inf
    chosen = select(ranked, sizes, int(np.count_nonzero(mask)))
    return structure.masks(chosen, {key: np.asarray(scores[key])})[key]


def _is_there(criterion: Criterion, sparsity: float, masks: Masks) -> bool:
    """Tells whether masks are at least as sparse as is due."""
    if criterion.of_channels:
        # As the schedule counts: multiply-adds, maybe.
        return criterion.sparsity(masks) >= sparsity
    total = sum(mask.size for mask in masks.values())
    kept = sum(int(np.count_nonzero(mask)) for mask in masks.values())
    return kept <= kept_count(total, sparsity)


UPDATES: Registry[type[Update]] = Registry("update")
for _update in (Shrink, Alternate, Swap, Regrow):
    UPDATES.register(_update.__name__.lower(), _update, own=True)


def resolve_update(text: str = "shrink") -> Update:
    """Returns the update that a name stands for, maybe with parameters.

    Args:
        text: Such as "shrink" or "alternate(turns=2)".

    Raises:
        InputError: A name or parameter is unknown, or a value is out of range.

    Example:
        >>> resolve_update("swap(fraction=0.2)").fraction
        0.2
    """
    made: Update = UPDATES.make(text)
    return made
