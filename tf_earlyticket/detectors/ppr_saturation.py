"""When has PPR accuracy saturated? Decided online, from past probes only (paper Fig. 4 and 6)."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tf_earlyticket.detectors.weight_signals import WeightSignals
from tf_earlyticket.errors import InputError

# Noise is judged from so many of the latest probes: it changes with the learning rate.
RECENT_PROBES = 12
# A curve fits if its residuals are at most so many times the noise.
MISFIT = 2.0
# The gain of waiting is taken over at least this part of the latest start epoch.
LEAST_HORIZON = 0.15


@dataclass(frozen=True)
class Observation:
    """What is known at the end of an epoch: a probe's accuracies, if one was made, and signals.

    Attributes:
        ppr_accuracy: On the held-out data after pseudo-pruning and retraining, a fraction.
        pruned_accuracy: After pseudo-pruning, without retraining.
        dense_accuracy: Of the dense network at that epoch.
        signals: What the weights alone tell; None where nobody asked.
    """

    ppr_accuracy: float | None = None
    pruned_accuracy: float | None = None
    dense_accuracy: float | None = None
    signals: WeightSignals | None = None


@dataclass(frozen=True)
class Decision:
    """Whether pruning may start, and why, in words and numbers."""

    saturated: bool
    reason: str


class Detector(Protocol):
    """Looks at one observation after the other; never at a later one."""

    name: str

    def wants_probe(self, epoch: int, signals: WeightSignals) -> bool:
        """Tells whether a probe at the end of `epoch` would be of use, before it is made."""

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the observation of `epoch` (from 1, increasing) and decides."""

    def reset(self) -> None:
        """Forgets every observation."""


class PPRSaturation:
    """Saturated when waiting longer is expected to gain less than `tolerance` PPR accuracy.

    After each probe a saturating curve a - b exp(-epoch / tau) is fitted to the probes so far, for
    every tau of a grid, from much shorter than the time observed to so long that the curve is a
    straight line. Each tau counts with its likelihood, so the gain still to come until
    `latest_start_epoch` (or in the next 15 % of that many epochs, if there are fewer left) has a
    mean and a standard deviation. Where the mask is final only at the end of a ramp, both ends
    of the wait are that many epochs later: `lead_epochs`. The oldest probes are left out, as
    few as possible, where the curve does not fit them all: a start that is slow, or a jump when
    the learning rate drops. Saturation needs, at `confirmations` probes in a row:

    - expected gain + one standard deviation <= tolerance;
    - PPR accuracy has risen: it is at least `minimum_rise` above its lowest, or already within
      that distance of the dense accuracy (a curve that has not moved yet is flat as well);
    - PPR accuracy is not below its best so far by more than the tolerance and the noise.

    Args:
        latest_start_epoch: The epoch until which waiting is possible.
        lead_epochs: Epochs from the start of pruning until the mask is final; 0 for one-shot.
        tolerance: Gain not worth waiting for, as a fraction (0.01 is one point of accuracy).
        minimum_rise: As a fraction; 0 where something else has seen that the network learned, such
            as the gate of `GatedPPR`.
        minimum_probes: Probes needed for a decision, at least 4.
        confirmations: Probes in a row that must agree.

    Raises:
        InputError: If an argument is out of range.
    """

    name = "ppr_saturation"

    def __init__(
        self,
        latest_start_epoch: int,
        *,
        lead_epochs: int = 0,
        tolerance: float = 0.01,
        minimum_rise: float = 0.05,
        minimum_probes: int = 5,
        confirmations: int = 1,
    ):
        for argument, value, least in (
            ("latest_start_epoch", latest_start_epoch, 1),
            ("lead_epochs", lead_epochs, 0),
            ("minimum_probes", minimum_probes, 4),
            ("confirmations", confirmations, 1),
        ):
            if value < least:
                raise InputError(f"{argument}={value}: expected an integer of at least {least}.")
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance={tolerance}: expected a fraction in (0, 1).")
        if not 0 <= minimum_rise < 1:
            raise InputError(f"minimum_rise={minimum_rise}: expected a fraction in [0, 1).")
        self.latest_start_epoch = latest_start_epoch
        self.lead_epochs = lead_epochs
        self.tolerance = tolerance
        self.minimum_rise = minimum_rise
        self.minimum_probes = minimum_probes
        self.confirmations = confirmations
        self.reset()

    def reset(self) -> None:
        """Forgets every observation."""
        self._epochs: list[int] = []
        self._observations: list[Observation] = []
        self._agreeing = 0

    def wants_probe(self, epoch: int, signals: WeightSignals) -> bool:
        """Always."""
        return True

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the probe of `epoch` and decides; an epoch without one changes nothing.

        Raises:
            InputError: If epochs do not increase or the accuracy is not a finite number.
        """
        if observation.ppr_accuracy is None:
            return Decision(False, f"no probe at epoch {epoch}")
        if self._epochs and epoch <= self._epochs[-1]:
            raise InputError(f"epoch={epoch}: expected one after {self._epochs[-1]}.")
        if not np.isfinite(observation.ppr_accuracy):
            raise InputError(f"ppr_accuracy={observation.ppr_accuracy}: expected a finite number.")
        self._epochs.append(epoch)
        self._observations.append(observation)
        if len(self._epochs) < self.minimum_probes:
            return Decision(False, f"{len(self._epochs)} of at least {self.minimum_probes} probes")
        agrees, reason = self._judge()
        self._agreeing = self._agreeing + 1 if agrees else 0
        return Decision(self._agreeing >= self.confirmations, reason)

    def _judge(self) -> tuple[bool, str]:
        accuracies = np.array([o.ppr_accuracy for o in self._observations])
        epochs = np.array(self._epochs, float)
        gain, deviation, level, noise = self._fit(epochs, accuracies)
        dense = self._observations[-1].dense_accuracy
        reason = (
            f"fitted PPR accuracy {100 * level:.1f} % at epoch {self._epochs[-1]}; waiting until "
            f"epoch {self._until(self._epochs[-1]):.0f} is expected to gain {100 * gain:.1f} +- "
            f"{100 * deviation:.1f} points (tolerance {100 * self.tolerance:.1f})"
        )
        if self.lead_epochs:
            reason += f", for a mask that is final {self.lead_epochs} epochs after the start"
        # The best and the worst of many noisy probes lie off the curve by about two deviations.
        risen = level >= accuracies.min() + self.minimum_rise + 2 * noise
        if self.minimum_rise and not risen and level < dense - self.minimum_rise:
            return False, reason + f"; it has not risen by {100 * self.minimum_rise:.0f} points yet"
        if level < accuracies.max() - self.tolerance - 2 * noise:
            return False, reason + f"; it is below its best, {100 * accuracies.max():.1f} %"
        return gain + deviation <= self.tolerance, reason

    def _until(self, epoch: float) -> float:
        # At the latest start itself waiting gains nothing, whatever the curve.
        return max(self.latest_start_epoch, epoch + LEAST_HORIZON * self.latest_start_epoch)

    def _fit(self, epochs: np.ndarray, accuracies: np.ndarray) -> tuple[float, ...]:
        """Returns `remaining_gain` of the most probes, up to the latest, that one curve fits."""
        scatter = probe_noise(accuracies[-RECENT_PROBES:])
        until = self._until(epochs[-1])
        for first in range(len(epochs) - self.minimum_probes + 1):
            fit = remaining_gain(
                epochs[first:], accuracies[first:], until + self.lead_epochs, self.lead_epochs
            )
            if fit[-1] <= MISFIT * scatter:
                break
        return fit


def probe_noise(accuracies: np.ndarray) -> float:
    """Returns the standard deviation of the noise of one probe, whatever smooth curve it is on.

    From the median of second differences, which a single jump does not move; at least 0.001.

    Args:
        accuracies: [n] fractions, n >= 3, of probes evenly spaced.
    """
    second = accuracies[:-2] - 2 * accuracies[1:-1] + accuracies[2:]
    # 0.6745 is the median of |x| for a standard normal x; second differences have variance 6.
    return max(float(np.median(np.abs(second))) / 0.6745 / 6**0.5, 1e-3)


def remaining_gain(
    epochs: np.ndarray, accuracies: np.ndarray, until_epoch: float, lead_epochs: float = 0
) -> tuple[float, float, float, float]:
    """Estimates how much a saturating curve still gains from soon after its end to `until_epoch`.

    Args:
        epochs: [n] increasing, n >= 4.
        accuracies: [n] fractions.
        until_epoch: Where the gain ends; where it begins or earlier gives zero.
        lead_epochs: How long after the last epoch it begins.

    Returns:
        (expected gain, its standard deviation, fitted level at the last epoch, standard deviation
        of the noise of one probe), all as fractions.
    """
    count = len(epochs)
    span = epochs[-1] - epochs[0]
    taus = span * np.geomspace(0.1, 30, 40)
    age = epochs[None, :] - epochs[-1]
    horizon = max(until_epoch - epochs[-1], lead_epochs)
    # Curves are scaled to rise by one over the time observed, so that b is the same size for all.
    scale = -np.expm1(-span / taus)[:, None]
    first_age = age[:, :1]
    curve = -np.expm1(-(age - first_age) / taus[:, None]) / scale
    rest = np.exp(-(span + lead_epochs) / taus) - np.exp(-(span + horizon) / taus)
    future = rest / scale[:, 0]

    centred = curve - curve.mean(axis=1, keepdims=True)
    power = (centred**2).sum(axis=1)
    slope = centred @ (accuracies - accuracies.mean()) / power
    fitted = accuracies.mean() + slope[:, None] * centred
    squares = ((accuracies - fitted) ** 2).sum(axis=1)
    # Without a floor a perfect fit would claim certainty.
    squares = np.maximum(squares, (count - 3) * 1e-6)
    variance = squares / (count - 3)
    weights = (squares / squares.min()) ** (-(count - 3) / 2)
    weights /= weights.sum()

    gains = slope * future
    gain = float(weights @ gains)
    second_moment = weights @ (gains**2 + variance / power * future**2)
    deviation = float(np.sqrt(max(second_moment - gain**2, 0.0)))
    level = float(weights @ fitted[:, -1])
    noise = float(np.sqrt(weights @ variance))
    return gain, deviation, level, noise
