"""Table 1: memorization capacity after several shots of pruning, against one at the same epoch."""

from itertools import product

import numpy as np

from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.paper.fig5 import SMALL, SMOKE, capacity_cells
from tf_earlyticket.paper.item import (
    MARGIN,
    Claim,
    Item,
    Judged,
    Results,
    crossed,
    register_item,
)


def _shots_keep_more(results: Results) -> Judged:
    cells: dict[tuple, dict[str, float]] = {}
    for row in results["summary"]:
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


class Table1(Item):
    """Capacity by number of images, after each shot."""

    name = "table1"
    title = "Memorization capacity, one shot against several"
    grids = {
        "paper": {
            "mask_epochs": (20, 40, 60, 80),
            # These are ours.
            "examples": (5_000, 10_000, 20_000),
            "seeds": tuple(range(10)),
        },
        "small": {**SMALL, "mask_epochs": (20, 60, 100, 140)},
        "smoke": {**SMOKE, "mask_epochs": (50, 100, 150, 200), "examples": (128,)},
    }
    keys = ("mode", "mask_epoch", "sparsity", "examples")
    values = ("capacity", "epochs")
    claims = (Claim("Four shots keep more memorization capacity than one", _shots_keep_more),)

    def cells(self, config, grid):
        """Sparsity rises with the epoch; each is reached by its shots, and by one at the end."""
        epochs = grid.needed("mask_epochs")
        sparsities = shot_sparsities(config.pruning.final_sparsity, len(epochs))

        def make(run, phase, *, described, examples):
            from tf_earlyticket.paper.dense_record import masks_of, recorded_weights
            from tf_earlyticket.paper.memorization import recorded_capacity

            number = epochs.index(described["mask_epoch"])
            weights = recorded_weights(run, described["mask_epoch"])
            if described["mode"] == "gradual":
                weights = pruned_in_shots(run, epochs)[number]
            masks = masks_of(run, weights, sparsities[number])
            options = {"examples": examples, "epochs": grid.memorization_epochs}
            return recorded_capacity(run, phase, weights, masks, described=described, **options)

        cells = []
        for (s, sparsity), mode, seed in product(
            zip(epochs, sparsities, strict=True), ("one_shot", "gradual"), grid.seeds
        ):
            described = {"mask_epoch": s, "mode": mode, "sparsity": round(sparsity, 4)}
            cells += capacity_cells(config, grid, "shots", seed, described, make)
        return cells

    def table(self, results):
        """A line for each number of images and shot."""
        keys = ("examples", "mask_epoch", "sparsity")
        columns, lines = crossed(results["summary"], keys, "mode", "capacity")
        names = {"one_shot": "one shot (%)", "gradual": "step by step (%)"}
        return ["N", "epoch", "sparsity (%)", *(names[c] for c in columns)], [
            [f"{n:,}", str(epoch), f"{100 * sparsity:g}", *texts]
            for (n, epoch, sparsity), texts in lines
        ]


def shot_sparsities(final_sparsity: float, shots: int) -> list[float]:
    """Returns the sparsity after each shot: equal steps up to the final one."""
    return [final_sparsity * (n + 1) / shots for n in range(shots)]


def pruned_in_shots(run, epochs) -> list[dict[str, np.ndarray]]:
    """Returns every weight of the network right after each shot; makes them once.

    The dense run is pruned after `epochs[0]`, goes on sparse to `epochs[1]`, is pruned further,
    and so on to the config's final sparsity.

    Args:
        run: A run whose dense run is recorded.
        epochs: Rising, from 1; one for each shot.
    """
    phase = "shots-" + "-".join(f"{epoch:03d}" for epoch in epochs)
    sparsities = shot_sparsities(run.config.pruning.final_sparsity, len(epochs))
    paths = [run.directory(phase) / f"weights-{n:02d}.safetensors" for n in range(len(epochs))]
    for n, path in enumerate(paths):
        if not path.exists():
            _shoot(run, phase, epochs, n, sparsities[n], path)
    return [read_arrays(path) for path in paths]


def _shoot(run, phase, epochs, n, sparsity, path) -> None:
    """Trains from the state after the shot before, prunes and writes the weights."""
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.callbacks.mask_update import MaskUpdate
    from tf_earlyticket.job.phases import Phase
    from tf_earlyticket.paper.dense_record import restore_epoch

    def start() -> int:
        restore_epoch(run, epochs[0])
        return epochs[0]

    training = Phase(run, phase, logged=False)
    training.train([MaskUpdate()], start, epochs[n])
    network = pruned(run.model)
    network.set_masks(network.ranked_masks(sparsity))
    # Before the weights: what continues from here has to be pruned already.
    training.checkpoint.set_model(run.model)
    training.checkpoint.save(epochs[n])
    write_arrays(path, network.all_weights())


register_item(Table1(), own=True)
