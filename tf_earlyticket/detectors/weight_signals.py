"""What the weights alone tell about the structure that pruning would find, and who decides by it.

The signals are free: no training and no data, one ranking of the weights per epoch.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks
from tf_earlyticket.detectors.base import (
    DETECTORS,
    Decision,
    Detector,
    Observation,
    WeightSignals,
)
from tf_earlyticket.pruning.masks import Array, Arrays, Mask
from tf_earlyticket.pruning.scores import ScoreContext
from tf_earlyticket.pruning.select import Criterion, resolve_criterion

# Epochs that signals look back over, the present one included.
USUAL_WINDOW = 5


class SignalTracker:
    """Computes `WeightSignals` epoch by epoch; remembers the masks of the last few.

    Args:
        sparsity: Fraction that the masks prune, in [0, 1).
        criterion: Makes the masks; None: global magnitude.
        window: How many epochs a signal looks back over, this one included, at least 2.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(
        self, sparsity: float, criterion: Criterion | None = None, *, window: int = USUAL_WINDOW
    ):
        self.sparsity = checks.number("sparsity", sparsity, low=0, below=1)
        self.window = checks.integer("window", window, 2)
        self.criterion = criterion or resolve_criterion()
        # Packed masks of all layers, and the kept weights of each.
        self._earlier: deque[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] = deque(
            maxlen=window - 1
        )

    def update(self, weights: Arrays | ScoreContext) -> WeightSignals:
        """Takes the weights of the next epoch: float kernels by name, always the same names.

        Raises:
            InputError: If a weight is not finite.
        """
        masks: dict[str, Mask] = self.criterion.masks(weights, self.sparsity)
        sizes = np.array([mask.size for mask in masks.values()])
        kept = np.array([np.count_nonzero(mask) for mask in masks.values()])
        bits = np.packbits(np.concatenate([mask.ravel() for mask in masks.values()]))
        distances, similarities = [], []
        for earlier_bits, earlier_kept in self._earlier:
            differing = int(np.unpackbits(bits ^ earlier_bits).sum(dtype=np.int64))
            distances.append(differing / int(sizes.sum()))
            both = np.maximum(kept + earlier_kept, 1)
            similarities.append(float(1 - np.mean(np.abs(kept - earlier_kept) / both)))
        self._earlier.appendleft((bits, kept))
        return WeightSignals(
            pruning_rates=tuple(float(rate) for rate in 1 - kept / np.maximum(sizes, 1)),
            mask_distances=tuple(distances),
            similarities=tuple(similarities),
        )

    def get_arrays(self) -> dict[str, Array]:
        """Returns what a restart needs: the masks remembered, the latest first.

        Returns:
            "mask_bits", uint8 [epochs, bytes], and "mask_counts", int64 [epochs, layers], the
            kept weights; nothing before the first epoch.
        """
        if not self._earlier:
            return {}
        bits, counts = zip(*self._earlier, strict=True)
        return {"mask_bits": np.stack(bits), "mask_counts": np.stack(counts)}

    def set_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Takes the result of `get_arrays`; the next `update` continues from there."""
        self._earlier.clear()
        if arrays:
            self._earlier.extend(zip(arrays["mask_bits"], arrays["mask_counts"], strict=True))


class FixedEpoch(Detector):
    """Saturated from a given epoch on, whatever is seen.

    Args:
        epoch: From 1.

    Raises:
        InputError: If the epoch is below 1.
    """

    name = "fixed_epoch"

    def __init__(self, epoch: int):
        self.epoch = checks.integer("epoch", epoch, 1)

    def update(self, epoch: int, observation: Observation) -> Decision:
        return Decision(epoch >= self.epoch, f"start epoch fixed at {self.epoch}")


class _SignalDetector(Detector):
    """What the detectors of weight signals share: a window of the last epochs' signals."""

    def __init__(self, window: int):
        self.window = checks.integer("window", window, 2)
        self.reset()

    def reset(self) -> None:
        self._recent: deque[WeightSignals] = deque(maxlen=self.window)

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the signals of `epoch` and decides once the window is full.

        Raises:
            InputError: If the observation has no signals.
        """
        if observation.signals is None:
            raise checks.refuse("signals", None, f"those of epoch {epoch}'s weights")
        self._recent.append(observation.signals)
        if len(self._recent) < self.window:
            return Decision(False, f"{len(self._recent)} of {self.window} epochs seen")
        return self._decide()

    @abstractmethod
    def _decide(self) -> Decision:
        """Decides by the signals of a full window."""


class MaskDistance(_SignalDetector):
    """Early-Bird tickets (You et al., ICLR 2020): the last masks are all close to each other.

    Args:
        threshold: All pairwise normalised Hamming distances must be below it.
        window: Number of masks compared; their first-in-first-out queue has 5.

    Raises:
        InputError: If an argument is out of range.
    """

    name = "mask_distance"

    def __init__(self, threshold: float = 0.1, window: int = 5):
        self.threshold = checks.number("threshold", threshold, above=0, below=1)
        super().__init__(window)

    def _decide(self) -> Decision:
        recent = list(self._recent)
        largest = max(
            recent[later].mask_distances[later - earlier - 1]
            for earlier, later in combinations(range(self.window), 2)
        )
        return Decision(
            largest < self.threshold,
            f"largest distance of the last {self.window} masks {largest:.3f} "
            f"(threshold {self.threshold:.3f})",
        )


class LayerRateConvergence(_SignalDetector):
    """The pseudo per-layer pruning rates stand still (paper Fig. 2b).

    Args:
        tolerance: Largest change, as a fraction, that a layer's rate may show in the window.
        window: Number of epochs.

    Raises:
        InputError: If an argument is out of range.
    """

    name = "layer_rate_convergence"

    def __init__(self, tolerance: float = 0.02, window: int = 5):
        self.tolerance = checks.number("tolerance", tolerance, above=0, below=1)
        super().__init__(window)

    def _decide(self) -> Decision:
        rates = np.array([signals.pruning_rates for signals in self._recent])
        largest = float(np.ptp(rates, axis=0).max())
        return Decision(
            largest <= self.tolerance,
            f"largest change of a layer's pruning rate in {self.window} epochs "
            f"{100 * largest:.1f} points (tolerance {100 * self.tolerance:.1f})",
        )


class SubnetSimilarity(_SignalDetector):
    """The sub-network's layer sizes stand still, in the manner of EPI (Shen et al., CVPR 2022).

    Args:
        threshold: The mean similarity to the sub-networks of the window must reach it.
        window: Number of epochs, this one included.

    Raises:
        InputError: If an argument is out of range.
    """

    name = "subnet_similarity"

    def __init__(self, threshold: float = 0.98, window: int = 5):
        self.threshold = checks.number("threshold", threshold, above=0, below=1)
        super().__init__(window)

    def _decide(self) -> Decision:
        mean = float(np.mean(self._recent[-1].similarities[: self.window - 1]))
        return Decision(
            mean >= self.threshold,
            f"mean similarity to the sub-networks of the last {self.window - 1} epochs "
            f"{mean:.3f} (threshold {self.threshold:.3f})",
        )


def _fixed_epoch(latest_start_epoch: int, epoch: int | None = None) -> FixedEpoch:
    latest = latest_start_epoch
    return FixedEpoch(latest if epoch is None else checks.integer("epoch", epoch, 1, latest))


DETECTORS.register("mask_distance", MaskDistance, own=True)
DETECTORS.register("layer_rate_convergence", LayerRateConvergence, own=True)
DETECTORS.register("subnet_similarity", SubnetSimilarity, own=True)
DETECTORS.register("fixed_epoch", _fixed_epoch, own=True)
