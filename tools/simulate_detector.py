"""Measures how often `PPRSaturation` is wrong, on simulated PPR curves with noise.

python tools/simulate_detector.py --out=results/detectors/simulated.json
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from absl import app, flags

from tf_earlyticket.detectors.base import Detector, Observation
from tf_earlyticket.detectors.ppr_saturation import PPRSaturation
from tf_earlyticket.files import write_json

NOISES = (0.002, 0.005, 0.01, 0.02)
DENSE_ACCURACY, PRUNED_ACCURACY = 0.95, 0.1
DROP = "learning rate drops at E/2"
NEVER = ("rising all the time", "flat at chance", "falling")


@dataclass(frozen=True)
class Plan:
    """Epochs of a run, the latest start epoch, and the epochs between two probes."""

    epochs: int
    latest_start_epoch: int
    probe_every: int


PLANS = (Plan(60, 42, 2), Plan(24, 15, 1))


def curves(epochs: int) -> dict[str, Callable[[float], float]]:
    """Returns PPR accuracy (fraction) as a function of the epoch, by name; times scale with E."""
    return {
        "saturating, tau = E/20": lambda e: 0.9 - 0.6 * math.exp(-e / (epochs / 20)),
        "saturating, tau = E/12": lambda e: 0.9 - 0.6 * math.exp(-e / (epochs / 12)),
        "saturating, tau = E/6": lambda e: 0.9 - 0.6 * math.exp(-e / (epochs / 6)),
        "slow start": lambda e: 0.1 + 0.8 / (1 + math.exp(-(e - epochs / 4) / (epochs / 20))),
        DROP: lambda e: 0.8 - 0.5 * math.exp(-e / (epochs / 12)) + 0.1 * (e >= epochs / 2),
        "a fast and a slow part": lambda e: (
            0.9 - 0.25 * math.exp(-e / (epochs / 20)) - 0.1 * math.exp(-e / (epochs / 3))
        ),
        "rising all the time": lambda e: 0.2 + 0.7 * e / epochs,
        "flat at chance": lambda e: 0.1,
        "falling": lambda e: 0.9 - 0.3 * e / epochs,
    }


def simulate(
    trials: int, seed: int, make: Callable[[int], Detector] = PPRSaturation
) -> dict[str, object]:
    """Shows a detector many noisy curves.

    Args:
        trials: Noisy curves per plan, curve and noise.
        seed: Of the noise.
        make: Makes a detector from the latest start epoch.

    Returns:
        "trials", "seed" and "rows": per plan, curve and noise (standard deviation, a fraction) the
        shares of trials "detected", with "alarm_before_half_rise" and with a "false_alarm" (two
        points or more still to come, or any alarm where nothing saturates), the
        "median_delay_share" of E and the mean "remaining_gain" at the chosen epoch, both None
        where nothing was detected.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for plan in PLANS:
        for name, curve in curves(plan.epochs).items():
            for noise in NOISES:
                found = [_fires(make, plan, curve, noise, generator) for _ in range(trials)]
                rows.append({"plan": asdict(plan), "curve": name, "noise": noise})
                rows[-1] |= _judge(found, plan, name, curve)
    return {"trials": trials, "seed": seed, "rows": rows}


def _fires(make, plan: Plan, curve, noise: float, generator) -> int | None:
    detector = make(plan.latest_start_epoch)
    for epoch in range(plan.probe_every, plan.latest_start_epoch + 1, plan.probe_every):
        accuracy = curve(epoch) + noise * generator.standard_normal()
        observation = Observation(accuracy, PRUNED_ACCURACY, DENSE_ACCURACY)
        if detector.update(epoch, observation).saturated:
            return epoch
    return None


def _judge(found: list[int | None], plan: Plan, name: str, curve) -> dict[str, float | None]:
    latest = plan.latest_start_epoch
    # No rule that reads the past can foresee a drop: judged is the plateau before it.
    known = math.ceil(plan.epochs / 2) - 1 if name == DROP else latest
    alarms = [epoch for epoch in found if epoch is not None]
    gains = [max(curve(max(known, epoch)) - curve(epoch), 0.0) for epoch in alarms]
    half = (curve(1) + curve(known)) / 2
    saturates = name not in NEVER
    false = sum(gain >= 0.02 for gain in gains) if saturates else len(alarms)
    early = sum(curve(epoch) <= half for epoch in alarms) if saturates else len(alarms)
    saturation = next(e for e in range(1, known + 1) if curve(known) - curve(e) <= 0.01)
    delays = [(epoch - saturation) / plan.epochs for epoch in alarms]
    return {
        "detected": len(alarms) / len(found),
        "alarm_before_half_rise": early / len(found),
        "false_alarm": false / len(found),
        "median_delay_share": statistics.median(delays) if delays and saturates else None,
        "remaining_gain": statistics.fmean(gains) if gains else None,
    }


def main(argv: list[str]) -> None:
    """Simulates and writes the result."""
    out = Path(flags.FLAGS.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    detector = PPRSaturation(1)
    settings = ("name", "tolerance", "minimum_rise", "minimum_probes", "confirmations")
    result = {"detector": {name: getattr(detector, name) for name in settings}}
    write_json(out, result | simulate(flags.FLAGS.trials, flags.FLAGS.seed))


if __name__ == "__main__":
    flags.DEFINE_string("out", "results/detectors/simulated.json", "Where the result goes")
    flags.DEFINE_integer("trials", 500, "Noisy curves of each kind", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of the noise", lower_bound=0)
    app.run(main)
