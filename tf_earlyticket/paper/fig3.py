"""Fig. 3: how far the masks of two epochs are from each other."""

from itertools import product

from tf_earlyticket.paper import recipes
from tf_earlyticket.paper.item import Claim, Item, Judged, Results, describe, register_item
from tf_earlyticket.pruning.masks import mask_distance


def _distant_masks(results: Results) -> Judged:
    epochs = results["config"]["train"]["epochs"]
    sparsity = results["config"]["pruning"]["final_sparsity"]
    cells = {(row["a"], row["b"]): row["distance_mean"] for row in results["summary"]}
    known = sorted({a for a, _ in cells})
    half = min(known, key=lambda epoch: abs(epoch - epochs / 2))
    distance = cells[half, known[-1]]
    return distance >= 0.1, (
        f"the masks of epochs {half} and {known[-1]} are {distance:.3f} apart; two random masks of "
        f"this sparsity would be {2 * sparsity * (1 - sparsity):.3f} apart"
    )


class Fig3(Item):
    """The distance of every two masks of a dense run."""

    name = "fig3"
    title = "Distances between masks"
    grids = {
        "paper": {"mask_epochs": tuple(range(20, 201, 20))},
        "smoke": {"mask_epochs": (50, 100, 150, 200)},
    }
    keys = ("a", "b")
    values = ("distance",)
    claims = (Claim("Equally good masks can be as far apart as 0.159", _distant_masks),)

    def config(self, scale):
        """One dense run, looked at closely."""
        return recipes.network_recipe(scale)

    def records(self, finished, runs, grid):
        """One for each two epochs, from the recorded weights."""
        from tf_earlyticket.paper.dense_record import recorded_masks

        records = []
        for _, dense in finished:
            run = runs[dense["seed"]]
            epochs = grid.mask_epochs or range(1, run.config.train.epochs + 1)
            masks = {epoch: recorded_masks(run, epoch) for epoch in epochs}
            for a, b in product(masks, masks):
                distance = mask_distance(masks[a], masks[b])
                records.append({"seed": dense["seed"], "a": a, "b": b, "distance": distance})
        return records

    def figures(self, results):
        """A map."""
        from tf_earlyticket.paper.drawing import heat_map

        title = f"Distance between the masks of two epochs: {describe(results)}"
        axes = ("a", "Mask of epoch"), ("b", "Mask of epoch")
        return {"figure": heat_map(title, results["summary"], *axes, "distance", scale=1)}


register_item(Fig3(), own=True)
