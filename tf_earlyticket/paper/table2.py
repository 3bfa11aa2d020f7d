"""Table 2: one-shot and gradual tickets by the epoch at which pruning starts."""

from itertools import product

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.job.build import plan_of
from tf_earlyticket.paper.fig1 import Fig1
from tf_earlyticket.paper.item import (
    MARGIN,
    Claim,
    Item,
    Judged,
    Results,
    crossed,
    percent,
    register_item,
)


def _by_mode(results: Results) -> dict[str, dict[int, float]]:
    """Returns mean accuracy by mode and epoch."""
    table: dict[str, dict[int, float]] = {"one_shot": {}, "gradual": {}}
    for row in results["summary"]:
        table[row["mode"]][row["mask_epoch"]] = row["test_accuracy_mean"]
    return table


def _gradual_wins_earlier(results: Results) -> Judged:
    table = _by_mode(results)
    if not table["one_shot"] or not table["gradual"]:
        return None
    dense = float(np.mean([run["test_accuracy"] for run in results["dense"].values()]))
    # Where a small network never matches the dense one, how early it is at its best counts.
    best = max(table["one_shot"].values())
    level = min(dense, best)
    wins = {
        mode: next((e for e, a in sorted(cells.items()) if a >= level - MARGIN), None)
        for mode, cells in table.items()
    }
    text = {mode: "from none" if e is None else f"from epoch {e}" for mode, e in wins.items()}
    never = results["config"]["train"]["epochs"] + 1
    held = wins["gradual"] is not None and wins["gradual"] < (wins["one_shot"] or never)
    return held, (
        f"tickets within a point of {percent(level)}, the lower of dense ({percent(dense)}) "
        f"and the best one-shot ticket ({percent(best)}): gradual {text['gradual']}, one-shot "
        f"{text['one_shot']}"
    )


def _gradual_is_better(results: Results) -> Judged:
    table = _by_mode(results)
    shared = sorted(set(table["one_shot"]) & set(table["gradual"]))
    if not shared:
        return None
    gaps = [table["gradual"][e] - table["one_shot"][e] for e in shared]
    listed = ", ".join(f"{100 * g:+.1f} from {e}" for e, g in zip(shared, gaps, strict=True))
    return np.mean(gaps) > 0, f"gradual against one-shot, in points: {listed}"


class Table2(Item):
    """Test accuracy of tickets by the epoch of their mask, pruned at once or along a ramp."""

    name = "table2"
    title = "One-shot and gradual tickets by epoch"
    grids = {
        "paper": {
            "mask_epochs": (20, 50, 75, 100, 120),
            "rewind_epochs": (20,),
            "seeds": tuple(range(10)),
        },
        "small": {"mask_epochs": (20, 60, 100, 140, 160), "seeds": (0, 1, 2)},
        "smoke": {"mask_epochs": (50, 150), "seeds": (0,), "rewind_epochs": (0,)},
    }
    keys, values = Fig1.keys, Fig1.values
    claims = (
        Claim("Gradual pruning may start earlier than one-shot", _gradual_wins_earlier),
        Claim("Gradual tickets are better than one-shot ones", _gradual_is_better),
    )

    def cells(self, config, grid):
        """A one-shot and a gradual ticket for each epoch."""
        from tf_earlyticket.paper.tickets import TicketSpec, ticket_cell

        ramp = plan_of(config).ramp_epochs
        latest = config.train.epochs - ramp
        for s in grid.needed("mask_epochs"):
            if s > latest:
                expected = f"at most {latest}: a ramp of {ramp} epochs follows"
                raise checks.refuse("mask_epochs", s, expected)
        return [
            ticket_cell(config, seed, TicketSpec(s, v, mode, config.pruning.group_size))
            for s, v, mode, seed in product(
                grid.mask_epochs,
                grid.needed("rewind_epochs"),
                ("one_shot", "gradual"),
                grid.seeds,
            )
        ]

    def table(self, results):
        """A line for each epoch, a column for each mode."""
        keys = ("mask_epoch", "rewind_epoch")
        columns, lines = crossed(results["summary"], keys, "mode", "test_accuracy")
        names = {"one_shot": "one-shot (%)", "gradual": "gradual (%)"}
        header = ["pruned from epoch", "weights of epoch", *(names[c] for c in columns)]
        return header, [[*map(str, line), *texts] for line, texts in lines]


register_item(Table2(), own=True)
