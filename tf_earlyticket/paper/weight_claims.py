"""The paper's claims on weights, masks and probes over a dense run: Fig. 2, 3, 4 and 6."""

from collections.abc import Callable, Mapping

import numpy as np

from tf_earlyticket.paper.judging import MARGIN, Judged, Results, percent
from tf_earlyticket.pruning.statistics import predicted_std


def _layers(results: Results, value: str) -> tuple[list[int], np.ndarray]:
    """Returns the epochs and an array [epoch, layer] of a mean."""
    rows = results["summary"]
    epochs = sorted({row["epoch"] for row in rows})
    layers = sorted({row["layer"] for row in rows})
    cells = {(row["epoch"], row["layer"]): row[f"{value}_mean"] for row in rows}
    return epochs, np.array([[cells[epoch, layer] for layer in layers] for epoch in epochs])


def rates_settle(all_results: Mapping[str, Results]) -> Judged:
    """Finds from when on no layer's pseudo pruning rate is far from its last (Fig. 2b)."""
    results = all_results["fig2"]
    if not results["summary"]:
        return None
    total = results["config"]["train"]["epochs"]
    epochs, rates = _layers(results, "pruning_rate")
    moved = [np.abs(rates[i:] - rates[-1]).max() for i in range(len(epochs))]
    settled = next(epoch for epoch, far in zip(epochs, moved, strict=True) if far <= 0.03)
    return 0.3 * total <= settled <= 0.7 * total, (
        f"from epoch {settled} of {total} on, no layer's rate is more than 3 points from its last; "
        f"at epoch {total // 2} the farthest is {100 * moved[epochs.index(total // 2)]:.1f} points"
    )


def parallel(all_results: Mapping[str, Results]) -> Judged:
    """Compares how differently layers move before and after the first drop (Fig. 2a)."""
    results = all_results["fig2"]
    drops = results["config"]["train"]["drop_epochs"]
    if not results["summary"] or not drops:
        return None
    epochs, std = _layers(results, "weight_std")
    changes = np.diff(np.log(std), axis=0)
    before, after = (
        float(np.mean(np.std(changes[part], axis=1)))
        for part in (slice(1, drops[0]), slice(drops[0], None))
    )
    return after < before / 2, (
        "the layers' relative changes of W_std per epoch differ by "
        f"{100 * before:.2f} points (standard deviation) before the first drop of the learning "
        f"rate and by {100 * after:.2f} after it"
    )


def low_gradient_law(all_results: Mapping[str, Results]) -> Judged:
    """Compares the shrinkage of W_std after the first drop with eq. 5 (Fig. 2a)."""
    results = all_results["fig2"]
    train = results["config"]["train"]
    if not results["summary"] or not train["drop_epochs"]:
        return None
    epochs, std = _layers(results, "weight_std")
    ends = [*train["drop_epochs"], train["epochs"]]
    begin, end = ends[0], ends[1]
    rate = train["learning_rate"] * train["drop_factor"]
    updates = (end - begin) * results["steps_per_epoch"]
    first, last = std[epochs.index(begin)], std[epochs.index(end)]
    law = [
        predicted_std(value, updates, rate, train["weight_decay"], train["momentum"])
        for value in first
    ]
    ratio = (first - last) / (first - np.array(law))
    return 0.5 <= float(np.median(ratio)) <= 1.5, (
        f"from epoch {begin} to {end} the layers' W_std shrank by {np.median(ratio):.2f} times "
        f"what eq. 5 has (median; {ratio.min():.2f} to {ratio.max():.2f})"
    )


def distant_masks(all_results: Mapping[str, Results]) -> Judged:
    """Looks at the distance between the masks of half-way and of the end (Fig. 3)."""
    results = all_results["fig3"]
    epochs = results["config"]["train"]["epochs"]
    cells = {(row["a"], row["b"]): row["distance_mean"] for row in results["summary"]}
    known = sorted({a for a, _ in cells})
    if not known:
        return None
    half = min(known, key=lambda epoch: abs(epoch - epochs / 2))
    distance = cells[half, known[-1]]
    return distance >= 0.1, (
        f"the masks of epochs {half} and {known[-1]} are {distance:.3f} apart; two random masks of "
        f"this sparsity would be {_random_distance(results):.3f} apart"
    )


def _random_distance(results: Results) -> float:
    sparsity = results["config"]["pruning"]["final_sparsity"]
    return 2 * sparsity * (1 - sparsity)


def _ppr(results: Results, rate: float) -> tuple[list[int], np.ndarray]:
    rows = [row for row in results["summary"] if row["learning_rate"] == rate]
    return [row["epoch"] for row in rows], np.array([row["ppr_accuracy_mean"] for row in rows])


def ppr_saturates(item: str) -> Callable[[Mapping[str, Results]], Judged]:
    """Returns a check of when PPR accuracy is close to its highest (Fig. 4, 6)."""

    def check(all_results: Mapping[str, Results]) -> Judged:
        results = all_results[item]
        total = results["config"]["train"]["epochs"]
        rates = results["grid"]["learning_rates"]
        epochs, accuracy = _ppr(results, min(rates))
        if len(epochs) < 4 or epochs[-1] < 0.9 * total:
            return None
        top = float(accuracy.max())
        near = next(e for e, a in zip(epochs, accuracy, strict=True) if a >= top - MARGIN)
        half = accuracy[min(range(len(epochs)), key=lambda i: abs(epochs[i] - total / 2))]
        return 0.3 * total <= near <= 0.7 * total, (
            f"at {min(rates):g} it rises from {percent(accuracy[0])} (epoch {epochs[0]}) to "
            f"{percent(top)}; it is first within a point of that at epoch {near} of {total}, and "
            f"half-way through has {percent(half)}"
        )

    return check


def large_rate_is_blind(all_results: Mapping[str, Results]) -> Judged:
    """Compares the variation of PPR accuracy at two learning rates (Fig. 4)."""
    results = all_results["fig4"]
    total = results["config"]["train"]["epochs"]
    rates = results["grid"]["learning_rates"]
    ranges = []
    for rate in (max(rates), min(rates)):
        epochs, accuracy = _ppr(results, rate)
        late = [a for e, a in zip(epochs, accuracy, strict=True) if e >= total / 10]
        if len(late) < 4:
            return None
        ranges.append((max(late) - min(late), float(np.std(late))))
    (large, large_std), (small, small_std) = ranges
    return large_std < small_std / 2, (
        f"from epoch {total / 10:g} on it ranges over {100 * large:.1f} points at {max(rates):g} "
        f"(standard deviation {100 * large_std:.1f}), over {100 * small:.1f} at {min(rates):g} "
        f"({100 * small_std:.1f})"
    )
