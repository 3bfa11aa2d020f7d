"""The paper's claims on memorization capacity: Fig. 5, Table 1 and 5."""

from collections.abc import Mapping, Sequence

import numpy as np

from tf_earlyticket.paper.judging import MARGIN, Judged, Results, percent


def _capacities(results: Results, key: str) -> dict[int, dict[int, float]]:
    """Returns mean capacity by `key` and number of images."""
    table: dict[int, dict[int, float]] = {}
    for row in results["summary"]:
        table.setdefault(row[key], {})[row["examples"]] = row["capacity_mean"]
    return table


def early_masks_memorize_less(all_results: Mapping[str, Results]) -> Judged:
    """Compares the capacity of the earliest and the latest mask (Fig. 5)."""
    table = _capacities(all_results["fig5"], "mask_epoch")
    epochs = sorted(table)
    if len(epochs) < 2:
        return None
    first, *_, last = epochs
    shared = sorted(set(table[first]) & set(table[last]))
    gaps = {n: table[last][n] - table[first][n] for n in shared}
    listed = ", ".join(f"{100 * gap:+.1f} points at N = {n:,}" for n, gap in gaps.items())
    return max(gaps.values()) > MARGIN and min(gaps.values()) > -MARGIN, (
        f"mask of epoch {last} against that of epoch {first}: {listed}"
    )


def late_masks_are_alike(all_results: Mapping[str, Results]) -> Judged:
    """Compares the capacities of late masks (Fig. 5)."""
    results = all_results["fig5"]
    table = _capacities(results, "mask_epoch")
    late = [e for e in sorted(table) if e >= results["config"]["train"]["epochs"] / 2]
    if len(late) < 2:
        return None
    shared = sorted(set.intersection(*(set(table[e]) for e in late)))
    spans = {n: np.ptp([table[e][n] for e in late]) for n in shared}
    listed = ", ".join(f"{100 * span:.1f} at N = {n:,}" for n, span in spans.items())
    return max(spans.values()) <= 2 * MARGIN, (
        f"masks of epochs {', '.join(map(str, late))} are apart by (points) {listed}"
    )


def shots_keep_more(all_results: Mapping[str, Results]) -> Judged:
    """Compares several shots with one at the last step (Table 1)."""
    cells: dict[tuple, dict[str, float]] = {}
    for row in all_results["table1"]["summary"]:
        key = row["mask_epoch"], row["examples"]
        cells.setdefault(key, {})[row["mode"]] = row["capacity_mean"]
    last = max((epoch for epoch, _ in cells), default=None)
    gaps = {
        n: cell["gradual"] - cell["one_shot"]
        for (epoch, n), cell in sorted(cells.items())
        if epoch == last and len(cell) == 2
    }
    if not gaps:
        return None
    listed = ", ".join(f"{100 * gap:+.1f} points at N = {n:,}" for n, gap in gaps.items())
    return np.mean(list(gaps.values())) > MARGIN, f"at the last step (epoch {last}): {listed}"


def groups_keep_less(all_results: Mapping[str, Results]) -> Judged:
    """Compares capacity by group size (Table 5)."""
    table = _capacities(all_results["table5"], "group_size")
    if len(table) < 2:
        return None
    means = {size: float(np.mean(list(cells.values()))) for size, cells in sorted(table.items())}
    listed = ", ".join(f"{size}: {percent(value)}" for size, value in means.items())
    values: Sequence[float] = list(means.values())
    falling = all(b <= a + MARGIN for a, b in zip(values, values[1:], strict=False))
    return falling and values[-1] < values[0] - MARGIN, f"mean capacity by group size {listed}"
