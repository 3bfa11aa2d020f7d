"""Table 2 and 3: one-shot and gradual tickets by the epoch at which pruning starts."""

from itertools import product

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.job.build import plan_of
from tf_earlyticket.paper.fig1 import Fig1
from tf_earlyticket.paper.item import MARGIN, Item, claim, crossed, gains, means, percent

_MODES = {"one_shot": "one-shot", "gradual": "gradual"}


def _by_mode(results) -> list[dict[int, float]]:
    """Returns mean accuracy by epoch, one-shot and gradual."""
    return [means(results, "test_accuracy", "mask_epoch", mode=mode) for mode in _MODES]


@claim("Gradual pruning may start earlier than one-shot")
def gradual_wins_earlier(results):
    one_shot, gradual = _by_mode(results)
    if not one_shot or not gradual:
        return None
    dense = float(np.mean([run["test_accuracy"] for run in results["dense"].values()]))
    # Where a small network never matches the dense one, how early it is at its best counts.
    best = max(one_shot.values())
    level = min(dense, best)
    never = results["config"]["train"]["epochs"] + 1
    first, second = (
        min((e for e, a in table.items() if a >= level - MARGIN), default=never)
        for table in (gradual, one_shot)
    )
    texts = ["from none" if e == never else f"from epoch {e}" for e in (first, second)]
    return first < second, (
        f"tickets within a point of {percent(level)}, the lower of dense ({percent(dense)}) "
        f"and the best one-shot ticket ({percent(best)}): gradual {texts[0]}, one-shot {texts[1]}"
    )


@claim("Gradual tickets are better than one-shot ones")
def gradual_is_better(results):
    gaps = gains(*_by_mode(results))
    if not gaps:
        return None
    listed = ", ".join(f"{100 * gap:+.1f} from {epoch}" for epoch, gap in gaps.items())
    return np.mean(list(gaps.values())) > 0, f"gradual against one-shot, in points: {listed}"


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
    claims = (gradual_wins_earlier, gradual_is_better)

    def cells(self, config, grid):
        from tf_earlyticket.paper.tickets import TicketSpec, ticket_cell

        epochs, rewind_epochs = grid.needed("mask_epochs"), grid.needed("rewind_epochs")
        ramp = plan_of(config).ramp_epochs
        latest = config.train.epochs - ramp
        if max(epochs) > latest:
            expected = f"at most {latest}: a ramp of {ramp} epochs follows"
            raise checks.refuse("mask_epochs", max(epochs), expected)
        return [
            ticket_cell(config, seed, TicketSpec(s, v, mode, config.pruning.group_size))
            for s, v, mode, seed in product(epochs, rewind_epochs, _MODES, grid.seeds)
        ]

    def table(self, results):
        keys = ("mask_epoch", "rewind_epoch")
        columns, lines = crossed(results["summary"], keys, "mode", "test_accuracy")
        header = ["pruned from epoch", "weights of epoch", *(f"{_MODES[c]} (%)" for c in columns)]
        return header, [[*map(str, line), *texts] for line, texts in lines]


class Table3(Table2):
    """As Table 2, for ResNet18 on ImageNet: far too large for a machine without accelerators."""

    name = "table3"
    recipe = "imagenet"
    grids = {
        # 45, 90, ... of 200 epochs: 20, 40, ... of the 90 that are trained here.
        "paper": {"mask_epochs": (45, 90, 100, 135), "rewind_epochs": (12,), "seeds": (0, 1, 2)},
        "smoke": Table2.grids["smoke"],
    }
