"""One figure or table of the paper, from a dense run and whatever else it needs.

    python -m tf_earlyticket.reproduce --item=fig1 --scale=smoke
    python -m tf_earlyticket.reproduce --item=fig1 --scale=small --data_dir=DIR

Items: fig1 fig2 fig3 fig4 fig5 fig6 fig8 table1 table2 table3 table4 table5. The same command
continues what was interrupted; items with the same config share their runs; `--shard=0/4` to
`--shard=3/4` fill one directory by four processes or machines.
"""

import sys
from dataclasses import fields, replace
from pathlib import Path

from absl import flags

from tf_earlyticket import checks
from tf_earlyticket.commands import command_line
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.devices import check_strategy
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.paper import recipes as reproduce_config
from tf_earlyticket.paper.item import ITEMS, SCALES, Grid, parse_shard

_DEFINE = {tuple: flags.DEFINE_list, int: flags.DEFINE_integer, float: flags.DEFINE_float}


def define_flags() -> None:
    """Defines the flags; the default of --config depends on --item and --scale."""
    command_line.load_extensions()
    flags.DEFINE_string("item", None, f"What to reproduce: {', '.join(ITEMS)}")
    flags.DEFINE_string("scale", "small", f"Default config and grid: {', '.join(SCALES)}")
    flags.FLAGS(sys.argv, known_only=True)
    item, scale = flags.FLAGS.item, flags.FLAGS.scale
    if item is None and not any(a.lstrip("-").startswith("help") for a in sys.argv):
        raise InputError(f"--item is missing: expected one of {', '.join(ITEMS)}.")
    shown = item or next(iter(ITEMS))
    ITEMS.get(shown)
    checks.choice("scale", scale, SCALES)
    command_line.define_common_flags(f"{reproduce_config.__file__}:{shown}.{scale}")
    flags.DEFINE_string("workdir", None, "Directory; default runs/reproduce-<data>_<model>-<...>")
    flags.DEFINE_string("shard", "0/1", "i/n: make every n-th missing cell from the i-th on")
    for value in fields(Grid):
        text = f"{value.metadata['text']}; default by item and scale"
        _DEFINE[type(value.default)](value.name, None, text)
    flags.DEFINE_bool("finished_only", False, "Make nothing; draw what is finished")


def main(argv: list[str]) -> None:
    """Reproduces the item of the flags."""
    values = flags.FLAGS
    config = command_line.checked_config(argv)
    parse_shard(values.shard)
    check_strategy(values.strategy)
    given = {value.name: values[value.name].value for value in fields(Grid)}
    for name in given:
        if isinstance(given[name], list):
            kind = float if name == "learning_rates" else int
            given[name] = command_line.numbers(name, given[name], kind)
    grid = ITEMS.get(values.item).grid(values.scale, config.train.epochs)
    grid = replace(grid, **{name: value for name, value in given.items() if value is not None})
    grid.check(config.train.epochs, dataset_spec(config).train_examples)
    if values.dry_run:
        command_line.print_dry_run(config)
        from tf_earlyticket.paper.reproduction import cells_of

        cells = cells_of(values.item, config, grid)
        epochs = sum(cell.epochs for cell in cells)
        print(f"{values.item}: {len(cells)} cells, about {epochs:.0f} epochs, if none is finished")
        for cell in cells:
            print(f"  seed {cell.seed}: {cell.phase}")
        return
    check_run(config, values.data_dir, values.strategy)
    workdir, arguments = command_line.workdir_of(config, "reproduce-")
    print(f"Directory: {workdir}", flush=True)

    command_line.import_tensorflow()
    from tf_earlyticket.paper.reproduction import reproduce

    results = reproduce(
        values.item,
        config,
        grid,
        workdir,
        scale=values.scale,
        shard=values.shard,
        data_dir=values.data_dir,
        strategy=values.strategy,
        command=command_line.training_command("reproduce", config, arguments),
        finished_only=values.finished_only,
        tell=lambda line: print(line, flush=True),
    )
    _print_results(results, workdir / "items" / values.item)


def _print_results(results: dict, directory: Path) -> None:
    table = ITEMS.get(results["item"]).table(results)
    if table is not None:
        command_line.print_table(*table)
    for claim in results["claims"]:
        print(f"{'held' if claim['held'] else 'NOT held'}: {claim['claim']}.\n    {claim['ours']}.")
    if results["finished"] < results["cells"]:
        print(f"{results['finished']} of {results['cells']} cells are finished.")
    for note in results["notes"]:
        print(f"Note: {note}")
    print(f"Results and figures: {directory}")
