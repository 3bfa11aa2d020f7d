"""Table 4: accuracy and cost of this toolkit's own way against those of iterative pruning."""

from dataclasses import replace
from functools import partial

from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.paper.item import (
    MARGIN,
    Cell,
    Item,
    claim,
    describe,
    means,
    percent,
    spread_text,
)
from tf_earlyticket.pruning.masks import mask_sparsity
from tf_earlyticket.pruning.plan import iterative_sparsities
from tf_earlyticket.report import drawing

# By method: how figure and table name it, and its colour and marker.
_METHODS = {
    "dense": ("dense", "dense", drawing.GREEN, "^"),
    "early_ticket": ("early ticket, gradual", "early ticket (gradual)", drawing.BLUE, "o"),
    "iterative": (
        "iterative pruning, by round",
        "iterative pruning, rewound",
        drawing.VERMILLION,
        "s",
    ),
}


@claim("It takes 22 % of the epochs of iterative pruning")
def cheaper(results):
    # Of iterative pruning the last round.
    epochs = means(results, "epochs", "method")
    if epochs.keys() != _METHODS.keys():
        return None
    own, iterative = epochs["early_ticket"], epochs["iterative"]
    return own / iterative <= 0.23, (
        f"{own:.1f} epochs, probes counted, against {iterative:.1f} measured: "
        f"{percent(own / iterative)}"
    )


@claim("It is as accurate as iterative pruning")
def as_accurate(results):
    accuracies = means(results, "test_accuracy", "method")
    if accuracies.keys() != _METHODS.keys():
        return None
    listed = ", ".join(f"{n.replace('_', ' ')} {percent(a)}" for n, a in accuracies.items())
    return accuracies["early_ticket"] >= accuracies["iterative"] - MARGIN, listed


class Table4(Item):
    """The dense run, an early ticket, and each round of iterative pruning with rewinding."""

    name = "table4"
    title = "Accuracy and cost against iterative pruning"
    recipe = "network"
    grids = {
        "paper": {"rewind_epochs": (5,)},
        "small": {"rewind_epochs": (20,)},
        "smoke": {"prune_fraction": 0.6, "rewind_epochs": (0,)},
    }
    keys = ("method", "sparsity")
    values = ("test_accuracy", "epochs", "probe_epochs")
    claims = (cheaper, as_accurate)

    def cells(self, config, grid):
        epochs = config.train.epochs
        rounds = len(iterative_sparsities(config.pruning.final_sparsity, grid.prune_fraction))
        cells = []
        for seed in grid.seeds:
            cells.append(Cell("early_ticket", seed, {}, early_ticket, 1.1 * epochs))
            for v in grid.needed("rewind_epochs"):
                values = {"prune_fraction": grid.prune_fraction, "rewind_epoch": v}
                made = partial(iterative_pruning, **values)
                cells.append(Cell("iterative", seed, values, made, rounds * epochs))
        return cells

    def records(self, finished, runs, grid):
        # One for each method, and of iterative pruning one for each round.
        records = []
        for cell, result in finished:
            same = {"seed": cell.seed, "probe_epochs": 0.0, "sparsity": 0.0, "method": cell.kind}
            for done in result.get("rounds", [result]):
                done = {**done, "epochs": done.get("total_epochs", done.get("epochs"))}
                names = ("test_accuracy", "epochs", "sparsity", "probe_epochs", "start_epoch")
                records.append(same | {name: done[name] for name in names if name in done})
        return records

    def figures(self, results):
        title = f"Accuracy against cost: {describe(results)}"
        x_label = "Epochs in total, probes counted"
        figure, axes = drawing.new_axes(4, title, x_label, "Test accuracy (%)")
        if not results["summary"]:
            drawing.nothing(axes)
            return {"figure": figure}
        for method, (label, _, colour, marker) in _METHODS.items():
            rows = [row for row in results["summary"] if row["method"] == method]
            points = [(row["epochs_mean"], 100 * row["test_accuracy_mean"]) for row in rows]
            if points:
                axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=label)
            for row, point in zip(rows, points, strict=True):
                text = f"{100 * row['sparsity']:.0f} %"
                axes.annotate(text, point, xytext=(0, 6), textcoords="offset points", fontsize=8)
        axes.set_xlim(left=0)
        drawing.legend(figure, 3)
        return {"figure": figure}

    def table(self, results):
        rows = results["summary"]
        last = means(results, "epochs", "method").get("iterative")
        header = ["method", "sparsity (%)", "test accuracy (%)", "epochs in total", "in probes"]
        return [*header, "share"], [
            [
                _METHODS[row["method"]][1],
                f"{100 * row['sparsity']:.1f}",
                spread_text(row, "test_accuracy"),
                spread_text(row, "epochs", scale=1),
                spread_text(row, "probe_epochs", scale=1),
                percent(row["epochs_mean"] / last) if last else "-",
            ]
            for row in rows
        ]


def early_ticket(run, phase: str) -> dict:
    """Trains as `python -m tf_earlyticket.train` does: probe, detect, prune, in one run.

    Returns:
        {"test_accuracy", "sparsity" (fractions), "start_epoch", "start_reason", "probe_epochs",
        "epochs"}: the passes over the training set in probes, and in all.
    """
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.job.phases import search
    from tf_earlyticket.job.workdir import RunPaths
    from tf_earlyticket.paper.tickets import accuracy_on_test

    config = replace(run.config, pruning=replace(run.config.pruning, mode="continue"))
    own = replace(run, config=config, paths=RunPaths(run.paths.workdir / "early_ticket"))
    own.paths.claim(config)
    found = search(own)
    own.restore("search")
    network = pruned(own.model)
    probe_epochs = sum(probe.cost_epochs for probe in found.probes)
    return {
        "test_accuracy": accuracy_on_test(own),
        "sparsity": mask_sparsity(network.masks()),
        "start_epoch": found.start_epoch,
        "start_reason": found.start_reason,
        "probe_epochs": probe_epochs,
        "epochs": network.step() / run.steps_per_epoch + probe_epochs,
    }


def iterative_pruning(run, phase: str, prune_fraction: float, rewind_epoch: int) -> dict:
    """Prunes a part of the remaining weights, rewinds, trains in full, until the final sparsity.

    Iterative magnitude pruning with rewinding (Frankle & Carbin, 2018). Each round ranks the
    weights with which the one before ended; weights pruned once stay so.

    Args:
        run: A run whose dense run is recorded: it is the first training.
        phase: Name in front of its rounds'.
        prune_fraction: Of the remaining weights, per round.
        rewind_epoch: Epochs of the dense run after which the weights are taken, 0: initial ones.

    Returns:
        {"rounds": [{"sparsity", "test_accuracy", "total_epochs"}], "test_accuracy", "epochs"}:
        after each round the passes over the training set since the beginning, dense run included.
    """
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.paper import tickets

    weights = tickets.recorded_weights(run, run.config.train.epochs)
    rewound = tickets.recorded_weights(run, rewind_epoch)
    total, masks, rounds = tickets.record_dense(run)["epochs"], None, []
    sparsities = iterative_sparsities(run.config.pruning.final_sparsity, prune_fraction)
    for number, sparsity in enumerate(sparsities, start=1):
        name = f"{phase}-round{number:02d}"
        path = run.paths.checkpoints / f"{name}-final_weights.safetensors"
        masks = tickets.masks_of(run, weights, sparsity, previous=masks)

        def train_round(name=name, masks=masks, path=path) -> dict:
            trained = tickets.train_to_end(run, name, partial(tickets.put, run, rewound, masks))
            write_arrays(path, pruned(run.model).all_weights())
            return trained

        trained, weights = tickets.keep(run, name, train_round), read_arrays(path)
        total += trained["epochs"]
        accuracy = trained["test_accuracy"]
        rounds.append({"sparsity": sparsity, "test_accuracy": accuracy, "total_epochs": total})
    return {"rounds": rounds, "test_accuracy": accuracy, "epochs": total}
