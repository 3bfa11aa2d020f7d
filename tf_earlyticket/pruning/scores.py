"""Scores: how important each weight is; the larger ones are kept.

A score is a function of a `ScoreContext` that returns an array like each weight, by name.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import Array, Arrays, Key, unpack
from tf_earlyticket.registry import Registry

# By name, so that bfloat16 works without ml_dtypes.
FLOATS = ("float16", "bfloat16", "float32", "float64")

# By the keys of the weights.
Measure = Callable[[int], Mapping[Any, Array]]


class ScoreContext:
    """What a score may look at: the weights, and what is computed with data when it asks.

    Args:
        weights: Collection of finite float arrays; kernels are [..., c_in, c_out].
        gradients: Computes the gradients of the loss, averaged over so many batches, by name.
        activations: Computes the mean magnitude of the inputs of each weight's layer, [c_in],
            over so many batches, by name.
        inputs_last: Names of kernels [..., c_out, c_in], of transposed convolutions.

    Attributes:
        collection: The weights as they were given.
        weights: The weights by name, or by index where they were given as a sequence.
        inputs_last: As given.

    Raises:
        InputError: A weight is not float or not finite.
    """

    def __init__(
        self,
        weights: Arrays,
        *,
        gradients: Measure | None = None,
        activations: Measure | None = None,
        inputs_last: Collection[Key] = (),
    ):
        self.collection, self.inputs_last = weights, inputs_last
        self.weights = unpack("weights", weights)
        check_finite("weights", self.weights)
        self._measures = {"gradients": gradients, "activations": activations}
        self._known: dict[tuple[str, int], Mapping[Any, Array]] = {}

    def gradients(self, batches: int = 1) -> Mapping[Any, Array]:
        """Returns the gradient of the loss in each weight, an array like it, by name.

        Args:
            batches: Over how many batches of training data it is averaged, >= 1.

        Raises:
            InputError: Nobody said how to compute them.
        """
        return self._measured("gradients", batches)

    def activations(self, batches: int = 1) -> Mapping[Any, Array]:
        """Returns the mean magnitude of what each weight is multiplied with, [c_in], by name.

        Args:
            batches: Over how many batches of training data it is averaged, >= 1.

        Raises:
            InputError: Nobody said how to compute them.
        """
        return self._measured("activations", batches)

    def _measured(self, what: str, batches: int) -> Mapping[Any, Array]:
        batches = checks.integer("batches", batches, 1)
        measure = self._measures[what]
        if measure is None:
            raise InputError(
                f"The score asks for {what}: expected a model in training, by et.EarlyTicket or "
                "et.MaskUpdate(train_data=...), got weights alone."
            )
        if (what, batches) not in self._known:
            self._known[what, batches] = measure(batches)
        return self._known[what, batches]


Score = Callable[[ScoreContext], Mapping[Key, Array]]


def check_finite(name: str, arrays: Mapping[Key, Array]) -> None:
    """Checks that arrays, called `name` by the user, can be ranked: finite floats."""
    for key, array in arrays.items():
        if array.dtype.name not in FLOATS:
            kind = array.dtype.name
            raise checks.refuse(f"{name}[{key!r}].dtype", kind, f"one of {', '.join(FLOATS)}")
        if not np.isfinite(array).all():
            raise checks.refuse(f"{name}[{key!r}]", array, "finite numbers")


def magnitude(context: ScoreContext) -> dict[Key, Array]:
    """The magnitude of each weight: |w| (the paper's)."""
    kinds = {weight.dtype.name for weight in context.weights.values()}
    # Types that differ are compared exactly, and 16 bits have no fast ranking.
    common = np.float64 if "float64" in kinds else np.float32
    return {
        key: np.abs(weight.astype(common, copy=False)) for key, weight in context.weights.items()
    }


def taylor(context: ScoreContext, batches: int = 4) -> dict[Key, Array]:
    """What the loss would change by to first order without a weight: |w g| (also called SNIP).

    SNIP (Lee et al., 2019) takes it of the initial weights, Molchanov et al. (2019) while training;
    here it is of the weights that are there.
    """
    gradients = context.gradients(batches)
    return {key: np.abs(weight * gradients[key]) for key, weight in context.weights.items()}


def movement(context: ScoreContext, batches: int = 4) -> dict[Key, Array]:
    """Whether a step of gradient descent moves a weight away from zero: -w g (Sanh et al., 2020).

    They sum it over training; this is what it is now, over some batches.
    """
    gradients = context.gradients(batches)
    return {key: -weight * gradients[key] for key, weight in context.weights.items()}


def wanda(context: ScoreContext, batches: int = 4) -> dict[Key, Array]:
    """The magnitude of a weight times that of what it is multiplied with (Sun et al., 2023).

    Inputs count by their mean magnitude, where the paper takes their norm.
    """
    inputs, found = context.activations(batches), {}
    for key, weight in context.weights.items():
        last = key in context.inputs_last or inputs[key].size != weight.shape[-2]
        axis = -1 if last else -2
        shape = [1] * weight.ndim
        shape[axis] = inputs[key].size
        found[key] = np.abs(weight) * inputs[key].reshape(shape)
    return found


def random(context: ScoreContext, seed: int = 0) -> dict[Key, Array]:
    """A number for each weight that has nothing to do with it, the same each time: the control."""
    draws = np.random.default_rng(checks.integer("seed", seed, 0))
    return {key: draws.random(weight.shape, np.float32) for key, weight in context.weights.items()}


def lamp(context: ScoreContext) -> dict[Key, Array]:
    """The square of a weight over the sum of squares of those of its layer that are not smaller.

    Layer-adaptive magnitude (Lee et al., 2021): ranked over all layers together, it leaves small
    layers denser.
    """
    found = {}
    for key, weight in context.weights.items():
        squares = np.square(weight.astype(np.float64).ravel())
        order = np.argsort(squares, kind="stable")
        rest = np.cumsum(squares[order][::-1])[::-1]
        scores = np.zeros(squares.size)
        scores[order] = squares[order] / np.where(rest > 0, rest, 1.0)
        found[key] = scores.reshape(weight.shape)
    return found


SCORES: Registry[Callable[..., Mapping[Key, Array]]] = Registry("score")
for _score in (magnitude, taylor, movement, wanda, random, lamp):
    SCORES.register(_score.__name__, _score, own=True)
SCORES.register("snip", taylor, own=True)
