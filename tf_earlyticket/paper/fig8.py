"""Fig. 8: tickets (s, v) whose weights live and die in groups."""

import numpy as np

from tf_earlyticket.paper.fig1 import Fig1, accuracies
from tf_earlyticket.paper.item import MARGIN, claim, gains


@claim("Structured sparsity loses accuracy", beside="fig1")
def groups_lose(grouped, single):
    gaps = list(gains(accuracies(single), accuracies(grouped)).values())
    if not gaps:
        return None
    return np.mean(gaps) < -MARGIN, (
        f"over {len(gaps)} shared tickets, grouped weights change accuracy by "
        f"{100 * np.mean(gaps):+.1f} points on average "
        f"({100 * min(gaps):+.1f} to {100 * max(gaps):+.1f})"
    )


class Fig8(Fig1):
    """As Fig. 1, with groups of eight."""

    name = "fig8"
    title = "Tickets (s, v) with grouped weights"
    grids = {
        **Fig1.grids,
        "paper": {**Fig1.grids["paper"], "group_sizes": (8,)},
        "smoke": {**Fig1.grids["smoke"], "group_sizes": (4,)},
    }
    claims = (groups_lose,)

    def table(self, results):
        # There are no controls.
        return None
