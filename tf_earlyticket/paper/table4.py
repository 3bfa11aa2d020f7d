"""Table 4: accuracy and cost of this toolkit's own way against those of iterative pruning."""

from dataclasses import replace
from functools import partial

from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.paper import recipes
from tf_earlyticket.paper.item import (
    MARGIN,
    Cell,
    Claim,
    Item,
    Judged,
    Results,
    describe,
    percent,
    register_item,
    spread_text,
)
from tf_earlyticket.pruning.masks import mask_sparsity
from tf_earlyticket.pruning.plan import iterative_sparsities

_METHODS = ("dense", "early_ticket", "iterative")


def _by_method(results: Results) -> dict[str, dict] | None:
    """Returns the row of each method, of iterative pruning the last; None if one is missing."""
    rows = {row["method"]: row for row in results["summary"]}
    return rows if set(_METHODS) <= set(rows) else None


def _cheaper(results: Results) -> Judged:
    rows = _by_method(results)
    if rows is None:
        return None
    own, iterative = (rows[name]["epochs_mean"] for name in ("early_ticket", "iterative"))
    return own / iterative <= 0.23, (
        f"{own:.1f} epochs, probes counted, against {iterative:.1f} measured: "
        f"{percent(own / iterative)}"
    )


def _as_accurate(results: Results) -> Judged:
    rows = _by_method(results)
    if rows is None:
        return None
    accuracies = {name: row["test_accuracy_mean"] for name, row in rows.items()}
    listed = ", ".join(f"{n.replace('_', ' ')} {percent(a)}" for n, a in accuracies.items())
    return accuracies["early_ticket"] >= accuracies["iterative"] - MARGIN, listed


class Table4(Item):
    """The dense run, an early ticket, and each round of iterative pruning with rewinding."""

    name = "table4"
    title = "Accuracy and cost against iterative pruning"
    grids = {
        "paper": {"rewind_epochs": (5,)},
        "small": {"rewind_epochs": (20,)},
        "smoke": {"prune_fraction": 0.6, "rewind_epochs": (0,)},
    }
    keys = ("method", "sparsity")
    values = ("test_accuracy", "epochs", "probe_epochs")
    claims = (
        Claim("It takes 22 % of the epochs of iterative pruning", _cheaper),
        Claim("It is as accurate as iterative pruning", _as_accurate),
    )

    def config(self, scale):
        """One dense run, looked at closely."""
        return recipes.network_recipe(scale)

    def cells(self, config, grid):
        """Both ways, for each seed."""
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
        """One for each method, and of iterative pruning one for each round."""
        records = []
        for cell, result in finished:
            same = {"seed": result["seed"], "probe_epochs": 0.0, "sparsity": 0.0}
            same["method"] = cell.kind
            names = ("test_accuracy", "epochs", "sparsity", "probe_epochs", "start_epoch")
            for done in result.get("rounds", [result]):
                known = {name: done[name] for name in names if name in done}
                if "total_epochs" in done:
                    known["epochs"] = done["total_epochs"]
                records.append({**same, **known})
        return records

    def figures(self, results):
        """Accuracy against cost."""
        from tf_earlyticket.report import drawing

        title = f"Accuracy against cost: {describe(results)}"
        x_label = "Epochs in total, probes counted"
        figure, axes = drawing.new_axes(4, title, x_label, "Test accuracy (%)")
        if not results["summary"]:
            drawing.nothing(axes)
            return {"figure": figure}
        for method, label, colour, marker in (
            ("dense", "dense", drawing.GREEN, "^"),
            ("early_ticket", "early ticket, gradual", drawing.BLUE, "o"),
            ("iterative", "iterative pruning, by round", drawing.VERMILLION, "s"),
        ):
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
        """The same as numbers, with the share of iterative pruning's epochs."""
        rows = results["summary"]
        last = max((r["epochs_mean"] for r in rows if r["method"] == "iterative"), default=None)
        texts = {
            "dense": "dense",
            "early_ticket": "early ticket (gradual)",
            "iterative": "iterative pruning, rewound",
        }
        return [
            "method",
            "sparsity (%)",
            "test accuracy (%)",
            "epochs in total",
            "in probes",
            "share",
        ], [
            [
                texts[row["method"]],
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

    Args:
        run: Its config says how.
        phase: Name under which the run keeps the result.

    Returns:
        {"test_accuracy", "sparsity" (fractions), "start_epoch", "start_reason", "probe_epochs",
        "epochs"}: the passes over the training set in probes, and in all.
    """
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.job.phases import search
    from tf_earlyticket.job.workdir import RunPaths

    finished = run.result(phase)
    if finished is not None:
        return finished
    pruning = replace(run.config.pruning, mode="continue")
    own = replace(
        run,
        config=replace(run.config, pruning=pruning),
        paths=RunPaths(run.paths.workdir / "early_ticket"),
    )
    own.paths.claim(own.config)
    found = search(own)
    own.restore("search")
    test = run.data.test(run.config.train.batch_size)
    evaluation = own.model.evaluate(test, verbose=0, return_dict=True)
    network = pruned(own.model)
    probe_epochs = sum(probe.cost_epochs for probe in found.probes)
    return run.finish(
        phase,
        {
            "test_accuracy": evaluation["accuracy"],
            "sparsity": mask_sparsity(network.masks()),
            "start_epoch": found.start_epoch,
            "start_reason": found.start_reason,
            "probe_epochs": probe_epochs,
            "epochs": network.step() / run.steps_per_epoch + probe_epochs,
        },
    )


def iterative_pruning(
    run, phase: str, *, prune_fraction: float = 0.2, rewind_epoch: int = 0
) -> dict:
    """Prunes a part of the remaining weights, rewinds, trains in full, until the final sparsity.

    Iterative magnitude pruning with rewinding (Frankle & Carbin, 2018). Each round ranks the
    weights with which the one before ended; weights pruned once stay so.

    Args:
        run: A run whose dense run is recorded: it is the first training.
        phase: Name under which the run keeps the result, and in front of its rounds'.
        prune_fraction: Of the remaining weights, per round.
        rewind_epoch: Epochs of the dense run after which the weights are taken, 0: initial ones.

    Returns:
        {"rounds": [{"sparsity", "test_accuracy", "total_epochs"}], "test_accuracy", "epochs"}:
        after each round the passes over the training set since the beginning, dense run included.
    """
    from tf_earlyticket.paper.dense_record import masks_of, record_dense, recorded_weights

    finished = run.result(phase)
    if finished is not None:
        return finished
    total = record_dense(run, probing=False)["epochs"]
    weights = recorded_weights(run, run.config.train.epochs)
    rewound = recorded_weights(run, rewind_epoch)
    masks, rounds = None, []
    sparsities = iterative_sparsities(run.config.pruning.final_sparsity, prune_fraction)
    for number, sparsity in enumerate(sparsities, start=1):
        masks = masks_of(run, weights, sparsity, previous=masks)
        trained, weights = _round(run, f"{phase}-round{number:02d}", rewound, masks)
        total += trained["epochs"]
        accuracy = trained["test_accuracy"]
        rounds.append({"sparsity": sparsity, "test_accuracy": accuracy, "total_epochs": total})
    return run.finish(
        phase,
        {"rounds": rounds, "test_accuracy": rounds[-1]["test_accuracy"], "epochs": total},
    )


def _round(run, phase: str, rewound: dict, masks: dict) -> tuple[dict, dict]:
    """Returns the result of a round and the weights with which its training ended."""
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.paper.tickets import put, train_to_end

    path = run.paths.checkpoints / f"{phase}-final_weights.safetensors"

    def start() -> int:
        put(run, rewound, masks)
        return 0

    def keep_weights() -> None:
        write_arrays(path, pruned(run.model).all_weights())

    return train_to_end(run, phase, start, {}, at_end=keep_weights), read_arrays(path)


register_item(Table4(), own=True)
