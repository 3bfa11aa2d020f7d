"""The program `sensitivity`: a run's dense network with one layer pruned after the other."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tf_earlyticket import checks
from tf_earlyticket.commands import command_line
from tf_earlyticket.config import config_from_dict
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json, write_json
from tf_earlyticket.job.build import family_of
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.budgets import balanced_sparsities

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tf_earlyticket.analysis.sensitivity import Sensitivity

# The latest state of a run in which nothing is pruned.
_DENSE = ("dense", "branch")


def define_flags() -> None:
    """Defines the flags."""
    command_line.load_extensions()
    flags.DEFINE_list("sparsities", ["0.5", "0.7", "0.8", "0.9", "0.95"], "Of each layer alone")
    flags.DEFINE_integer("steps", 0, "Of retraining before each measurement", lower_bound=0)
    flags.DEFINE_integer(
        "batches", None, "Of held-out data that are looked at; default all", lower_bound=1
    )
    flags.DEFINE_float("sparsity", None, "Also derive a sparsity of each layer that come to this")
    flags.DEFINE_string("json", "sensitivity.json", "FILE for the numbers")
    flags.DEFINE_string("output", "sensitivity.png", "The figure; empty: none")
    flags.DEFINE_string("data_dir", None, "Where the run's data lie; default TFDS's own directory")


def main(argv: list[str]) -> None:
    """Measures the run that the argument names."""
    values = flags.FLAGS
    if len(argv) != 2:
        raise InputError(f"RUN: expected the directory of one run, got {len(argv) - 1} arguments.")
    command_line.check_file("output", values.output, ".png")
    command_line.check_file("json", values.json)
    try:
        sparsities = [float(each) for each in values.sparsities]
    except ValueError:
        sparsities = []
    if not sparsities:
        raise checks.refuse("--sparsities", values.sparsities, "numbers, by commas")
    for each in sparsities:
        checks.number("--sparsities", each, above=0, below=1)
    if values.sparsity is not None:
        checks.number("--sparsity", values.sparsity, low=0, high=max(sparsities))
    paths = RunPaths(Path(argv[1]))
    if not paths.config.exists():
        raise checks.refuse("RUN", argv[1], "the directory of a run of tf_earlyticket.train")
    config = config_from_dict(read_json(paths.config))
    check_run(config, values.data_dir, "one_device")
    # Of a family any, as they share the dense training.
    config = next(iter(family_of(config).values()), config)
    # Of an unfinished dense training, the state before pruning is the one that others can repeat.
    ready = (paths.result("dense"), paths.directory("branch"))
    phase = next((each for each, at in zip(_DENSE, ready, strict=True) if at.exists()), None)
    if phase is None:
        expected = "a run whose dense network is there, in checkpoints/dense or checkpoints/branch"
        raise checks.refuse("RUN", argv[1], expected)
    command_line.import_tensorflow()

    from tf_earlyticket.analysis.sensitivity import logger, sensitivity
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.backends.strategies import make_strategy
    from tf_earlyticket.data import load
    from tf_earlyticket.job.build import criterion_of, dataset_spec
    from tf_earlyticket.job.phases import Run
    from tf_earlyticket.report import drawing

    data = load(dataset_spec(config), values.data_dir)
    run = Run(config, paths, data, make_strategy("one_device"))
    epoch = run.restore(phase)
    batch_size = config.train.batch_size
    logger.setLevel(logging.INFO)

    def train():
        return data.probe(batch_size, seed=config.seed)

    # Also where nothing is retrained, for scores that look at data.
    pruned(run.model).score_data = train
    found = sensitivity(
        run.model,
        lambda: data.validation(batch_size),
        sparsities,
        train if values.steps else None,
        steps=values.steps,
        batches=values.batches,
    )
    results = found.to_json() | {"run": Path(argv[1]).name, "steps": values.steps, "epoch": epoch}
    if values.sparsity is not None:
        results["budgets"] = balanced_sparsities(found.losses, found.sizes, values.sparsity)
    of_channels = criterion_of(config.pruning).of_channels
    _print(found, results.get("budgets"), epoch, "channels" if of_channels else "weights")
    if values.json:
        write_json(Path(values.json), results)
        print(f"Written: {values.json}")
    if values.output:
        drawing.save(heat_map(found), Path(values.output))
        print(f"Written: {values.output}")


def _print(
    found: "Sensitivity", budgets: dict[str, float] | None, epoch: int, counted: str
) -> None:
    sparsities = list(next(iter(found.values())))
    columns = ["layer", counted, *(f"{100 * each:g} %" for each in sparsities)]
    rows = [
        [name, f"{found.sizes[name]:,}", *(f"{100 * values[s]:.1f}" for s in sparsities)]
        for name, values in found.items()
    ]
    if budgets is not None:
        columns.append("budget")
        for row in rows:
            row.append(f"{100 * budgets[row[0]]:.1f} %")
    print(
        f"{found.monitor} of the dense network after epoch {epoch}: {100 * found.dense:.1f} %; "
        "with one layer pruned:"
    )
    command_line.print_table(columns, rows, texts=1)


def heat_map(found: "Sensitivity") -> "Figure":
    """Draws what is lost, in points, over layers and sparsities."""
    import numpy as np

    from tf_earlyticket.report import drawing

    sparsities = list(next(iter(found.values())))
    lost = 100 * np.array([list(values.values()) for values in found.losses.values()])
    title = f"Points of {found.monitor} lost when one layer alone is pruned"
    figure, axes = drawing.new_axes(1.6 + 0.2 * len(found), title, "Sparsity of the layer (%)", "")
    most = max(float(lost.max()), 1.0)
    image = axes.imshow(lost, cmap="cividis_r", vmin=0, vmax=most, aspect="auto")
    axes.grid(False)
    axes.set_xticks(range(len(sparsities)), [f"{100 * each:g}" for each in sparsities])
    names = [drawing.plain(name.removesuffix("/kernel"), 30) for name in found]
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize=7)
    for (row, column), value in np.ndenumerate(lost):
        colour = "white" if value > most / 2 else drawing.INK
        axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, label="points lost")
    return figure
