"""Detectors that need no probe: they look at the weights alone, or at the calendar."""

from collections import deque
from itertools import combinations

import numpy as np

from tf_earlyticket.detectors.ppr_saturation import Decision, Observation
from tf_earlyticket.detectors.weight_signals import WeightSignals
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import check_integer, check_number


class FixedEpoch:
    """Saturated from a given epoch on, whatever is seen.

    Args:
        epoch: From 1.

    Raises:
        InputError: If the epoch is below 1.
    """

    name = "fixed_epoch"

    def __init__(self, epoch: int):
        self.epoch = check_integer("epoch", epoch, 1)

    def reset(self) -> None:
        """There is nothing to forget."""

    def wants_probe(self, epoch: int, signals: WeightSignals) -> bool:
        """Never."""
        return False

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Compares the epoch with the given one."""
        return Decision(epoch >= self.epoch, f"start epoch fixed at {self.epoch}")


class _SignalDetector:
    """What the detectors of weight signals share: a window of the last epochs' signals."""

    name = ""

    def __init__(self, window: int):
        self.window = check_integer("window", window, 2)
        self.reset()

    def reset(self) -> None:
        """Forgets every observation."""
        self._recent: deque[WeightSignals] = deque(maxlen=self.window)

    def wants_probe(self, epoch: int, signals: WeightSignals) -> bool:
        """Never."""
        return False

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the signals of `epoch` and decides once the window is full.

        Raises:
            InputError: If the observation has no signals.
        """
        if observation.signals is None:
            raise InputError(f"observation of epoch {epoch}: expected weight signals, got none.")
        self._recent.append(observation.signals)
        if len(self._recent) < self.window:
            return Decision(False, f"{len(self._recent)} of {self.window} epochs seen")
        return self._decide()

    def _decide(self) -> Decision:
        raise NotImplementedError


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
        self.threshold = check_number("threshold", threshold, 0, 1, open_low=True)
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
        self.tolerance = check_number("tolerance", tolerance, 0, 1, open_low=True)
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
        self.threshold = check_number("threshold", threshold, 0, 1, open_low=True)
        super().__init__(window)

    def _decide(self) -> Decision:
        mean = float(np.mean(self._recent[-1].similarities[: self.window - 1]))
        return Decision(
            mean >= self.threshold,
            f"mean similarity to the sub-networks of the last {self.window - 1} epochs "
            f"{mean:.3f} (threshold {self.threshold:.3f})",
        )


class GatedPPR:
    """A free detector decides from when on probing is worth while; PPR decides.

    Args:
        gate: A detector that wants no probe, such as `LayerRateConvergence()`. Once it has
            found its signal saturated, probes are made.
        ppr: A detector of PPR accuracy, such as `PPRSaturation(..., minimum_rise=0)`: the rise
            that it would wait for may lie before the gate.
    """

    def __init__(self, gate, ppr):
        self.gate = gate
        self.ppr = ppr
        self.name = f"gated_{ppr.name}"
        self.reset()

    def reset(self) -> None:
        """Forgets every observation."""
        self.gate.reset()
        self.ppr.reset()
        self._open = False
        self._judged: int | None = None

    def wants_probe(self, epoch: int, signals: WeightSignals) -> bool:
        """Tells whether the gate is open, with this epoch's signals."""
        self._judge(epoch, signals)
        return self._open

    def _judge(self, epoch: int, signals: WeightSignals) -> None:
        # Asked before the probe and again after it: the gate takes each epoch once.
        if self._judged == epoch or self._open:
            return
        self._judged = epoch
        decision = self.gate.update(epoch, Observation(signals=signals))
        self._open, self._gate_reason = decision.saturated, decision.reason

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the observation of `epoch` and decides."""
        self._judge(epoch, observation.signals)
        if observation.ppr_accuracy is not None:
            return self.ppr.update(epoch, observation)
        if self._open:
            return Decision(False, f"no probe at epoch {epoch}")
        return Decision(False, f"not worth probing yet: {self._gate_reason}")
