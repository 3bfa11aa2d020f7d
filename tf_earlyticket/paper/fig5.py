"""Fig. 5: how well tickets learn random labels, by the epoch of their mask."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.config import Config
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.paper.item import (
    MARGIN,
    Cell,
    Claim,
    Grid,
    Item,
    Judged,
    Results,
    crossed,
    describe,
    register_item,
)

SMALL = {"examples": (1_000, 2_000, 4_000), "memorization_epochs": 60, "seeds": (0, 1, 2)}
SMOKE = {"examples": (64, 128), "memorization_epochs": 4, "seeds": (0,)}


def capacities(results: Results, key: str) -> dict[int, dict[int, float]]:
    """Returns mean capacity by `key` and number of images."""
    table: dict[int, dict[int, float]] = {}
    for row in results["summary"]:
        table.setdefault(row[key], {})[row["examples"]] = row["capacity_mean"]
    return dict(sorted(table.items()))


def _early_masks_memorize_less(results: Results) -> Judged:
    table = capacities(results, "mask_epoch")
    if len(table) < 2:
        return None
    (first, early), *_, (last, late) = table.items()
    gaps = {n: late[n] - early[n] for n in sorted(set(early) & set(late))}
    listed = ", ".join(f"{100 * gap:+.1f} points at N = {n:,}" for n, gap in gaps.items())
    return max(gaps.values()) > MARGIN and min(gaps.values()) > -MARGIN, (
        f"mask of epoch {last} against that of epoch {first}: {listed}"
    )


def _late_masks_are_alike(results: Results) -> Judged:
    half = results["config"]["train"]["epochs"] / 2
    late = {e: cells for e, cells in capacities(results, "mask_epoch").items() if e >= half}
    if len(late) < 2:
        return None
    shared = sorted(set.intersection(*map(set, late.values())))
    spans = {n: np.ptp([cells[n] for cells in late.values()]) for n in shared}
    listed = ", ".join(f"{100 * span:.1f} at N = {n:,}" for n, span in spans.items())
    return max(spans.values()) <= 2 * MARGIN, (
        f"masks of epochs {', '.join(map(str, late))} are apart by (points) {listed}"
    )


def capacity_cells(
    config: Config, grid: Grid, kind: str, seed: int, described: dict, make: Callable
) -> list[Cell]:
    """Returns a cell for each number of images; `make` also gets `described` and `examples`."""
    cells = []
    for examples in grid.needed("examples"):
        if examples < config.train.batch_size:
            least = config.train.batch_size
            raise checks.refuse("examples", examples, f"at least {least}, the batch size")
        values = {**described, "examples": examples, "passes": grid.memorization_epochs}
        share = grid.memorization_epochs * examples / dataset_spec(config).train_examples
        made = partial(make, described=described, examples=examples)
        cells.append(Cell(kind, seed, values, made, share))
    return cells


class Fig5(Item):
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
    values = ("capacity", "epochs")
    claims = (
        Claim(
            "Masks of early epochs memorize less than those of late ones",
            _early_masks_memorize_less,
        ),
        Claim("Masks from half of the epochs on memorize alike", _late_masks_are_alike),
    )

    def cells(self, config, grid):
        """The pruned network from its own weights, unless the grid names rewind epochs."""

        def make(run, phase, *, described, examples):
            from tf_earlyticket.paper.dense_record import recorded_masks, recorded_weights
            from tf_earlyticket.paper.memorization import recorded_capacity

            masks = recorded_masks(run, described["mask_epoch"], described["group_size"])
            start = recorded_weights(run, described["rewind_epoch"])
            options = {"examples": examples, "epochs": grid.memorization_epochs}
            return recorded_capacity(run, phase, start, masks, described=described, **options)

        cells = []
        for group_size, s, seed in product(
            grid.needed("group_sizes"), grid.needed("mask_epochs"), grid.seeds
        ):
            for v in grid.rewind_epochs or (s,):
                described = {"mask_epoch": s, "rewind_epoch": v, "group_size": group_size}
                cells += capacity_cells(config, grid, "memorization", seed, described, make)
        return cells

    def line(self, row) -> str:
        """Returns to which line of the figure a row of the summary belongs."""
        s, v = row["mask_epoch"], row["rewind_epoch"]
        return f"mask of epoch {s}" + (f", weights of epoch {v}" if v != s else "")

    def figures(self, results):
        """Capacity by number of images."""
        from tf_earlyticket.paper.drawing import curves

        series: dict[str, tuple[str, list]] = {}
        for row in results["summary"]:
            series.setdefault(self.line(row), ("capacity", []))[1].append(row)
        title = f"Memorization capacity: {describe(results)}"
        axes = ("examples", "Randomly labelled images"), "Training accuracy (%)"
        return {"figure": curves(title, series, *axes)}

    def table(self, results):
        """The same, a column for each number of images."""
        keys = ("group_size", "mask_epoch", "rewind_epoch")
        columns, lines = crossed(results["summary"], keys, "examples", "capacity")
        numbers = [f"N = {n:,}" for n in columns]
        header = ["group size", "mask of epoch", "weights of epoch", *numbers]
        return header, [[*map(str, line), *texts] for line, texts in lines]


register_item(Fig5(), own=True)
