"""When has PPR accuracy saturated? Decided online, from past probes only (paper Fig. 4 and 6)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tf_earlyticket import checks
from tf_earlyticket.detectors.base import (
    DETECTORS,
    Decision,
    Detector,
    Observation,
    WeightSignals,
    makes_probes,
)

Floats = npt.NDArray[np.float64]

# Noise is judged from so many of the latest probes: it changes with the learning rate.
RECENT_PROBES = 12
# A curve fits if its residuals are at most so many times the noise.
MISFIT = 2.0
# The gain of waiting is taken over at least this part of the latest start epoch.
LEAST_HORIZON = 0.15


class PPRSaturation(Detector):
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
        self.latest_start_epoch = checks.integer("latest_start_epoch", latest_start_epoch, 1)
        self.lead_epochs = checks.integer("lead_epochs", lead_epochs, 0)
        self.tolerance = checks.number("tolerance", tolerance, above=0, below=1)
        self.minimum_rise = checks.number("minimum_rise", minimum_rise, low=0, below=1)
        self.minimum_probes = checks.integer("minimum_probes", minimum_probes, 4)
        self.confirmations = checks.integer("confirmations", confirmations, 1)
        self.reset()

    def reset(self) -> None:
        self._epochs: list[int] = []
        self._accuracies: list[float] = []
        self._agreeing = 0
        # Of the probes that the latest decision looked at.
        self._first: int | None = None

    def wants_probe(self, epoch: int, signals: WeightSignals | None) -> bool:
        return True

    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the probe of `epoch` and decides; an epoch without one changes nothing.

        Raises:
            InputError: If epochs do not increase or the accuracy is not a finite number.
        """
        if observation.ppr_accuracy is None:
            return Decision(False, f"no probe at epoch {epoch}")
        if self._epochs:
            checks.integer("epoch", epoch, self._epochs[-1] + 1)
        self._accuracies.append(checks.number("ppr_accuracy", observation.ppr_accuracy))
        self._epochs.append(epoch)
        if len(self._epochs) < self.minimum_probes:
            return Decision(False, f"{len(self._epochs)} of at least {self.minimum_probes} probes")
        agrees, reason = self._judge(observation.dense_accuracy)
        self._agreeing = self._agreeing + 1 if agrees else 0
        return Decision(self._agreeing >= self.confirmations, reason)

    def _judge(self, dense: float | None) -> tuple[bool, str]:
        accuracies, epochs = np.array(self._accuracies), np.array(self._epochs, float)
        gain, deviation, level, noise = self._fit(epochs, accuracies)
        # A line can pass through more than everything.
        fitted = f"fitted PPR accuracy {100 * min(level, 1.0):.1f} %"
        reason = (
            f"{fitted} at epoch {self._epochs[-1]}; waiting until "
            f"epoch {self._until(self._epochs[-1]):.0f} is expected to gain {100 * gain:.1f} +- "
            f"{100 * deviation:.1f} points (tolerance {100 * self.tolerance:.1f})"
        )
        if self.lead_epochs:
            reason += f", for a mask that is final {self.lead_epochs} epochs after the start"
        # The best and the worst of many noisy probes lie off the curve by about two deviations.
        risen = level >= accuracies.min() + self.minimum_rise + 2 * noise
        if self.minimum_rise and not risen and (dense is None or level < dense - self.minimum_rise):
            return False, reason + f"; it has not risen by {100 * self.minimum_rise:.0f} points yet"
        if level < accuracies.max() - self.tolerance - 2 * noise:
            return False, reason + f"; it is below its best, {100 * accuracies.max():.1f} %"
        return gain + deviation <= self.tolerance, reason

    def _until(self, epoch: float) -> float:
        # At the latest start itself waiting gains nothing, whatever the curve.
        return max(self.latest_start_epoch, epoch + LEAST_HORIZON * self.latest_start_epoch)

    def _fit(self, epochs: Floats, accuracies: Floats) -> tuple[float, ...]:
        """Returns `remaining_gain` of the most probes, up to the latest, that one curve fits."""
        scatter = probe_noise(accuracies[-RECENT_PROBES:])
        until = self._until(epochs[-1])
        for first in range(len(epochs) - self.minimum_probes + 1):
            fit = remaining_gain(
                epochs[first:], accuracies[first:], until + self.lead_epochs, self.lead_epochs
            )
            self._first = first
            if fit[-1] <= MISFIT * scatter:
                break
        return fit

    def expected(self, epochs: Floats) -> tuple[Floats, Floats, float] | None:
        """Returns the curve that the latest decision was made on; None before there was one.

        Args:
            epochs: [n], where to look at it.

        Returns:
            (expected PPR accuracy [n], its standard deviation [n], the epoch until which waiting
            was weighed); accuracies are fractions.

        Example:
            >>> mean, deviation, until = detector.expected(np.arange(10.0, 60.0))
        """
        if self._first is None:
            return None
        probed, accuracies = np.array(self._epochs, float), np.array(self._accuracies)
        curves = _Curves.of(probed[self._first :], accuracies[self._first :])
        return *curves.at(epochs), self._until(probed[-1])


def probe_noise(accuracies: Floats) -> float:
    """Returns the standard deviation of the noise of one probe, whatever smooth curve it is on.

    From the median of second differences, which a single jump does not move; at least 0.001.

    Args:
        accuracies: [n] fractions, n >= 3, of probes evenly spaced.
    """
    second = accuracies[:-2] - 2 * accuracies[1:-1] + accuracies[2:]
    # 0.6745 is the median of |x| for a standard normal x; second differences have variance 6.
    return max(float(np.median(np.abs(second))) / 0.6745 / 6**0.5, 1e-3)


def remaining_gain(
    epochs: Floats, accuracies: Floats, until_epoch: float, lead_epochs: float = 0
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
    curves = _Curves.of(epochs, accuracies)
    span, scale, taus = curves.span, curves.scale, curves.taus
    horizon = max(until_epoch - epochs[-1], lead_epochs)
    rest = np.exp(-(span + lead_epochs) / taus) - np.exp(-(span + horizon) / taus)
    future = rest / scale[:, 0]
    gains = curves.slope * future
    gain = float(curves.weights @ gains)
    spread = gains**2 + curves.variance / curves.power * future**2
    deviation = float(np.sqrt(max(curves.weights @ spread - gain**2, 0.0)))
    level = float(curves.weights @ curves.fitted[:, -1])
    noise = float(np.sqrt(curves.weights @ curves.variance))
    return gain, deviation, level, noise


@dataclass(frozen=True)
class _Curves:
    """The saturating curve of each tau that fits probes best: arrays over tau, [taus, probes].

    Attributes:
        first: Epoch of the first probe.
        span: Epochs from there to the last one.
        scale: By which curves rise by one over the span, so that slopes are comparable.
        mean: Of each curve over the probes, before it is scaled by its slope and moved.
        level: Mean accuracy.
        slope: What each curve is multiplied by.
        power: Sum of squares of each curve around its mean.
        fitted: Accuracy by each curve at each probe.
        variance: Of the noise of one probe, by each curve.
        weights: Likelihood of each curve; their sum is 1.
    """

    first: float
    span: float
    taus: Floats
    scale: Floats
    mean: Floats
    level: float
    slope: Floats
    power: Floats
    fitted: Floats
    variance: Floats
    weights: Floats

    @classmethod
    def of(cls, epochs: Floats, accuracies: Floats) -> "_Curves":
        count = len(epochs)
        span = epochs[-1] - epochs[0]
        taus = span * np.geomspace(0.1, 30, 40)
        age = epochs[None, :] - epochs[-1]
        # Scaled to rise by one over the time observed, so that b is the same size for all.
        scale = -np.expm1(-span / taus)[:, None]
        curve = -np.expm1(-(age - age[:, :1]) / taus[:, None]) / scale
        mean = curve.mean(axis=1, keepdims=True)
        centred = curve - mean
        power = (centred**2).sum(axis=1)
        slope = centred @ (accuracies - accuracies.mean()) / power
        fitted = accuracies.mean() + slope[:, None] * centred
        squares = ((accuracies - fitted) ** 2).sum(axis=1)
        # Without a floor a perfect fit would claim certainty.
        squares = np.maximum(squares, (count - 3) * 1e-6)
        weights = (squares / squares.min()) ** (-(count - 3) / 2)
        weights /= weights.sum()
        return cls(
            first=float(epochs[0]),
            span=float(span),
            taus=taus,
            scale=scale,
            mean=mean,
            level=float(accuracies.mean()),
            slope=slope,
            power=power,
            fitted=fitted,
            variance=squares / (count - 3),
            weights=weights,
        )

    def at(self, epochs: Floats) -> tuple[Floats, Floats]:
        """Returns the expected accuracy at epochs, [n], and its standard deviation."""
        age = epochs[None, :] - self.first
        centred = -np.expm1(-age / self.taus[:, None]) / self.scale - self.mean
        values = self.level + self.slope[:, None] * centred
        mean = self.weights @ values
        variance = self.variance[:, None]
        error = variance / self.fitted.shape[1] + variance / self.power[:, None] * centred**2
        spread = self.weights @ (error + (values - mean) ** 2)
        return mean, np.sqrt(spread)


class GatedPPR(Detector):
    """A free detector decides from when on probing is worth while; PPR decides.

    Args:
        gate: A detector that wants no probe, such as `LayerRateConvergence()`. Once it has
            found its signal saturated, probes are made.
        ppr: A detector of PPR accuracy, such as `PPRSaturation(..., minimum_rise=0)`: the rise
            that it would wait for may lie before the gate.
    """

    def __init__(self, gate: Detector, ppr: Detector):
        self.gate = gate
        self.ppr = ppr
        self.name = f"gated_{ppr.name}"
        self.reset()

    def reset(self) -> None:
        self.gate.reset()
        self.ppr.reset()
        self._open = False
        self._judged: int | None = None

    def wants_probe(self, epoch: int, signals: WeightSignals | None) -> bool:
        """Tells whether the gate is open, with this epoch's signals."""
        self._judge(epoch, signals)
        return self._open

    def _judge(self, epoch: int, signals: WeightSignals | None) -> None:
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


def _gated_ppr(
    latest_start_epoch: int,
    lead_epochs: int,
    gate: str = "layer_rate_convergence",
    tolerance: float = 0.01,
) -> GatedPPR:
    plan = {"latest_start_epoch": latest_start_epoch, "lead_epochs": lead_epochs}
    ppr = PPRSaturation(**plan, tolerance=tolerance, minimum_rise=0.0)
    made = DETECTORS.make(gate, **plan)
    if makes_probes(made):
        # None is made before the gate is open.
        raise checks.refuse("gate", gate, "a detector that needs no probe")
    return GatedPPR(made, ppr)


DETECTORS.register("ppr_saturation", PPRSaturation, own=True)
DETECTORS.register("gated_ppr", _gated_ppr, own=True)
