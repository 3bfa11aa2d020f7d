"""Fig. 1: tickets (s, v), the mask of epoch s on the weights of epoch v, trained in full."""

from dataclasses import replace
from itertools import product

import numpy as np

from tf_earlyticket.paper.item import (
    MARGIN,
    Item,
    Results,
    claim,
    describe,
    heat_map,
    means,
    percent,
    spread_text,
)


def accuracies(results: Results) -> dict[tuple[int, int], float]:
    """Returns mean accuracy by (s, v), of the tickets themselves."""
    own = {"control": "none", "mode": "one_shot"}
    return means(results, "test_accuracy", "mask_epoch", "rewind_epoch", **own)


@claim(
    "Every ticket (s, v) with s from half of the epochs on and v from a 40th on is as good as the "
    "one of the last epoch"
)
def late_tickets(results):
    epochs, cells = results["config"]["train"]["epochs"], accuracies(results)
    last = cells.pop((epochs, epochs), None)
    late = {c: a for c, a in cells.items() if c[0] >= epochs / 2 and c[1] >= epochs / 40}
    if last is None or not late:
        return None
    worst = min(late, key=late.get)
    return late[worst] >= last - MARGIN, (
        f"the worst of {len(late)} such tickets, {worst}, has {percent(late[worst])}; "
        f"({epochs}, {epochs}) has {percent(last)}"
    )


@claim("Accuracy falls for masks of the first 40 % of the epochs")
def early_tickets(results):
    epochs, cells = results["config"]["train"]["epochs"], accuracies(results)
    early = [a for (s, _), a in cells.items() if s <= 0.4 * epochs]
    late = [a for (s, _), a in cells.items() if s >= epochs / 2]
    if not early or not late:
        return None
    return np.mean(late) - np.mean(early) > MARGIN, (
        f"tickets with s <= {0.4 * epochs:g} have {percent(np.mean(early))} on average, those "
        f"with s >= {epochs / 2:g} {percent(np.mean(late))}"
    )


@claim(
    "(Not in the paper; expected of a ticket) It beats random, shuffled and reinitialized controls"
)
def beats_controls(results):
    rows = [row for row in results["summary"] if row["control"] != "none"]
    place = next(((row["mask_epoch"], row["rewind_epoch"]) for row in rows), None)
    own = accuracies(results).get(place)
    if own is None:
        return None
    controls = {row["control"]: row["test_accuracy_mean"] for row in rows}
    listed = ", ".join(f"{name} {percent(value)}" for name, value in controls.items())
    return own > max(controls.values()) + MARGIN, (
        f"ticket {place} {percent(own)}; controls: {listed}"
    )


class Fig1(Item):
    """Test accuracy by s and v, and the controls of one of the tickets."""

    name = "fig1"
    title = "Tickets (s, v): one-shot masks on rewound weights"
    # The choice of the epochs between those that the text names is ours, in all items: the
    # paper's tables are not part of its text.
    grids = {
        "paper": {
            "mask_epochs": (20, 40, 60, 80, 100, 120, 160, 200),
            "rewind_epochs": (0, 5, 20, 60, 100, 200),
        },
        "small": {"mask_epochs": (20, 60, 100, 140, 200), "rewind_epochs": (0, 20, 200)},
        "smoke": {"mask_epochs": (50, 200), "rewind_epochs": (0,)},
    }
    keys = ("group_size", "control", "mode", "mask_epoch", "rewind_epoch")
    values = ("test_accuracy", "epochs")
    claims = (late_tickets, early_tickets, beats_controls)

    def cells(self, config, grid):
        from tf_earlyticket.paper.tickets import CONTROLS, TicketSpec, ticket_cell

        names = ("group_sizes", "mask_epochs", "rewind_epochs")
        specs = [
            TicketSpec(s, v, group_size=size) for size, s, v in product(*map(grid.needed, names))
        ]
        # The controls are those of the middle v, and of the first s from half of the epochs on;
        # where weights are single.
        half = [s for s in grid.mask_epochs if s >= config.train.epochs / 2]
        middle = grid.rewind_epochs[len(grid.rewind_epochs) // 2]
        chosen = TicketSpec(min(half or grid.mask_epochs[-1:]), middle)
        if grid.group_sizes[0] == 1:
            specs += [replace(chosen, control=name) for name in CONTROLS[1:]]
        return [ticket_cell(config, seed, spec) for seed in grid.seeds for spec in specs]

    def figures(self, results):
        own = [row for row in results["summary"] if row["control"] == "none"]
        dense = [run["test_accuracy"] for run in results["dense"].values()]
        dense_text = f"; dense {100 * np.mean(dense):.1f}" if dense else ""
        title = f"Test accuracy (%) of tickets (s, v){dense_text}: {describe(results)}"
        axes = ("mask_epoch", "Mask of epoch s"), ("rewind_epoch", "Weights of epoch v")
        figures = {}
        for size in sorted({row["group_size"] for row in own}) or [1]:
            rows = [row for row in own if row["group_size"] == size]
            grouped = f", group size {size}" if size > 1 else ""
            figures[f"group_size_{size}" if figures else "figure"] = heat_map(
                title + grouped, rows, *axes, "test_accuracy"
            )
        return figures

    def table(self, results):
        names = ("mask_epoch", "rewind_epoch", "group_size")
        places = {tuple(map(r.get, names)) for r in results["summary"] if r["control"] != "none"}
        texts = {
            "none": "the ticket",
            "random": "random mask",
            "shuffled": "shuffled mask",
            "reinitialized": "reinitialized weights",
        }
        return ["s", "v", "", "test accuracy (%)"], [
            [
                *(str(row[name]) for name in names[:2]),
                texts[row["control"]],
                spread_text(row, "test_accuracy"),
            ]
            for row in results["summary"]
            if tuple(map(row.get, names)) in places
        ]
