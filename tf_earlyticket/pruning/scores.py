"""Scores: how important each weight is; the larger ones are kept.

A score is a function of a `ScoreContext` that returns an array like each weight, by name.
"""

from collections.abc import Callable, Mapping

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import Array, Arrays, Key, unpack
from tf_earlyticket.registry import Registry

# By name, so that bfloat16 works without ml_dtypes.
FLOATS = ("float16", "bfloat16", "float32", "float64")

Measure = Callable[[int], Mapping[str, Array]]


class ScoreContext:
    """What a score may look at: the weights, and what is computed with data when it asks.

    Args:
        weights: Collection of finite float arrays; kernels are [..., c_in, c_out].
        gradients: Computes the gradients of the loss, averaged over so many batches, by name.
        activations: Computes the mean magnitude of the inputs of each weight's layer, [c_in],
            over so many batches, by name.

    Attributes:
        collection: The weights as they were given.
        weights: The weights by name, or by index where they were given as a sequence.

    Raises:
        InputError: A weight is not float or not finite.
    """

    def __init__(
        self,
        weights: Arrays,
        *,
        gradients: Measure | None = None,
        activations: Measure | None = None,
    ):
        self.collection = weights
        self.weights = unpack("weights", weights)
        check_finite("weights", self.weights)
        self._measures = {"gradients": gradients, "activations": activations}
        self._known: dict[tuple[str, int], Mapping[str, Array]] = {}

    def gradients(self, batches: int = 1) -> Mapping[str, Array]:
        """Returns the gradient of the loss in each weight, an array like it, by name.

        Args:
            batches: Over how many batches of training data it is averaged, >= 1.

        Raises:
            InputError: Nobody said how to compute them.
        """
        return self._measured("gradients", batches)

    def activations(self, batches: int = 1) -> Mapping[str, Array]:
        """Returns the mean magnitude of what each weight is multiplied with, [c_in], by name.

        Args:
            batches: Over how many batches of training data it is averaged, >= 1.

        Raises:
            InputError: Nobody said how to compute them.
        """
        return self._measured("activations", batches)

    def _measured(self, what: str, batches: int) -> Mapping[str, Array]:
        batches = checks.integer("batches", batches, 1)
        measure = self._measures[what]
        if measure is None:
            raise InputError(
                f"The score asks for {what}: expected weights of a model in training, got arrays "
                "alone."
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


SCORES: Registry[Score] = Registry("score")
SCORES.register("magnitude", magnitude, own=True)
