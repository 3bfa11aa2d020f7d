"""An item made: its cells in a directory that seeds and items share, what came out, its files."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import filelock
import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_named
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import load
from tf_earlyticket.files import write_csv, write_json, write_text
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.devices import config_for_replicas
from tf_earlyticket.job.job import NOTES
from tf_earlyticket.job.phases import Run
from tf_earlyticket.job.preflight import check_one_ticket
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.paper.item import (
    ITEMS,
    SCALES,
    Cell,
    Grid,
    Results,
    check_claims,
    markdown_table,
    parse_shard,
    summarize,
)
from tf_earlyticket.paper.tickets import DENSE, keep, record_dense
from tf_earlyticket.report import drawing
from tf_earlyticket.report.report import environment


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
        item: One of `ITEMS`.
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
    wanted = ITEMS.get(item)
    checks.choice("scale", scale, SCALES)
    grid.check(config.train.epochs, dataset_spec(config).train_examples)
    index, count = parse_shard(shard)
    cells = cells_of(item, config, grid)
    with open_runs(config, workdir, grid.seeds, data_dir, strategy) as runs:
        if not finished_only:
            fill(runs, cells[index::count], tell)
        finished = [
            (cell, {"seed": cell.seed, **cell.values, **result})
            for cell in cells
            if (result := runs[cell.seed].result(cell.phase)) is not None
        ]
        dense = {cell.seed: record for cell, record in finished if cell.kind == DENSE}
        plain = [(c, {n: v for n, v in result.items() if n != "rows"}) for c, result in finished]
        records = [{"seed": s, **look} for s in dense for look in wanted.looks(runs[s], grid)]
        records += wanted.records(plain, runs, grid)
        first = runs[grid.seeds[0]]
        results = {
            "schema_version": 1,
            "item": item,
            "title": wanted.title,
            "scale": scale,
            "command": command,
            "config": config.to_dict(),
            "grid": asdict(grid),
            "environment": environment(strategy, first.strategy.num_replicas_in_sync),
            "notes": [NOTES[config.data.name]] if config.data.name in NOTES else [],
            "steps_per_epoch": first.steps_per_epoch,
            "cells": len(cells),
            "finished": len(finished),
            "dense": {
                str(seed): {name: result[name] for name in ("test_accuracy", "epochs", "rows")}
                for seed, result in dense.items()
            },
            "records": records,
            "summary": summarize(records, wanted.keys, wanted.values),
        }
    # Numbers of a smoke run say nothing about the paper.
    results["claims"] = check_claims({item: results}) if scale != "smoke" else []
    write_item(results, Path(workdir) / "items" / item)
    return results


def cells_of(item: str, config: Config, grid: Grid) -> list[Cell]:
    """Returns the cells of an item, the dense runs first.

    Raises:
        InputError: If the item is unknown, the grid lacks what it needs, or asks for the
            impossible.
    """
    dense = [
        Cell(DENSE, seed, {}, lambda run, _: record_dense(run), config.train.epochs)
        for seed in grid.seeds
    ]
    return dense + ITEMS.get(item).cells(config, grid)


@contextlib.contextmanager
def open_runs(
    config: Config, workdir, seeds: Sequence[int], data_dir, strategy: str
) -> Iterator[dict[int, Run]]:
    """Gives a run of the config for each seed, in directories of their own under `workdir`.

    Raises:
        InputError: If a directory holds a run of another config, or for several workers: they
            share an experiment by its cells.
    """
    if strategy == "multi_worker":
        expected = "another one: several machines share an experiment by --shard=i/n or a seed each"
        raise checks.refuse("strategy", strategy, expected)
    check_one_ticket(config)
    if config.pruning.shrink_after_ramp:
        expected = "false for experiments, whose tickets stay masked"
        raise checks.refuse("config.pruning.shrink_after_ramp", True, expected)
    with backend_named(config.model.keras).devices(strategy) as devices:
        trained = config_for_replicas(config, devices)
        data = load(dataset_spec(config), data_dir, deterministic=config.data.deterministic)
        runs = {}
        for seed in seeds:
            paths = RunPaths(Path(workdir) / f"seed{seed}")
            paths.claim(replace(config, seed=seed))
            runs[seed] = Run(replace(trained, seed=seed), paths, data, devices)
        yield runs


def seeded(run: Run, function: Callable, *arguments):
    """Calls a function with a run of its own and everything random as at the start of a process."""
    backend_named(run.config.model.keras).set_random_seed(run.config.seed)
    if run.config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    return function(run, *arguments)


def fill(
    runs: Mapping[int, Run], cells: Sequence[Cell], tell: Callable[[str], None] = print
) -> None:
    """Makes the cells that are not finished, one after the other.

    Several processes may fill one directory: a cell that another one is making is left to it, and
    a dense run is waited for. `tell` gets a line before each cell.
    """
    missing = [cell for cell in cells if runs[cell.seed].result(cell.phase) is None]
    done_epochs, started = 0.0, time.monotonic()
    for number, cell in enumerate(missing):
        left = ""
        if done_epochs:
            rate = (time.monotonic() - started) / done_epochs
            seconds = rate * sum(other.epochs for other in missing[number:])
            left = f", about {drawing.duration(seconds)} left"
        tell(f"[{number + 1}/{len(missing)}] seed {cell.seed}: {cell.phase}{left}")
        _make_cell(runs[cell.seed], cell, tell)
        done_epochs += cell.epochs


def _make_cell(run: Run, cell: Cell, tell: Callable[[str], None]) -> None:
    """Records the dense run if need be and makes the cell, unless another process does."""
    locks = run.paths.workdir / "locks"
    locks.mkdir(exist_ok=True)
    if run.result(DENSE) is None:
        lock = filelock.FileLock(locks / "dense.lock")
        try:
            held = lock.acquire(timeout=0)
        except filelock.Timeout:
            tell("another process trains the dense run; waiting for it")
            held = lock.acquire()
        with held:
            seeded(run, record_dense)
    if cell.kind == DENSE:
        return
    try:
        with filelock.FileLock(locks / f"{cell.phase}.lock", timeout=0):
            seeded(run, keep, cell.phase, partial(cell.make, run, cell.phase))
    except filelock.Timeout:
        tell("another process makes this cell; going on with the next one")


def write_item(results: Results, directory: Path) -> None:
    """Writes the files of an item: results.json, results.csv, its figures and its table."""
    item, summary = ITEMS.get(results["item"]), results["summary"]
    write_csv(directory / "results.csv", summary, list(summary[0]) if summary else [])
    table = item.table(results)
    if table is not None:
        write_text(directory / "table.md", markdown_table(*table))
    for name, figure in item.figures(results).items():
        drawing.save(figure, directory / f"{name}.png")
    # Last: it stands for the others.
    write_json(directory / "results.json", results)
