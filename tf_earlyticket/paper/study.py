"""A detector study in numbers: what every detector chose, what it cost, how far from the best."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tf_earlyticket.detectors.base import Detector, Observation
from tf_earlyticket.detectors.ppr_saturation import GatedPPR, PPRSaturation
from tf_earlyticket.detectors.replay import replay
from tf_earlyticket.detectors.weight_signals import (
    FixedEpoch,
    LayerRateConvergence,
    MaskDistance,
    SubnetSimilarity,
)

Accuracies = Mapping[int, float]
# Kinds of tickets: sparsity rises along a ramp, or at once.
MODES = ("gradual", "one_shot")


@dataclass(frozen=True)
class Studied:
    """A detector in a study: what makes it, and the epochs between the probes it is offered."""

    make: Callable[[], Detector]
    probe_every: int = 1


def studied_detectors(latest_start_epoch: int, ramp_epochs: int) -> dict[str, Studied]:
    """Returns the detectors that a study compares, by the name each has in tables.

    Args:
        latest_start_epoch: Last epoch (from 1) at whose end pruning can start.
        ramp_epochs: Epochs from there until a gradual ticket's mask is final.
    """
    latest = latest_start_epoch

    def ppr(**options) -> PPRSaturation:
        return PPRSaturation(latest, **{"lead_epochs": ramp_epochs, **options})

    def gated(gate: Detector) -> GatedPPR:
        return GatedPPR(gate, ppr(minimum_rise=0.0))

    return {
        "PPRSaturation": Studied(ppr),
        "PPRSaturation, probes every 2 epochs": Studied(ppr, 2),
        "PPRSaturation, probes every 3 epochs": Studied(ppr, 3),
        "PPRSaturation(tolerance=0.02)": Studied(lambda: ppr(tolerance=0.02)),
        "PPRSaturation(tolerance=0.005)": Studied(lambda: ppr(tolerance=0.005)),
        "PPRSaturation(lead_epochs=0)": Studied(lambda: ppr(lead_epochs=0)),
        "GatedPPR(LayerRateConvergence)": Studied(lambda: gated(LayerRateConvergence())),
        "GatedPPR(MaskDistance)": Studied(lambda: gated(MaskDistance())),
        "MaskDistance": Studied(MaskDistance),
        "LayerRateConvergence": Studied(LayerRateConvergence),
        "LayerRateConvergence(0.01)": Studied(lambda: LayerRateConvergence(0.01)),
        "SubnetSimilarity": Studied(SubnetSimilarity),
        "SubnetSimilarity(0.99)": Studied(lambda: SubnetSimilarity(0.99)),
        "FixedEpoch(first third)": Studied(lambda: FixedEpoch(max(1, latest // 3))),
        "FixedEpoch(latest)": Studied(lambda: FixedEpoch(latest)),
    }


def accuracy_at(tickets: Accuracies, epoch: int) -> float | None:
    """Returns the accuracy of the ticket that starts at `epoch`, from the ones that were trained.

    Between two trained ones it is interpolated linearly; outside them it is None.

    Args:
        tickets: Accuracy by start epoch.
        epoch: From 1.
    """
    if not tickets or not min(tickets) <= epoch <= max(tickets):
        return None
    epochs = sorted(tickets)
    return float(np.interp(epoch, epochs, [tickets[e] for e in epochs]))


def best_epoch(tickets_by_seed: Mapping[str, Accuracies]) -> int | None:
    """Returns the start epoch whose tickets have the best mean accuracy over all seeds.

    Only epochs at which every seed has a ticket count; the earlier of two equals wins. None if
    there is no such epoch.
    """
    if not tickets_by_seed:
        return None
    shared = set.intersection(*(set(tickets) for tickets in tickets_by_seed.values()))
    means = {e: np.mean([t[e] for t in tickets_by_seed.values()]) for e in sorted(shared)}
    return max(means, key=means.get, default=None)


def choices(
    observations: Mapping[int, Observation],
    costs: Mapping[int, float],
    latest_start_epoch: int,
    ramp_epochs: int,
) -> dict[str, dict]:
    """Replays every studied detector on one recorded run.

    Args:
        observations: By epoch (from 1), as for `replay`.
        costs: Cost of each epoch's probe, in epochs.
        latest_start_epoch: Where the search ends.
        ramp_epochs: Length of a gradual ticket's ramp.

    Returns:
        By detector: the `Choice` as a dict, and "probe_cost_epochs".
    """
    chosen = {}
    for name, studied in studied_detectors(latest_start_epoch, ramp_epochs).items():
        choice = replay(
            studied.make(), observations, latest_start_epoch, probe_every=studied.probe_every
        )
        cost = sum(costs[epoch] for epoch in choice.probed_epochs)
        chosen[name] = {**asdict(choice), "probe_cost_epochs": cost}
    return chosen


def summarize(
    choices_by_seed: Mapping[str, Mapping[str, dict]],
    tickets_by_seed: Mapping[str, Mapping[str, Accuracies]],
) -> list[dict]:
    """Returns a row per detector, averaged over seeds.

    Args:
        choices_by_seed: By seed, the result of `choices`.
        tickets_by_seed: By seed, test accuracy (fraction) by mode and start epoch.

    Returns:
        Rows with "detector", "start_epochs" (list, in the order of the seeds), "detected" (number
        of seeds where the detector, not the deadline, decided), "probe_cost_epochs" (mean) and
        for each mode "<mode>_accuracy" and "<mode>_distance", the mean of the best epoch's
        accuracy less the chosen epoch's, with "<mode>_distance_std", its sample standard
        deviation. None where not every seed has the tickets, or there is one seed only.
    """
    seeds = list(choices_by_seed)
    rows = []
    for name in choices_by_seed[seeds[0]]:
        chosen = [choices_by_seed[seed][name] for seed in seeds]
        row = {
            "detector": name,
            "start_epochs": [choice["start_epoch"] for choice in chosen],
            "detected": sum(choice["detected"] for choice in chosen),
            "probe_cost_epochs": float(np.mean([c["probe_cost_epochs"] for c in chosen])),
        }
        for mode in MODES:
            tickets = {seed: tickets_by_seed[seed].get(mode, {}) for seed in seeds}
            best = best_epoch(tickets)
            reached = [
                accuracy_at(tickets[seed], choice["start_epoch"])
                for seed, choice in zip(seeds, chosen, strict=True)
            ]
            known = best is not None and None not in reached
            gaps = [tickets[s][best] - r for s, r in zip(seeds, reached, strict=True) if known]
            row[f"{mode}_accuracy"] = float(np.mean(reached)) if known else None
            row[f"{mode}_distance"] = float(np.mean(gaps)) if known else None
            several = known and len(gaps) > 1
            row[f"{mode}_distance_std"] = float(np.std(gaps, ddof=1)) if several else None
        rows.append(row)
    return rows
