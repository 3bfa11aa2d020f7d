"""Table 1: memorization capacity after several shots of pruning, against one at the same epoch."""

from itertools import product

import numpy as np

from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.paper.fig5 import SMALL, SMOKE, Capacity, points_by_examples
from tf_earlyticket.paper.item import MARGIN, claim, crossed, gains, means


@claim("Four shots keep more memorization capacity than one")
def shots_keep_more(results):
    last = max(row["mask_epoch"] for row in results["summary"])
    one, several = (
        means(results, "capacity", "examples", mask_epoch=last, mode=mode)
        for mode in ("one_shot", "gradual")
    )
    gaps = gains(one, several)
    if not gaps:
        return None
    held = np.mean(list(gaps.values())) > MARGIN
    return held, f"at the last step (epoch {last}): {points_by_examples(gaps)}"


class Table1(Capacity):
    """Capacity by number of images, after each shot."""

    name = "table1"
    title = "Memorization capacity, one shot against several"
    kind = "shots"
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
    claims = (shots_keep_more,)

    def variants(self, config, grid):
        # Sparsity rises with the epoch; each is reached by its shots, and by one at the end.
        epochs = grid.needed("mask_epochs")
        sparsities = shot_sparsities(config.pruning.final_sparsity, len(epochs))
        for (s, sparsity), mode in product(
            zip(epochs, sparsities, strict=True), ("one_shot", "gradual")
        ):
            yield {"mask_epoch": s, "mode": mode, "sparsity": round(sparsity, 4)}

    def start(self, run, grid, variant):
        from tf_earlyticket.paper.tickets import masks_of, recorded_weights

        number = grid.mask_epochs.index(variant["mask_epoch"])
        sparsities = shot_sparsities(run.config.pruning.final_sparsity, len(grid.mask_epochs))
        if variant["mode"] == "gradual":
            weights = pruned_in_shots(run, grid.mask_epochs)[number]
        else:
            weights = recorded_weights(run, variant["mask_epoch"])
        return weights, masks_of(run, weights, sparsities[number])

    def table(self, results):
        keys = ("examples", "mask_epoch", "sparsity")
        columns, lines = crossed(results["summary"], keys, "mode", "capacity")
        names = {"one_shot": "one shot (%)", "gradual": "step by step (%)"}
        return ["N", "epoch", "sparsity (%)", *map(names.get, columns)], [
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
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.job.phases import Phase
    from tf_earlyticket.paper.tickets import mask_update, restore_epoch, shared_phase

    def start() -> int:
        restore_epoch(run, epochs[0])
        return epochs[0]

    phase = "shots-" + "-".join(f"{epoch:03d}" for epoch in epochs)
    sparsities = shot_sparsities(run.config.pruning.final_sparsity, len(epochs))
    shots = []
    with shared_phase(run, phase):
        for n, (epoch, sparsity) in enumerate(zip(epochs, sparsities, strict=True)):
            path = run.paths.directory(phase) / f"weights-{n:02d}.safetensors"
            if not path.exists():
                training = Phase(run, phase, logged=False)
                training.train([mask_update(run)], start, epoch)
                network = pruned(run.model)
                network.set_masks(network.ranked_masks(sparsity))
                # Before the weights: what continues from here has to be pruned already.
                training.checkpoint.set_model(run.model)
                training.checkpoint.save(epoch)
                write_arrays(path, network.all_weights())
            shots.append(read_arrays(path))
    return shots
