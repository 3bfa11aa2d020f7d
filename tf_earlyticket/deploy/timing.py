"""Times and sizes side by side: candidates take turns, ratios come with their spread."""

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

_RESAMPLES = 2000


def seconds(work: Callable[[], object]) -> float:
    """Returns how long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    candidates: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Measures all candidates once a round, so that drifts of the machine meet all of them.

    Every other round goes backwards, and each pair of rounds begins with another candidate: who
    comes first, last or twice in a row finds caches warmer than the others.

    Args:
        candidates: By name, functions that return a measured number, usually seconds.
        rounds: Counted rounds, from 1.
        warmup: Rounds before them that do not count.

    Returns:
        The measured numbers by name, in the order of the rounds.
    """
    values: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(-warmup, rounds):
        first = number // 2 % len(candidates)
        order = [*candidates][first:] + [*candidates][:first]
        for name in order if number % 2 == 0 else order[::-1]:
            value = float(candidates[name]())
            if number >= 0:
                values[name].append(value)
    return values


def ratio(values: Sequence[float], reference: Sequence[float]) -> dict[str, float]:
    """Returns the median of value / reference by round, with its 95 % bootstrap interval.

    Args:
        values: Of one candidate, from `alternate`.
        reference: Of the candidate that it is compared with, from the same rounds.
    """
    ratios = np.asarray(values) / np.asarray(reference)
    draws = np.random.default_rng(0).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return {
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
        "rounds": len(ratios),
    }


def ratio_over_processes(
    values: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]
) -> dict[str, float]:
    """Returns the median of value / reference over all rounds, with its 95 % bootstrap interval.

    Processes are drawn first, then rounds within each: what differs from process to process
    widens the interval.

    Args:
        values: Of one candidate, [process][round]; as many rounds in each.
        reference: Of the candidate that it is compared with, measured in the same rounds.
    """
    ratios = np.asarray(values) / np.asarray(reference)
    random, (processes, rounds) = np.random.default_rng(0), ratios.shape
    drawn = random.integers(processes, size=(_RESAMPLES, processes, 1))
    within = random.integers(rounds, size=(_RESAMPLES, processes, rounds))
    low, high = np.percentile(np.median(ratios[drawn, within], axis=(1, 2)), [2.5, 97.5])
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}
