"""The numbers of an item from whatever cells are finished: one record per seed, and summaries."""

from collections.abc import Mapping, Sequence
from itertools import product

from tf_earlyticket.backends import pruned
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.paper.dense_record import recorded_weights
from tf_earlyticket.paper.grid import Grid
from tf_earlyticket.paper.run_directory import Cell
from tf_earlyticket.paper.summary import summarize
from tf_earlyticket.pruning.masks import mask_distance
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.pruning.statistics import pseudo_pruning_rates, weight_statistics

_TICKET = ("group_size", "control", "mode", "mask_epoch", "rewind_epoch")
_PROBED = ("ppr_accuracy", "pruned_accuracy", "dense_accuracy")
# By item: what tells its rows apart, and what was measured.
_COLUMNS = {
    "fig1": (_TICKET, ("test_accuracy", "epochs")),
    "fig2": (("layer", "name", "epoch"), ("weight_std", "pruning_rate")),
    "fig3": (("a", "b"), ("distance",)),
    "fig4": (("learning_rate", "epoch"), (*_PROBED, "epochs")),
    "fig5": (("group_size", "mask_epoch", "rewind_epoch", "examples"), ("capacity", "epochs")),
    "table1": (("mode", "mask_epoch", "sparsity", "examples"), ("capacity", "epochs")),
    "table4": (("method", "sparsity"), ("test_accuracy", "epochs", "probe_epochs")),
}
_COLUMNS["fig8"] = _COLUMNS["table2"] = _COLUMNS["table3"] = _COLUMNS["fig1"]
_COLUMNS["fig6"], _COLUMNS["table5"] = _COLUMNS["fig4"], _COLUMNS["fig5"]


def collect(
    item: str, runs: Mapping[int, Run], cells: Sequence[Cell], grid: Grid
) -> tuple[list[dict], list[dict]]:
    """Returns the records of the finished cells, one per seed, and their summary.

    Args:
        item: One of `core.grid.ITEMS`.
        runs: By seed.
        cells: Of the item, finished or not.
        grid: Of the item.

    Returns:
        Records and rows as `core.summary.summarize` makes them.
    """
    finished = []
    for cell in cells:
        result = runs[cell.seed].result(cell.phase)
        if result is not None:
            kept = {name: value for name, value in result.items() if name != "rows"}
            finished.append((cell, {"seed": cell.seed, **cell.values, **kept}))
    dense = {cell.seed: record for cell, record in finished if cell.kind == "dense"}
    if item == "fig2":
        records = [record for seed in dense for record in _weights(runs[seed])]
    elif item == "fig3":
        records = [record for seed in dense for record in _distances(runs[seed], grid)]
    elif item == "table4":
        records = [record for cell, result in finished for record in _costs(cell.kind, result)]
    else:
        records = [record for cell, record in finished if cell.kind != "dense"]
    keys, values = _COLUMNS[item]
    return records, summarize(records, keys, values)


def _prunable(run: Run, epoch: int) -> dict:
    weights = recorded_weights(run, epoch)
    return {name: weights[name] for name in pruned(run.model).masks()}


def _weights(run: Run) -> list[dict]:
    """Fig. 2: W_std and pseudo pruning rate of each layer, initially and after every epoch."""
    records = []
    for epoch in range(run.config.train.epochs + 1):
        weights = _prunable(run, epoch)
        statistics = weight_statistics(weights)
        rates = pseudo_pruning_rates(weights, run.config.pruning.final_sparsity)
        records += [
            {
                "seed": run.config.seed,
                "epoch": epoch,
                "layer": number,
                "name": name,
                "weight_std": statistics[name]["std"],
                "pruning_rate": rates[name],
            }
            for number, name in enumerate(weights, start=1)
        ]
    return records


def _distances(run: Run, grid: Grid) -> list[dict]:
    """Fig. 3: the distance of every two masks."""
    pruning = run.config.pruning
    criterion = resolve_criterion(pruning.ranking, pruning.group_size)
    masks = {
        epoch: criterion.masks(_prunable(run, epoch), pruning.final_sparsity)
        for epoch in grid.mask_epochs or range(1, run.config.train.epochs + 1)
    }
    return [
        {"seed": run.config.seed, "a": a, "b": b, "distance": mask_distance(masks[a], masks[b])}
        for a, b in product(masks, masks)
    ]


def _costs(kind: str, result: Mapping) -> list[dict]:
    """Table 4: a record for each method, and one for each round of iterative pruning."""
    same = {"seed": result["seed"], "probe_epochs": 0.0, "sparsity": 0.0}
    if kind != "iterative":
        names = ("test_accuracy", "epochs", "sparsity", "probe_epochs", "start_epoch")
        known = {name: result[name] for name in names if name in result}
        return [{**same, "method": kind, **known}]
    return [
        {
            **same,
            "method": "iterative",
            "sparsity": done["sparsity"],
            "test_accuracy": done["test_accuracy"],
            "epochs": done["total_epochs"],
        }
        for done in result["rounds"]
    ]
