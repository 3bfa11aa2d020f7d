"""Criteria: which weights go. A criterion is a score, a structure and a scope.

What users name, `ranking="global", group_size=8`, becomes one `Criterion` at the door, by
`resolve_criterion`; everything that computes masks takes that.
"""

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.budgets import budget_counts, erk_counts
from tf_earlyticket.pruning.channels import ChannelGraph
from tf_earlyticket.pruning.masks import (
    Array,
    Arrays,
    Key,
    Mask,
    kept_count,
    mask_sparsity,
    match_masks,
    repack,
)
from tf_earlyticket.pruning.scores import (
    SCORES,
    Score,
    ScoreContext,
    check_finite,
    lamp,
    magnitude,
)
from tf_earlyticket.pruning.structures import (
    Channels,
    Elements,
    InMatrices,
    InputGroups,
    NofM,
    OutputGroups,
    Sizes,
    Structure,
)
from tf_earlyticket.registry import Registry, parameters_of

SCOPES = ("global", "layerwise", "erk", "budgets")
# How far users may round the sparsity of a pattern: 0.667 for 1:3.
_ROUNDED = 1e-3
Make = TypeVar("Make", bound=Callable[..., Any])


def select(scores: Array, sizes: Sizes, budget: int, allowed: Mask | None = None) -> Mask:
    """Takes units by falling score until the next one would exceed the budget.

    Of equal scores the earlier unit is taken. `budget` is a number of weights; `allowed` and the
    result are bool [units]: those that may be taken (None: all), and those that are.
    """
    if isinstance(sizes, int):
        return _largest(scores, budget // sizes, allowed)
    order = np.argsort(-scores, kind="stable")
    if allowed is not None:
        order = order[allowed[order]]
    taken = np.searchsorted(np.cumsum(sizes[order]), budget, side="right")
    kept = np.zeros(scores.size, bool)
    kept[order[:taken]] = True
    return kept


def _largest(scores: Array, count: int, allowed: Mask | None) -> Mask:
    candidates = scores if allowed is None else np.compress(allowed, scores)
    cut = max(candidates.size - count, 0)
    if cut == candidates.size:
        return np.zeros(scores.size, bool)
    threshold = np.partition(candidates, cut)[cut]
    kept: Mask = scores > threshold
    ties: Mask = scores == threshold
    if allowed is not None:
        kept &= allowed
        ties &= allowed
    kept[np.flatnonzero(ties)[: count - np.count_nonzero(kept)]] = True
    return kept


@dataclass(frozen=True)
class Criterion:
    """Which weights are kept: those of the units that score most.

    Attributes:
        score: How important each weight is, see `ScoreContext`.
        structure: Which weights live or die together.
        scope: "global", all units in one ranking; "layerwise", each tensor by itself, or of
            channels the same part of each family; "erk", each by itself to a density of its own,
            see `budgets.erk_counts`; "budgets", to the sparsities given for each.
        empty_layers: Whether a tensor may lose all its weights. Else its best unit stays, also
            where the sparsity asks for fewer weights than there are tensors.
        budgets: With scope "budgets": where each tensor ends, fractions by name.
        names: What to give `resolve_criterion` for this one; empty if it was not made by it.

    Raises:
        InputError: The scope is unknown, or one of single tensors for units that span them.
    """

    score: Score
    structure: Structure
    scope: str = "global"
    empty_layers: bool = False
    budgets: Mapping[Key, float] | None = None
    names: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        checks.choice("scope", self.scope, SCOPES)
        layerwise = self.scope == "layerwise" and self.of_channels
        if self.scope != "global" and not (self.structure.within_tensors or layerwise):
            raise checks.refuse("scope", self.scope, f"global for {type(self.structure).__name__}")
        if self.scope in ("erk", "budgets") and self.structure.fixed_sparsity is not None:
            raise checks.refuse("scope", self.scope, f"another one for {self.structure}")

    def masks(
        self, weights: Arrays | ScoreContext, sparsity: float, previous: Arrays | None = None
    ) -> Any:
        """Returns the masks of the weights at a sparsity.

        Exactly `kept_count(N, sparsity)` of the N weights are kept (of each tensor, if layerwise);
        where units have more weights than one, at most so many, and less than a unit below it.
        Of equal scores the earlier tensor, then the earlier unit is kept. Each tensor keeps a unit
        (see `empty_layers`), in place of the last ones of others.

        Args:
            weights: Collection of finite float arrays, kernels [..., c_in, c_out]; or a context,
                for scores that look at more than that.
            sparsity: Fraction to prune, in [0, 1).
            previous: Masks of an earlier step. Weights they prune stay pruned.

        Returns:
            Bool masks, True = kept, in a collection of the same kind.

        Raises:
            InputError: Weights are missing, not float or not finite, `previous` does not fit them
                or leaves fewer weights than `sparsity` keeps, `sparsity` is out of range, or a
                score or structure of the user's returns what does not fit.
        """
        context = weights if isinstance(weights, ScoreContext) else ScoreContext(weights)
        checks.number("sparsity", sparsity, low=0, below=1)
        self.check_sparsity("sparsity", sparsity)
        earlier = None
        if previous is not None:
            earlier = match_masks("previous", previous, "weights", context.collection)
        scores = self._scores(context)
        if self.scope == "global" or self.of_channels:
            return repack(context.collection, self._ranked(scores, sparsity, earlier))
        masks: dict[Key, Mask] = {}
        budgets = {key: kept_count(score.size, sparsity) for key, score in scores.items()}
        if self.scope == "erk":
            total = kept_count(sum(score.size for score in scores.values()), sparsity)
            budgets = erk_counts({key: score.shape for key, score in scores.items()}, total)
        elif self.scope == "budgets":
            sizes = {key: score.size for key, score in scores.items()}
            budgets = budget_counts(self.budgets or {}, sizes, sparsity)
        for key, score in scores.items():
            before = None if earlier is None else {key: earlier[key]}
            with checks.prefixed(f"weights[{key!r}]: "):
                masks |= self._ranked({key: score}, sparsity, before, budgets[key])
        return repack(context.collection, masks)

    def check_sparsity(self, name: str, sparsity: float, *, final: bool = False) -> None:
        """Checks that the structure has masks of a sparsity.

        Args:
            name: What to call it.
            sparsity: A fraction.
            final: Whether pruning ends there.

        Raises:
            InputError: If it is not the one of a pattern such as 2:4, or beyond it.
        """
        fixed = self.structure.fixed_sparsity
        if fixed is None:
            return
        if sparsity > fixed + _ROUNDED or (final and sparsity < fixed - _ROUNDED):
            most = "" if final else "at most "
            expected = f"{most}{fixed:.4g}, the sparsity of {self.structure}"
            raise checks.refuse(name, sparsity, expected)

    def check_layers(self, sizes: Mapping[Key, int], sparsity: float) -> None:
        """Checks that budgets are of a model's layers, and reach a sparsity together.

        Args:
            sizes: Weights of each pruned layer, by the name of its weight.
            sparsity: At which pruning ends, a fraction.

        Raises:
            InputError: If they are not, or do not.
        """
        if self.scope == "budgets":
            budget_counts(self.budgets or {}, sizes, sparsity)

    @property
    def of_channels(self) -> bool:
        """Whether whole channels are kept, which needs the graph of the model."""
        return isinstance(self.structure, Channels)

    def bound(self, graph: ChannelGraph, multiple: int) -> "Criterion":
        """Returns the criterion of a model; see `Channels.bound`."""
        assert isinstance(self.structure, Channels)
        return replace(self, structure=self.structure.bound(graph, multiple))

    def in_matrices(
        self, shapes: Mapping[Key, tuple[int, int]], inputs_last: Collection[Key] = ()
    ) -> "Criterion":
        """Returns the criterion of a model, some of whose kernels are read as matrices.

        Args:
            shapes: Of these kernels, see `structures.InMatrices`.
            inputs_last: As there.
        """
        # Of single weights the shape does not matter.
        if type(self.structure) is Elements or not self.structure.within_tensors:
            return self
        if not shapes and not inputs_last:
            return self
        return replace(self, structure=InMatrices(self.structure, shapes, inputs_last))

    def towards(self, final: float | None) -> "Criterion":
        """Returns the criterion for masks within a ramp that ends at a sparsity; None: no ramp."""
        if not isinstance(self.structure, Channels):
            return self
        return replace(self, structure=replace(self.structure, final=final))

    def sparsity(self, masks: Mapping[Any, Mask]) -> float:
        """Returns the part that masks take away of what the schedule's sparsity is a part of."""
        if isinstance(self.structure, Channels):
            return self.structure.sparsity(masks)
        return mask_sparsity(list(masks.values()))

    def _scores(self, context: ScoreContext) -> dict[Key, Array]:
        found = self.score(context)
        if not isinstance(found, Mapping) or set(found) != set(context.weights):
            expected = f"arrays by name for {', '.join(map(str, context.weights))}"
            raise checks.refuse("score", found, expected)
        scores = {key: np.asarray(found[key]) for key in context.weights}
        check_finite("score", scores)
        for key, weight in context.weights.items():
            if scores[key].shape != weight.shape:
                expected = f"{weight.shape}, as the weight has"
                raise checks.refuse(f"score[{key!r}].shape", scores[key].shape, expected)
        return scores

    def _ranked(
        self,
        scores: Mapping[Key, Array],
        sparsity: float,
        previous: Mapping[Key, Mask] | None,
        budget: int | None = None,
    ) -> dict[Key, Mask]:
        if isinstance(self.structure, Channels):
            # Channels cross in kernels: what one costs depends on which others are there.
            layerwise = self.scope == "layerwise"
            return self.structure.ranked(scores, sparsity, previous, layerwise=layerwise)
        unit_scores, sizes = self.structure.units(scores)
        allowed = None if previous is None else self.structure.whole(previous)
        if budget is None:
            budget = kept_count(sum(score.size for score in scores.values()), sparsity)
        first = self.structure.protected(scores, previous)
        if first is not None:
            fixed = self.structure.fixed_sparsity
            if fixed is not None and sparsity > fixed - _ROUNDED:
                budget = 0
            budget = max(budget, _weights_of(first, sizes))
            unit_scores = np.where(first, np.inf, unit_scores)
        if allowed is not None:
            left = _weights_of(allowed, sizes)
            # Units may have left the last mask up to one weight less than a unit short.
            if budget >= left + (sizes if isinstance(sizes, int) else sizes.max(initial=1)):
                raise checks.refuse(
                    "sparsity",
                    sparsity,
                    f"at least the present one; {budget} weights would be kept, and whole units of "
                    f"{left} are left in previous",
                )
        kept = select(unit_scores, sizes, budget, allowed)
        masks = self._checked(kept, scores, sizes, previous)
        within = self.structure.within_tensors and not self.empty_layers
        if within and not all(mask.any() for mask in masks.values()):
            first = self._best_of_each(scores, allowed)
            budget = max(budget, _weights_of(first, sizes))
            kept = select(np.where(first, np.inf, unit_scores), sizes, budget, allowed)
            masks = self._checked(kept, scores, sizes, previous)
        return masks

    def _checked(
        self,
        kept: Mask,
        scores: Mapping[Key, Array],
        sizes: Sizes,
        previous: Mapping[Key, Mask] | None,
    ) -> dict[Key, Mask]:
        """Returns the masks of the units kept, which may come from a structure of the user's."""
        masks = self.structure.masks(kept, scores)
        for key, score in scores.items():
            mask = masks.get(key)
            if mask is None or mask.dtype != np.bool_ or mask.shape != score.shape:
                expected = f"a bool mask of shape {score.shape} from the structure"
                raise checks.refuse(f"masks[{key!r}]", mask, expected)
            if previous is not None and (mask > previous[key]).any():
                expected = "a mask that brings no pruned weight back"
                raise checks.refuse(f"masks[{key!r}]", mask, expected)
        found, due = sum(int(m.sum()) for m in masks.values()), _weights_of(kept, sizes)
        if found != due:
            raise checks.refuse("masks", found, f"{due} kept weights, as the units have")
        return masks

    def _best_of_each(self, scores: Mapping[Key, Array], allowed: Mask | None) -> Mask:
        """Returns the units that score most of each tensor: bool [units]."""
        best: list[Mask] = []
        for key, score in scores.items():
            units = self.structure.units({key: score})[0].astype(np.float64)
            begin = sum(mask.size for mask in best)
            if allowed is not None:
                units[~allowed[begin : begin + units.size]] = -np.inf
            found = np.zeros(units.size, bool)
            if units.size and units.max() > -np.inf:
                found[units.argmax()] = True
            best.append(found)
        return np.concatenate(best)


def _weights_of(units: Mask, sizes: Sizes) -> int:
    if isinstance(sizes, int):
        return int(np.count_nonzero(units)) * sizes
    return int(sizes[units].sum())


@dataclass(frozen=True)
class Ranking:
    """What a `ranking=` stands for.

    Attributes:
        score: How important each weight is: a function of a `ScoreContext`.
        scope: "global", "layerwise" or "erk".
        structure: A name, see `register_structure`, or a `Structure`; None: as `group_size` says.
        empty_layers: Whether a layer may lose all its weights; else it keeps at least one.
        budgets: With scope "budgets": the sparsity at which each weight ends, by its name.
    """

    score: Score = magnitude
    scope: str = "global"
    structure: str | Structure | None = None
    empty_layers: bool = False
    budgets: Mapping[Key, float] | None = None


class _Structures(Registry[Callable[..., Structure]]):
    """Structures by name, and by pattern: "2:4", "1x4"."""

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        if isinstance(text, str):
            if pattern := re.fullmatch(r"(\d+):(\d+)", text):
                n, m = map(int, pattern.groups())
                if not 0 < n < m:
                    raise checks.refuse(self.argument, text, "n:m with 0 < n < m, such as 2:4")
                return "n_of_m", {"n": n, "m": m}
            if pattern := re.fullmatch(r"1x([1-9]\d*)", text):
                return "output_groups", {"size": int(pattern[1])}
        return super().parse(text)


RANKINGS: Registry[Callable[..., Ranking]] = Registry("ranking")
STRUCTURES = _Structures("structure")


def _scoped(scope: str) -> Callable[..., Ranking]:
    def make(
        score: str = "magnitude",
        structure: str | None = None,
        empty_layers: bool = False,
        batches: int | None = None,
        seed: int | None = None,
    ) -> Ranking:
        options = {"batches": batches, "seed": seed}
        options = {key: value for key, value in options.items() if value is not None}
        measure = SCORES.get(score)
        for key, value in options.items():
            if key not in parameters_of(measure):
                raise checks.refuse(key, value, f"none with score={score!r}")
        return Ranking(
            partial(measure, **options) if options else measure, scope, structure, empty_layers
        )

    return make


def _budgets(file: str = "", score: str = "magnitude") -> Ranking:
    """Ranks each layer by itself, to the sparsity that a file of `sensitivity` gives it."""
    try:
        with open(file, encoding="utf-8") as opened:
            found = json.load(opened)["budgets"]
        budgets: dict[Key, float] = {
            str(name): checks.number(f"budgets[{name!r}]", value, low=0, below=1)
            for name, value in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        expected = 'a JSON file with {"budgets": {NAME: SPARSITY}}, as sensitivity writes it'
        raise checks.refuse("file", file, expected) from None
    return Ranking(SCORES.get(score), "budgets", budgets=budgets)


for _scope in SCOPES[:3]:
    RANKINGS.register(_scope, _scoped(_scope), own=True)
RANKINGS.register("lamp", lambda: Ranking(lamp), own=True)
RANKINGS.register("budgets", _budgets, own=True)
STRUCTURES.register("elements", Elements, own=True)
STRUCTURES.register("input_groups", InputGroups, own=True)
STRUCTURES.register("output_groups", OutputGroups, own=True)
STRUCTURES.register("n_of_m", NofM, own=True)


def _channels(of: str = "weights", multiple: int | None = None, floor: float = 0.1) -> Channels:
    return Channels(of, multiple, floor)


STRUCTURES.register("channels", _channels, own=True)


def register_ranking(name: str, ranking: Ranking | Callable[..., Ranking]) -> None:
    """Makes a ranking of your own known by a name, for `ranking=` and `config.pruning.ranking`.

    Args:
        name: A new name; one of yours that was registered before is replaced.
        ranking: An `et.Ranking`, or a function that returns one. Its parameters, all with
            defaults, can be given with the name: `ranking="mine(power=2)"`.

    Raises:
        InputError: If the name is one of the toolkit's own, or `ranking` is neither.

    Example:
        >>> def squares(context):
        ...     return {name: weight**2 for name, weight in context.weights.items()}
        >>> et.register_ranking("squares", et.Ranking(squares, scope="layerwise"))
    """
    make = (lambda: ranking) if isinstance(ranking, Ranking) else ranking
    RANKINGS.register(name, _maker("ranking", make, "an et.Ranking or a function that returns one"))


def register_structure(name: str, make: Callable[..., Structure]) -> None:
    """Makes a structure of your own known by a name.

    Args:
        name: A new name; one of yours that was registered before is replaced.
        make: The class, or a function that returns the object. Its parameters, all with
            defaults, can be given with the name: `structure="output_blocks(size=4)"`.

    Raises:
        InputError: If the name is one of the toolkit's own, or `make` is no such function.

    Example:
        >>> et.register_structure("output_blocks", OutputBlocks)
        >>> et.wrap_for_pruning(model, ranking="global(structure='output_blocks(size=4)')")
    """
    STRUCTURES.register(name, _maker("make", make, "a class or function that returns a structure"))


def _maker(argument: str, make: Make, expected: str) -> Make:
    try:
        inspect.signature(make).bind()
    except (TypeError, ValueError):
        expected = f"{expected}, with defaults for all parameters"
        raise checks.refuse(argument, make, expected) from None
    return make


def resolve_criterion(
    ranking: str = "global", group_size: int = 1, structure: str | Structure | None = None
) -> Criterion:
    """Returns what the names that users give stand for.

    Args:
        ranking: "global", "layerwise", "erk", "lamp" or a registered name, maybe with parameters.
        group_size: Consecutive weights along the input channels that live or die together, >= 1.
        structure: A registered name, maybe with parameters, or what one makes, in place of
            `group_size`.

    Raises:
        InputError: A name or parameter is unknown, or a value is out of range.

    Example:
        >>> resolve_criterion("layerwise", group_size=4).masks(weights, 0.8)
    """
    group_size = checks.integer("group_size", group_size, 1)
    made = RANKINGS.make(ranking)
    if not isinstance(made, Ranking):
        raise checks.refuse("ranking", ranking, f"an et.Ranking from it, got {made!r}")
    chosen = made.structure if structure is None else structure
    if chosen is None:
        chosen = Elements() if group_size == 1 else InputGroups(group_size)
    elif group_size != 1:
        raise checks.refuse("group_size", group_size, f"1 beside structure={chosen!r}")
    units = STRUCTURES.make(chosen) if isinstance(chosen, str) else chosen
    if not isinstance(units, Structure):
        raise checks.refuse("structure", chosen, f"a Structure from it, got {units!r}")
    names = {"ranking": ranking, "group_size": group_size}
    if structure is not None:
        names["structure"] = structure if isinstance(structure, str) else _text_of(structure)
    return Criterion(made.score, units, made.scope, made.empty_layers, made.budgets, names)


def _text_of(structure: Structure) -> str:
    """Returns the registered name, with parameters, that makes an equal structure."""
    for name in STRUCTURES:
        values = {key: getattr(structure, key, None) for key in parameters_of(STRUCTURES.get(name))}
        text = f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})"
        # What it refuses is another structure's.
        with contextlib.suppress(InputError):
            if STRUCTURES.make(text) == structure:
                return text if values else name
    raise checks.refuse("structure", structure, "one that a registered name makes")


def global_masks(
    weights: Arrays, sparsity: float, *, group_size: int = 1, previous: Arrays | None = None
) -> Any:
    """Ranks |w| over all tensors together and keeps the largest (the paper's global sorting).

    With `group_size` > 1, groups are ranked by the mean magnitude of their members (paper,
    appendix B.1). Arguments, result and errors are those of `Criterion.masks`.

    Args:
        weights: Collection of finite float arrays of any shapes; kernels are [..., c_in, c_out].
        sparsity: Fraction to prune, in [0, 1).
        group_size: Consecutive weights along c_in that live or die together, >= 1.
        previous: Masks of an earlier step. Weights they prune stay pruned.
    """
    return resolve_criterion("global", group_size).masks(weights, sparsity, previous)


def layerwise_masks(
    weights: Arrays, sparsity: float, *, group_size: int = 1, previous: Arrays | None = None
) -> Any:
    """Ranks |w| within each tensor and prunes each to the same sparsity (TFMOT's own way).

    Result and errors are those of `Criterion.masks`.

    Args:
        weights: Collection of finite float arrays of any shapes; kernels are [..., c_in, c_out].
        sparsity: Fraction to prune of each, in [0, 1).
        group_size: Consecutive weights along c_in that live or die together, >= 1.
        previous: Masks of an earlier step. Weights they prune stay pruned.
    """
    return resolve_criterion("layerwise", group_size).masks(weights, sparsity, previous)
