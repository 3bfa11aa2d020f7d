"""Fig. 4: PPR accuracy of every epoch, at two learning rates of the probes' retraining."""

from dataclasses import asdict
from functools import partial
from itertools import product

import numpy as np

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
)


def _ppr(results: Results, rate: float) -> tuple[list[int], np.ndarray]:
    rows = [row for row in results["summary"] if row["learning_rate"] == rate]
    return [row["epoch"] for row in rows], np.array([row["ppr_accuracy_mean"] for row in rows])


def ppr_saturates(results: Results) -> Judged:
    """Looks at when PPR accuracy, at the smaller rate, is close to its highest."""
    total, rate = results["config"]["train"]["epochs"], min(results["grid"]["learning_rates"])
    epochs, accuracy = _ppr(results, rate)
    if len(epochs) < 4 or epochs[-1] < 0.9 * total:
        return None
    top = float(accuracy.max())
    near = next(e for e, a in zip(epochs, accuracy, strict=True) if a >= top - MARGIN)
    half = accuracy[min(range(len(epochs)), key=lambda i: abs(epochs[i] - total / 2))]
    return 0.3 * total <= near <= 0.7 * total, (
        f"at {rate:g} it rises from {percent(accuracy[0])} (epoch {epochs[0]}) to "
        f"{percent(top)}; it is first within a point of that at epoch {near} of {total}, and "
        f"half-way through has {percent(half)}"
    )


def _large_rate_is_blind(results: Results) -> Judged:
    total, rates = results["config"]["train"]["epochs"], results["grid"]["learning_rates"]
    ranges = []
    for rate in (max(rates), min(rates)):
        late = [a for e, a in zip(*_ppr(results, rate), strict=True) if e >= total / 10]
        if len(late) < 4:
            return None
        ranges.append((max(late) - min(late), float(np.std(late))))
    (large, large_std), (small, small_std) = ranges
    return large_std < small_std / 2, (
        f"from epoch {total / 10:g} on it ranges over {100 * large:.1f} points at {max(rates):g} "
        f"(standard deviation {100 * large_std:.1f}), over {100 * small:.1f} at {min(rates):g} "
        f"({100 * small_std:.1f})"
    )


class Fig4(Item):
    """Probes at every epoch (`probe.every_epochs`) of a dense run."""

    name = "fig4"
    title = "PPR accuracy per epoch"
    keys = ("learning_rate", "epoch")
    values = ("ppr_accuracy", "pruned_accuracy", "dense_accuracy", "epochs")
    claims = (
        Claim(
            "Retrained at 0.01, PPR accuracy rises until about half of the epochs and then "
            "saturates",
            ppr_saturates,
        ),
        Claim("Retrained at 0.1 there is no difference between epochs", _large_rate_is_blind),
    )

    def config(self, scale):
        """One dense run, looked at closely."""
        return recipes.network_recipe(scale)

    def cells(self, config, grid):
        """A probe for each learning rate and epoch."""
        every = config.probe.every_epochs or 1
        probed = range(every, config.train.epochs + 1, every)
        cells = []
        for seed, rate, epoch in product(grid.seeds, grid.learning_rates, probed):
            values = {"epoch": epoch, "learning_rate": rate}
            cells.append(Cell("probe", seed, values, partial(probe_epoch, **values), 1.3))
        return cells

    def figures(self, results):
        """Accuracy by epoch: PPR at each rate, pruned, dense."""
        from tf_earlyticket.paper.drawing import curves
        from tf_earlyticket.report import drawing

        series: dict[str, tuple[str, list]] = {}
        for row in results["summary"]:
            label = f"pruned, retrained at {row['learning_rate']:g} (PPR)"
            series.setdefault(label, ("ppr_accuracy", []))[1].append(row)
        # What does not depend on the rate: from its first.
        _, first = next(iter(series.values()), ("", []))
        series["pruned, not retrained"] = ("pruned_accuracy", first)
        series["dense"] = ("dense_accuracy", first)
        title = f"PPR accuracy by epoch: {describe(results)}"
        figure = curves(title, series, ("epoch", "Epoch"), "Validation accuracy (%)")
        axes = figure.axes[0]
        drawing.epoch_axis(axes, results["config"]["train"]["epochs"])
        for epoch in results["config"]["train"]["drop_epochs"]:
            axes.axvline(epoch, color=drawing.GREY, linewidth=1, linestyle=":")
        return {"figure": figure}


def probe_epoch(run, phase: str, epoch: int, learning_rate: float) -> dict:
    """Probes after `epoch` epochs of the dense run, or returns the finished probe's result.

    Retrains for one whole epoch and evaluates on all held-out data (paper section 3.3).

    Returns:
        {"epoch", "learning_rate", "ppr_accuracy", "pruned_accuracy", "dense_accuracy" (fractions
        of the held-out data), "epochs" (passes over the training set), "seconds"}.
    """
    from tf_earlyticket.callbacks.ppr_probe import PPRProbe
    from tf_earlyticket.paper.dense_record import restore_epoch

    finished = run.result(phase)
    if finished is not None:
        return finished
    restore_epoch(run, epoch)
    batch_size = run.config.train.batch_size
    train = run.data.probe(batch_size, seed=run.config.seed, epoch=epoch)
    validation = run.data.validation(batch_size)
    probe = PPRProbe(
        lambda: train, lambda: validation, learning_rate=learning_rate, validation_fraction=1.0
    )
    probe.set_model(run.model)
    probe.on_train_begin()
    probe.set_params({"steps": run.steps_per_epoch})
    result = probe.probe(epoch)
    seen = asdict(result.observation)
    return run.finish(
        phase,
        {
            "epoch": epoch,
            "learning_rate": learning_rate,
            **{name: value for name, value in seen.items() if name.endswith("accuracy")},
            "epochs": result.cost_epochs,
            "seconds": result.seconds,
        },
    )


register_item(Fig4(), own=True)
