"""Table 5: how well tickets learn random labels, by the size of the groups of their weights."""

from itertools import pairwise
from operator import itemgetter

import numpy as np

from tf_earlyticket.paper.fig5 import SMALL, SMOKE, Fig5
from tf_earlyticket.paper.item import MARGIN, claim, grouped, percent


@claim("Larger groups keep less memorization capacity")
def groups_keep_less(results):
    rows = grouped(results["summary"], itemgetter("group_size"))
    means = {size: np.mean([row["capacity_mean"] for row in rows[size]]) for size in sorted(rows)}
    if len(means) < 2:
        return None
    listed = ", ".join(f"{size}: {percent(value)}" for size, value in means.items())
    values = list(means.values())
    falling = all(b <= a + MARGIN for a, b in pairwise(values))
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
    claims = (groups_keep_less,)

    def line(self, row):
        return f"group size {row['group_size']}"
