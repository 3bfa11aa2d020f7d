"""A directory that the runs of several seeds share, and the cells of a grid that fill it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import filelock
import tensorflow as tf

from tf_earlyticket.backends import backend_named
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import load
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.devices import config_for_replicas, make_strategy
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.paper.dense_record import record_dense


@dataclass(frozen=True)
class Cell:
    """One result of a grid, independent of all others but for the dense run of its seed.

    Attributes:
        kind: What it is, in front of its name.
        seed: Of its run.
        values: What tells it from the other cells of its kind.
        make: Called as make(run, phase) in a run whose dense run is recorded; returns the result,
            at once where the phase is finished.
        epochs: What it will cost about, for the time left.
    """

    kind: str
    seed: int
    values: Mapping[str, Any]
    make: Callable[[Run, str], dict] = field(compare=False)
    epochs: float = 0.0

    @property
    def phase(self) -> str:
        """The name under which its run keeps it, such as "ticket-mask_epoch=8-rewind_epoch=0"."""
        values = (f"{name}={_text(value)}" for name, value in self.values.items())
        return "-".join([self.kind, *values])


def open_runs(
    config: Config, workdir, seeds: Sequence[int], data_dir, strategy: str
) -> dict[int, Run]:
    """Returns a run per seed, each in a directory of its own under `workdir`.

    Args:
        config: Of the runs; each seed replaces its own.
        workdir: Directory that they share.
        seeds: At least one.
        data_dir: Where TFDS data sets lie.
        strategy: Devices, see `make_strategy`.

    Raises:
        InputError: If a directory holds a run of another config, or for several workers: they
            share an experiment by its cells.
    """
    if strategy == "multi_worker":
        raise InputError(
            "--strategy=multi_worker: expected another one. Several machines share an experiment "
            "by its cells: --shard=i/n, or a seed each."
        )
    devices = make_strategy(strategy)
    data = load(dataset_spec(config), data_dir, deterministic=config.data.deterministic)
    runs = {}
    for seed in seeds:
        own = replace(config, seed=seed)
        paths = RunPaths(Path(workdir) / f"seed{seed}")
        paths.claim(own)
        runs[seed] = Run(config_for_replicas(own, devices), paths, data, devices)
    return runs


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
    a dense run is waited for.

    Args:
        runs: By seed.
        cells: What to make.
        tell: Gets a line before each cell, with its number and the time left.
    """
    missing = [cell for cell in cells if runs[cell.seed].result(cell.phase) is None]
    done_epochs, started = 0.0, time.monotonic()
    for number, cell in enumerate(missing):
        left = sum(other.epochs for other in missing[number:])
        rate = (time.monotonic() - started) / done_epochs if done_epochs else None
        tell(
            f"[{number + 1}/{len(missing)}] seed {cell.seed}: {cell.phase}"
            + (f", about {_duration(rate * left)} left" if rate else "")
        )
        make_cell(runs[cell.seed], cell, tell)
        done_epochs += cell.epochs


def make_cell(run: Run, cell: Cell, tell: Callable[[str], None]) -> None:
    """Records the dense run if need be and makes the cell, unless another process does."""
    locks = run.paths.workdir / "locks"
    locks.mkdir(exist_ok=True)
    if run.result("dense") is None:
        lock = filelock.FileLock(locks / "dense.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            tell("another process trains the dense run; waiting for it")
            lock.acquire()
        try:
            seeded(run, record_dense, False)
        finally:
            lock.release()
    try:
        with filelock.FileLock(locks / f"{cell.phase}.lock", timeout=0):
            seeded(run, cell.make, cell.phase)
    except filelock.Timeout:
        tell("another process makes this cell; going on with the next one")


def _text(value) -> str:
    # Names sort as their numbers do.
    return f"{value:03d}" if isinstance(value, int) else str(value)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
