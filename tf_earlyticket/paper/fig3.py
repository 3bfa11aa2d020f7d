"""Fig. 3: how far the masks of two epochs are from each other."""

from itertools import product

from tf_earlyticket.paper.item import Item, claim, describe, heat_map, means
from tf_earlyticket.pruning.masks import mask_distance


@claim("Equally good masks can be as far apart as 0.159")
def distant_masks(results):
    epochs = results["config"]["train"]["epochs"]
    sparsity = results["config"]["pruning"]["final_sparsity"]
    cells = means(results, "distance", "a", "b")
    last = max(b for _, b in cells)
    half = min((a for a, _ in cells), key=lambda epoch: abs(epoch - epochs / 2))
    return cells[half, last] >= 0.1, (
        f"the masks of epochs {half} and {last} are {cells[half, last]:.3f} apart; two random "
        f"masks of this sparsity would be {2 * sparsity * (1 - sparsity):.3f} apart"
    )


class Fig3(Item):
    """The distance of every two masks of a dense run."""

    name = "fig3"
    title = "Distances between masks"
    recipe = "network"
    grids = {
        "paper": {"mask_epochs": tuple(range(20, 201, 20))},
        "smoke": {"mask_epochs": (50, 100, 150, 200)},
    }
    keys = ("a", "b")
    values = ("distance",)
    claims = (distant_masks,)

    def looks(self, run, grid):
        from tf_earlyticket.paper.tickets import recorded_masks

        epochs = grid.mask_epochs or range(1, run.config.train.epochs + 1)
        masks = {epoch: recorded_masks(run, epoch) for epoch in epochs}
        for a, b in product(masks, masks):
            yield {"a": a, "b": b, "distance": mask_distance(masks[a], masks[b])}

    def figures(self, results):
        title = f"Distance between the masks of two epochs: {describe(results)}"
        axes = ("a", "Mask of epoch"), ("b", "Mask of epoch")
        return {"figure": heat_map(title, results["summary"], *axes, "distance", scale=1)}
