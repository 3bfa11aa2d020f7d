"""The cells of every figure and table of the paper (section, figure or table in `ITEMS`)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import product

from tf_earlyticket.backends import pruned
from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.build import dataset_spec, plan_of
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.paper.dense_record import record_dense, recorded_weights
from tf_earlyticket.paper.early_ticket import early_ticket
from tf_earlyticket.paper.four_shot import pruned_in_shots, shot_sparsities
from tf_earlyticket.paper.grid import Grid
from tf_earlyticket.paper.iterative import iterative_pruning
from tf_earlyticket.paper.memorization import recorded_capacity
from tf_earlyticket.paper.probes import probe_epoch
from tf_earlyticket.paper.run_directory import Cell
from tf_earlyticket.paper.tickets import CONTROLS, TicketSpec, train_rewound_ticket
from tf_earlyticket.pruning.plan import iterative_sparsities
from tf_earlyticket.pruning.select import resolve_criterion


def cells_of(item: str, config: Config, grid: Grid) -> list[Cell]:
    """Returns the cells of an item, the dense runs first.

    Args:
        item: One of `core.grid.ITEMS`.
        config: Of the dense runs.
        grid: What the item varies.

    Raises:
        InputError: If the grid lacks what the item needs, or asks for a ramp that does not fit.
    """
    dense = [
        Cell("dense", seed, {}, lambda run, _: record_dense(run, False), config.train.epochs)
        for seed in grid.seeds
    ]
    return dense + _CELLS[item](config, grid)


def tickets(config: Config, grid: Grid) -> list[Cell]:
    """Fig. 1 and 8: one-shot tickets (s, v); the controls of one of them if it has no groups."""
    specs = [
        TicketSpec(s, v, group_size=group_size)
        for group_size, s, v in product(
            _needed(grid, "group_sizes"),
            _needed(grid, "mask_epochs"),
            _needed(grid, "rewind_epochs"),
        )
    ]
    controlled = controlled_ticket(config, grid)
    if controlled.group_size == 1:
        specs += [replace(controlled, control=name) for name in CONTROLS[1:]]
    return [_ticket(config, seed, spec) for seed in grid.seeds for spec in specs]


def controlled_ticket(config: Config, grid: Grid) -> TicketSpec:
    """Returns the ticket that the controls are compared with: s half-way, the middle v."""
    late = [s for s in grid.mask_epochs if s >= config.train.epochs / 2] or grid.mask_epochs[-1:]
    v = grid.rewind_epochs[len(grid.rewind_epochs) // 2]
    return TicketSpec(min(late), v, group_size=grid.group_sizes[0])


def start_epochs(config: Config, grid: Grid) -> list[Cell]:
    """Table 2 and 3: one-shot and gradual tickets from different epochs."""
    pruning, epochs, plan = config.pruning, config.train.epochs, plan_of(config)
    latest = epochs - plan.ramp_epochs
    for s in _needed(grid, "mask_epochs"):
        if s > latest:
            raise InputError(
                f"mask_epochs: a ramp of {plan.ramp_epochs} epochs from {s} does not fit into "
                f"{epochs}; expected at most {latest}."
            )
    return [
        _ticket(config, seed, TicketSpec(s, v, mode, pruning.group_size))
        for s, v, mode, seed in product(
            grid.mask_epochs,
            _needed(grid, "rewind_epochs"),
            ("one_shot", "gradual"),
            grid.seeds,
        )
    ]


def _ticket(config: Config, seed: int, spec: TicketSpec) -> Cell:
    def make(run: Run, phase: str) -> dict:
        return train_rewound_ticket(run, phase, spec)

    epochs = config.train.epochs * (1.2 if spec.mode == "gradual" else 1)
    return Cell("ticket", seed, asdict(spec), make, epochs)


def probes(config: Config, grid: Grid) -> list[Cell]:
    """Fig. 4 and 6: a probe at every epoch (`probe.every_epochs`), at each learning rate."""
    every = config.probe.every_epochs or 1
    return [
        Cell(
            "probe",
            seed,
            {"epoch": epoch, "learning_rate": rate},
            partial(probe_epoch, epoch=epoch, learning_rate=rate),
            1.3,
        )
        for seed, rate, epoch in product(
            grid.seeds, grid.learning_rates, range(every, config.train.epochs + 1, every)
        )
    ]


def memorization(config: Config, grid: Grid) -> list[Cell]:
    """Fig. 5 and Table 5: capacity by mask epoch, group size and number of images.

    The pruned network is trained from its own weights, those of epoch s, unless the grid names
    rewind epochs.
    """
    sparsity, ranking = config.pruning.final_sparsity, config.pruning.ranking

    def make(run: Run, phase: str, *, described: dict, examples: int) -> dict:
        weights = recorded_weights(run, described["mask_epoch"])
        criterion = resolve_criterion(ranking, described["group_size"])
        prunable = {name: weights[name] for name in pruned(run.model).masks()}
        masks = criterion.masks(prunable, sparsity)
        start = recorded_weights(run, described["rewind_epoch"])
        options = {"examples": examples, "epochs": grid.memorization_epochs}
        return recorded_capacity(run, phase, start, masks, described=described, **options)

    cells = []
    for group_size, s, seed in product(
        _needed(grid, "group_sizes"), _needed(grid, "mask_epochs"), grid.seeds
    ):
        for v in grid.rewind_epochs or (s,):
            described = {"mask_epoch": s, "rewind_epoch": v, "group_size": group_size}
            cells += _capacities(config, grid, "memorization", seed, described, make)
    return cells


def shots(config: Config, grid: Grid) -> list[Cell]:
    """Table 1: capacity after each of several shots, against one shot at the same epoch."""
    epochs = _needed(grid, "mask_epochs")
    sparsities = shot_sparsities(config.pruning.final_sparsity, len(epochs))

    def make(run: Run, phase: str, *, described: dict, examples: int) -> dict:
        number = epochs.index(described["mask_epoch"])
        names = list(pruned(run.model).masks())
        weights = recorded_weights(run, described["mask_epoch"])
        if described["mode"] == "gradual":
            weights = pruned_in_shots(run, epochs)[number]
        criterion = resolve_criterion(config.pruning.ranking, config.pruning.group_size)
        masks = criterion.masks({name: weights[name] for name in names}, sparsities[number])
        options = {"examples": examples, "epochs": grid.memorization_epochs}
        return recorded_capacity(run, phase, weights, masks, described=described, **options)

    cells = []
    for (s, sparsity), mode, seed in product(
        zip(epochs, sparsities, strict=True), ("one_shot", "gradual"), grid.seeds
    ):
        described = {"mask_epoch": s, "mode": mode, "sparsity": round(sparsity, 4)}
        cells += _capacities(config, grid, "shots", seed, described, make)
    return cells


def _capacities(
    config: Config, grid: Grid, kind: str, seed: int, described: dict, make: Callable
) -> list[Cell]:
    cells = []
    for examples in _needed(grid, "examples"):
        if examples < config.train.batch_size:
            raise InputError(
                f"examples: {examples} do not fill a batch; expected at least "
                f"config.train.batch_size={config.train.batch_size}."
            )
        values = {**described, "examples": examples, "passes": grid.memorization_epochs}
        share = grid.memorization_epochs * examples / dataset_spec(config).train_examples
        made = partial(make, described=described, examples=examples)
        cells.append(Cell(kind, seed, values, made, share))
    return cells


def costs(config: Config, grid: Grid) -> list[Cell]:
    """Table 4: this toolkit's run next to iterative pruning."""
    rounds = len(iterative_sparsities(config.pruning.final_sparsity, grid.prune_fraction))
    cells = []
    for seed in grid.seeds:
        cells.append(Cell("early_ticket", seed, {}, early_ticket, 1.1 * config.train.epochs))
        for v in _needed(grid, "rewind_epochs"):
            values = {"prune_fraction": grid.prune_fraction, "rewind_epoch": v}
            made = partial(iterative_pruning, **values)
            cells.append(Cell("iterative", seed, values, made, rounds * config.train.epochs))
    return cells


def _nothing_more(config: Config, grid: Grid) -> list[Cell]:
    return []


def _needed(grid: Grid, name: str) -> Sequence:
    values = getattr(grid, name)
    if not values:
        raise InputError(f"{name}: this item needs at least one, got none.")
    return values


_CELLS = {
    "fig1": tickets,
    "fig2": _nothing_more,
    "fig3": _nothing_more,
    "fig4": probes,
    "fig5": memorization,
    "fig6": probes,
    "fig8": tickets,
    "table1": shots,
    "table2": start_epochs,
    "table3": start_epochs,
    "table4": costs,
    "table5": memorization,
}
