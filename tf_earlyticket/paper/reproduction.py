"""One figure or table of the paper: makes its cells, collects what is there, writes its files."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tf_earlyticket.config import Config
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.job import NOTES
from tf_earlyticket.paper.claims import check_claims
from tf_earlyticket.paper.collect import collect
from tf_earlyticket.paper.grid import Grid, check_grid, check_item
from tf_earlyticket.paper.item_tables import write_item
from tf_earlyticket.paper.items import cells_of
from tf_earlyticket.paper.run_directory import fill, open_runs
from tf_earlyticket.paper.summary import parse_shard, shard_of
from tf_earlyticket.report.build import environment

TITLES = {
    "fig1": "Tickets (s, v): one-shot masks on rewound weights",
    "fig2": "Spread of the weights and pseudo pruning rates per layer",
    "fig3": "Distances between masks",
    "fig4": "PPR accuracy per epoch",
    "fig5": "Memorization capacity by mask epoch",
    "fig6": "PPR accuracy per epoch",
    "fig8": "Tickets (s, v) with grouped weights",
    "table1": "Memorization capacity, one shot against several",
    "table2": "One-shot and gradual tickets by epoch",
    "table3": "One-shot and gradual tickets by epoch",
    "table4": "Accuracy and cost against iterative pruning",
    "table5": "Memorization capacity by group size",
}


def reproduce(
    item: str,
    config: Config,
    grid: Grid,
    workdir,
    *,
    scale: str = "paper",
    shard: str = "0/1",
    data_dir=None,
    strategy: str = "auto",
    command: str = "",
    finished_only: bool = False,
    tell: Callable[[str], None] = print,
) -> dict:
    """Makes the cells of an item that are missing and writes its results and figures.

    Items, seeds and processes may share one `workdir`: nothing finished is computed twice, and an
    item is drawn from whatever is finished.

    Args:
        item: One of `core.grid.ITEMS`.
        config: Of the dense runs; each of the grid's seeds replaces its seed.
        grid: What the item varies.
        workdir: A run directory per seed lies in it, and the results in `items/<item>/`.
        scale: Of the defaults that were used, for the record.
        shard: "i/n": only every n-th cell from i on; the other processes make the rest.
        data_dir: Where TFDS data sets lie.
        strategy: Devices, see `make_strategy`.
        command: Command line that repeats it, for its results.
        finished_only: Make nothing; collect and draw only.
        tell: Gets lines about the progress.

    Returns:
        The content of `results.json`.

    Raises:
        InputError: Before any work, for an argument that cannot be used.
    """
    check_item(item, scale)
    check_grid(grid, config.train.epochs, dataset_spec(config).train_examples)
    index, count = parse_shard(shard)
    cells = cells_of(item, config, grid)
    runs = open_runs(config, workdir, grid.seeds, data_dir, strategy)
    if not finished_only:
        fill(runs, shard_of(cells, index, count), tell)
    records, summary = collect(item, runs, cells, grid)
    first = next(iter(runs.values()))
    dense = {str(seed): run.result("dense") for seed, run in runs.items()}
    results = {
        "schema_version": 1,
        "item": item,
        "title": TITLES[item],
        "scale": scale,
        "command": command,
        "config": config.to_dict(),
        "grid": asdict(grid),
        "environment": environment(strategy, first.strategy.num_replicas_in_sync),
        "notes": [NOTES[config.data.name]] if config.data.name in NOTES else [],
        "steps_per_epoch": first.steps_per_epoch,
        "cells": len(cells),
        "finished": sum(runs[cell.seed].result(cell.phase) is not None for cell in cells),
        "dense": {
            seed: {name: result[name] for name in ("test_accuracy", "epochs", "rows")}
            for seed, result in dense.items()
            if result is not None
        },
        "records": records,
        "summary": summary,
    }
    # Numbers of a smoke run say nothing about the paper.
    results["claims"] = check_claims({item: results}) if scale != "smoke" else []
    write_item(results, Path(workdir) / "items" / item)
    return results
