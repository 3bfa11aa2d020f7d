"""The paper's claims on tickets: Fig. 1 and 8, Table 2 to 4."""

from collections.abc import Callable, Mapping

import numpy as np

from tf_earlyticket.paper.judging import MARGIN, Judged, Results, percent


def _tickets(results: Results) -> dict[tuple[int, int], float]:
    """Returns mean accuracy by (s, v), of the tickets themselves."""
    return {
        (row["mask_epoch"], row["rewind_epoch"]): row["test_accuracy_mean"]
        for row in results["summary"]
        if row["control"] == "none" and row["mode"] == "one_shot"
    }


def late_tickets(all_results: Mapping[str, Results]) -> Judged:
    """Compares late tickets (s, v) with the one of the last epoch (Fig. 1)."""
    results = all_results["fig1"]
    epochs, cells = results["config"]["train"]["epochs"], _tickets(results)
    last = cells.get((epochs, epochs))
    late = {c: a for c, a in cells.items() if c[0] >= epochs / 2 and c[1] >= epochs / 40}
    late.pop((epochs, epochs), None)
    if last is None or not late:
        return None
    worst = min(late, key=late.get)
    return late[worst] >= last - MARGIN, (
        f"the worst of {len(late)} such tickets, {worst}, has {percent(late[worst])}; "
        f"({epochs}, {epochs}) has {percent(last)}"
    )


def early_tickets(all_results: Mapping[str, Results]) -> Judged:
    """Compares tickets of early masks with those of late ones (Fig. 1)."""
    results = all_results["fig1"]
    epochs, cells = results["config"]["train"]["epochs"], _tickets(results)
    early = [a for (s, _), a in cells.items() if s <= 0.4 * epochs]
    late = [a for (s, _), a in cells.items() if s >= epochs / 2]
    if not early or not late:
        return None
    drop = float(np.mean(late) - np.mean(early))
    return drop > MARGIN, (
        f"tickets with s <= {0.4 * epochs:g} have {percent(np.mean(early))} on average, those "
        f"with s >= {epochs / 2:g} {percent(np.mean(late))}"
    )


def controls(all_results: Mapping[str, Results]) -> Judged:
    """Compares a ticket with its controls."""
    rows = [row for row in all_results["fig1"]["summary"]]
    controls = {r["control"]: r["test_accuracy_mean"] for r in rows if r["control"] != "none"}
    where = {(r["mask_epoch"], r["rewind_epoch"]) for r in rows if r["control"] != "none"}
    own = [_tickets(all_results["fig1"]).get(cell) for cell in where]
    if not controls or not own or own[0] is None:
        return None
    listed = ", ".join(f"{name} {percent(value)}" for name, value in controls.items())
    return own[0] > max(controls.values()) + MARGIN, (
        f"ticket {next(iter(where))} {percent(own[0])}; controls: {listed}"
    )


def groups_lose(all_results: Mapping[str, Results]) -> Judged:
    """Compares the tickets of Fig. 8 with those of Fig. 1."""
    if "fig1" not in all_results:
        return None
    single, grouped = _tickets(all_results["fig1"]), _tickets(all_results["fig8"])
    shared = sorted(set(single) & set(grouped))
    if not shared:
        return None
    gaps = {cell: grouped[cell] - single[cell] for cell in shared}
    return np.mean(list(gaps.values())) < -MARGIN, (
        f"over {len(shared)} shared tickets, grouped weights change accuracy by "
        f"{100 * np.mean(list(gaps.values())):+.1f} points on average "
        f"({100 * min(gaps.values()):+.1f} to {100 * max(gaps.values()):+.1f})"
    )


def _starts(results: Results) -> tuple[dict[str, dict[int, float]], float]:
    """Returns mean accuracy by mode and epoch, and the dense networks'."""
    table: dict[str, dict[int, float]] = {"one_shot": {}, "gradual": {}}
    for row in results["summary"]:
        table[row["mode"]][row["mask_epoch"]] = row["test_accuracy_mean"]
    return table, float(np.mean([run["test_accuracy"] for run in results["dense"].values()]))


def gradual_wins_earlier(item: str) -> Callable[[Mapping[str, Results]], Judged]:
    """Returns a check of from which epoch tickets are good (Table 2, 3)."""

    def check(all_results: Mapping[str, Results]) -> Judged:
        table, dense = _starts(all_results[item])
        if not table["one_shot"] or not table["gradual"]:
            return None
        # Where a small network never matches the dense one, how early it is at its best counts.
        best = max(table["one_shot"].values())
        level = min(dense, best)
        wins = {
            mode: next((e for e, a in sorted(cells.items()) if a >= level - MARGIN), None)
            for mode, cells in table.items()
        }
        text = {mode: "from none" if e is None else f"from epoch {e}" for mode, e in wins.items()}
        never = all_results[item]["config"]["train"]["epochs"] + 1
        held = wins["gradual"] is not None and wins["gradual"] < (wins["one_shot"] or never)
        return held, (
            f"tickets within a point of {percent(level)}, the lower of dense ({percent(dense)}) "
            f"and the best one-shot ticket ({percent(best)}): gradual {text['gradual']}, one-shot "
            f"{text['one_shot']}"
        )

    return check


def gradual_is_better(item: str) -> Callable[[Mapping[str, Results]], Judged]:
    """Returns a check of gradual against one-shot tickets (Table 2, 3)."""

    def check(all_results: Mapping[str, Results]) -> Judged:
        table, _ = _starts(all_results[item])
        shared = sorted(set(table["one_shot"]) & set(table["gradual"]))
        if not shared:
            return None
        gaps = [table["gradual"][e] - table["one_shot"][e] for e in shared]
        listed = ", ".join(f"{100 * g:+.1f} from {e}" for e, g in zip(shared, gaps, strict=True))
        return np.mean(gaps) > 0, f"gradual against one-shot, in points: {listed}"

    return check


def cheaper(all_results: Mapping[str, Results]) -> Judged:
    """Compares the epochs of an early ticket with those of iterative pruning (Table 4)."""
    rows = {row["method"]: row for row in all_results["table4"]["summary"]}
    if not {"early_ticket", "iterative", "dense"} <= set(rows):
        return None
    own, iterative = rows["early_ticket"], rows["iterative"]
    ratio = own["epochs_mean"] / iterative["epochs_mean"]
    return ratio <= 0.23, (
        f"{own['epochs_mean']:.1f} epochs, probes counted, against {iterative['epochs_mean']:.1f} "
        f"measured: {percent(ratio)}"
    )


def as_accurate(all_results: Mapping[str, Results]) -> Judged:
    """Compares their accuracies (Table 4)."""
    rows = {row["method"]: row["test_accuracy_mean"] for row in all_results["table4"]["summary"]}
    if not {"early_ticket", "iterative", "dense"} <= set(rows):
        return None
    listed = ", ".join(f"{name.replace('_', ' ')} {percent(rows[name])}" for name in rows)
    return rows["early_ticket"] >= rows["iterative"] - MARGIN, listed
