"""Table 5: how well tickets learn random labels, by the size of the groups of their weights."""

import numpy as np

from tf_earlyticket.paper.fig5 import SMALL, SMOKE, Fig5, capacities
from tf_earlyticket.paper.item import MARGIN, Claim, Judged, Results, percent, register_item


def _groups_keep_less(results: Results) -> Judged:
    table = capacities(results, "group_size")
    if len(table) < 2:
        return None
    means = {size: float(np.mean(list(cells.values()))) for size, cells in table.items()}
    listed = ", ".join(f"{size}: {percent(value)}" for size, value in means.items())
    values = list(means.values())
    falling = all(b <= a + MARGIN for a, b in zip(values, values[1:], strict=False))
    return falling and values[-1] < values[0] - MARGIN, f"mean capacity by group size {listed}"


class Table5(Fig5):
    """As Fig. 5, by group size at one mask epoch."""

    name = "table5"
    title = "Memorization capacity by group size"
    grids = {
        "paper": {
            "mask_epochs": (120,),
            "group_sizes": (1, 2, 4, 8, 16),
            "examples": (5_000, 10_000, 20_000),
            "seeds": tuple(range(10)),
        },
        "small": {**SMALL, "group_sizes": (1, 4, 8, 16)},
        "smoke": {**SMOKE, "group_sizes": (1, 8), "examples": (128,)},
    }
    claims = (Claim("Larger groups keep less memorization capacity", _groups_keep_less),)

    def line(self, row):
        """A line for each group size."""
        return f"group size {row['group_size']}"


register_item(Table5(), own=True)
