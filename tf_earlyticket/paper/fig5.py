"""Fig. 5: how well tickets learn random labels, by the epoch of their mask."""

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.config import Config
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.paper.item import (
    MARGIN,
    Cell,
    Grid,
    Item,
    claim,
    crossed,
    curves,
    describe,
    gains,
    grouped,
    means,
)

SMALL = {"examples": (1_000, 2_000, 4_000), "memorization_epochs": 60, "seeds": (0, 1, 2)}
SMOKE = {"examples": (64, 128), "memorization_epochs": 4, "seeds": (0,)}


def points_by_examples(points: Mapping[int, float]) -> str:
    """Returns differences of capacity by number of images as text."""
    return ", ".join(f"{100 * gap:+.1f} points at N = {n:,}" for n, gap in points.items())


def capacities(results) -> dict[int, dict[int, float]]:
    """Returns mean capacity by mask epoch and number of images."""
    epochs = sorted({row["mask_epoch"] for row in results["summary"]})
    return {s: means(results, "capacity", "examples", mask_epoch=s) for s in epochs}


@claim("Masks of early epochs memorize less than those of late ones")
def early_masks_memorize_less(results):
    table = capacities(results)
    first, last = min(table), max(table)
    gaps = gains(table[first], table[last])
    if first == last or not gaps:
        return None
    return max(gaps.values()) > MARGIN and min(gaps.values()) > -MARGIN, (
        f"mask of epoch {last} against that of epoch {first}: {points_by_examples(gaps)}"
    )


@claim("Masks from half of the epochs on memorize alike")
def late_masks_are_alike(results):
    half = results["config"]["train"]["epochs"] / 2
    late = {s: cells for s, cells in capacities(results).items() if s >= half}
    shared = sorted(set.intersection(*map(set, late.values()))) if len(late) > 1 else []
    if not shared:
        return None
    spans = {n: np.ptp([cells[n] for cells in late.values()]) for n in shared}
    listed = ", ".join(f"{100 * span:.1f} at N = {n:,}" for n, span in spans.items())
    return max(spans.values()) <= 2 * MARGIN, (
        f"masks of epochs {', '.join(map(str, late))} are apart by (points) {listed}"
    )


class Capacity(Item):
    """Memorization capacity of several tickets, each by number of images."""

    kind = "memorization"
    values = ("capacity", "epochs")

    def variants(self, config: Config, grid: Grid) -> Iterable[dict]:
        """Yields what tells the tickets apart."""
        raise NotImplementedError

    def start(self, run, grid: Grid, variant: dict) -> tuple[dict, dict]:
        """Returns the weights and masks of one of them."""
        raise NotImplementedError

    def cells(self, config, grid):
        train_examples, least = dataset_spec(config).train_examples, config.train.batch_size
        passes, cells = grid.memorization_epochs, []
        variants = list(self.variants(config, grid))
        for variant, seed, examples in product(variants, grid.seeds, grid.needed("examples")):
            if examples < least:
                raise checks.refuse("examples", examples, f"at least {least}, the batch size")
            values = {**variant, "examples": examples, "passes": passes}
            make = partial(self.make, grid=grid, variant=variant, examples=examples)
            cells.append(Cell(self.kind, seed, values, make, passes * examples / train_examples))
        return cells

    def make(self, run, phase, *, grid: Grid, variant: dict, examples: int) -> dict:
        from tf_earlyticket.paper.memorization import recorded_capacity

        start = self.start(run, grid, variant)
        return recorded_capacity(run, *start, examples, grid.memorization_epochs)


class Fig5(Capacity):
    """Memorization capacity by mask epoch and number of images."""

    name = "fig5"
    title = "Memorization capacity by mask epoch"
    grids = {
        "paper": {
            "mask_epochs": (20, 60, 100, 120, 200),
            # These are ours.
            "examples": (2_000, 5_000, 10_000, 20_000, 40_000),
            "seeds": tuple(range(10)),
        },
        "small": {**SMALL, "mask_epochs": (20, 120, 200)},
        "smoke": {**SMOKE, "mask_epochs": (50, 200), "seeds": (0, 1)},
    }
    keys = ("group_size", "mask_epoch", "rewind_epoch", "examples")
    claims = (early_masks_memorize_less, late_masks_are_alike)

    def variants(self, config, grid):
        for size, s in product(grid.needed("group_sizes"), grid.needed("mask_epochs")):
            # The pruned network starts from its own weights, unless the grid says otherwise.
            for v in grid.rewind_epochs or (s,):
                yield {"mask_epoch": s, "rewind_epoch": v, "group_size": size}

    def start(self, run, grid, variant):
        from tf_earlyticket.paper.tickets import recorded_masks, recorded_weights

        masks = recorded_masks(run, variant["mask_epoch"], variant["group_size"])
        return recorded_weights(run, variant["rewind_epoch"]), masks

    def line(self, row) -> str:
        """Returns to which line of the figure a row of the summary belongs."""
        s, v = row["mask_epoch"], row["rewind_epoch"]
        return f"mask of epoch {s}" + (f", weights of epoch {v}" if v != s else "")

    def figures(self, results):
        lines = grouped(results["summary"], self.line)
        series = {label: ("capacity", rows) for label, rows in lines.items()}
        title = f"Memorization capacity: {describe(results)}"
        axes = ("examples", "Randomly labelled images"), "Training accuracy (%)"
        return {"figure": curves(title, series, *axes)}

    def table(self, results):
        keys = ("group_size", "mask_epoch", "rewind_epoch")
        columns, lines = crossed(results["summary"], keys, "examples", "capacity")
        numbers = [f"N = {n:,}" for n in columns]
        header = ["group size", "mask of epoch", "weights of epoch", *numbers]
        return header, [[*map(str, line), *texts] for line, texts in lines]
