"""Fig. 4 and 6: PPR accuracy of every epoch, for two networks."""

from functools import partial
from itertools import product
from operator import itemgetter

import numpy as np

from tf_earlyticket.paper.item import (
    MARGIN,
    Cell,
    Claim,
    Item,
    claim,
    curves,
    describe,
    grouped,
    means,
    percent,
)
from tf_earlyticket.report import drawing


@claim("Retrained at 0.01, PPR accuracy rises until about half of the epochs and then saturates")
def ppr_saturates(results):
    total, rate = results["config"]["train"]["epochs"], min(results["grid"]["learning_rates"])
    accuracy = means(results, "ppr_accuracy", "epoch", learning_rate=rate)
    if len(accuracy) < 4 or max(accuracy) < 0.9 * total:
        return None
    first, top = min(accuracy), max(accuracy.values())
    near = next(epoch for epoch, a in accuracy.items() if a >= top - MARGIN)
    half = min(accuracy, key=lambda epoch: abs(epoch - total / 2))
    return 0.3 * total <= near <= 0.7 * total, (
        f"at {rate:g} it rises from {percent(accuracy[first])} (epoch {first}) to {percent(top)}; "
        f"it is first within a point of that at epoch {near} of {total}, and half-way through has "
        f"{percent(accuracy[half])}"
    )


@claim("Retrained at 0.1 there is no difference between epochs")
def large_rate_is_blind(results):
    total, rates = results["config"]["train"]["epochs"], results["grid"]["learning_rates"]
    large, small = (
        [a for epoch, a in accuracy.items() if epoch >= total / 10]
        for accuracy in (
            means(results, "ppr_accuracy", "epoch", learning_rate=rate)
            for rate in (max(rates), min(rates))
        )
    )
    if min(len(large), len(small)) < 4:
        return None
    return np.std(large) < np.std(small) / 2, (
        f"from epoch {total / 10:g} on it ranges over {100 * np.ptp(large):.1f} points at "
        f"{max(rates):g} (standard deviation {100 * np.std(large):.1f}), over "
        f"{100 * np.ptp(small):.1f} at {min(rates):g} ({100 * np.std(small):.1f})"
    )


class Fig4(Item):
    """Probes at every epoch (`probe.every_epochs`) of a dense run, at two learning rates."""

    name = "fig4"
    title = "PPR accuracy per epoch"
    recipe = "network"
    keys = ("learning_rate", "epoch")
    values = ("ppr_accuracy", "pruned_accuracy", "dense_accuracy", "epochs")
    claims = (ppr_saturates, large_rate_is_blind)

    def cells(self, config, grid):
        every = config.probe.every_epochs or 1
        probed = range(every, config.train.epochs + 1, every)
        cells = []
        for seed, rate, epoch in product(grid.seeds, grid.learning_rates, probed):
            values = {"epoch": epoch, "learning_rate": rate}
            cells.append(Cell("probe", seed, values, partial(probe_epoch, **values), 1.3))
        return cells

    def figures(self, results):
        by_rate = grouped(results["summary"], itemgetter("learning_rate"))
        series = {
            f"pruned, retrained at {rate:g} (PPR)": ("ppr_accuracy", rows)
            for rate, rows in by_rate.items()
        }
        # What does not depend on the rate: from its first.
        first = next(iter(by_rate.values()), [])
        series["pruned, not retrained"] = ("pruned_accuracy", first)
        series["dense"] = ("dense_accuracy", first)
        title = f"PPR accuracy by epoch: {describe(results)}"
        figure = curves(title, series, ("epoch", "Epoch"), "Validation accuracy (%)")
        axes, train = figure.axes[0], results["config"]["train"]
        drawing.epoch_axis(axes, train["epochs"])
        for epoch in train["drop_epochs"]:
            axes.axvline(epoch, color=drawing.GREY, linewidth=1, linestyle=":")
        return {"figure": figure}


class Fig6(Fig4):
    """As Fig. 4 with ResNet56, at the small learning rate only."""

    name = "fig6"
    recipe = "deep_network"
    grids = {"paper": {"learning_rates": (0.01,)}}
    claims = (
        Claim(
            "PPR accuracy rises until about half of the epochs and then saturates",
            ppr_saturates.check,
        ),
    )


def probe_epoch(run, phase: str, epoch: int, learning_rate: float) -> dict:
    """Probes after `epoch` epochs of the dense run.

    Retrains for one whole epoch and evaluates on all held-out data (paper section 3.3).

    Returns:
        {"ppr_accuracy", "pruned_accuracy", "dense_accuracy" (fractions of the held-out data),
        "epochs" (passes over the training set), "seconds"}.
    """
    from tf_earlyticket.callbacks.ppr_probe import PPRProbe
    from tf_earlyticket.paper.tickets import restore_epoch

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
    return {
        "ppr_accuracy": result.observation.ppr_accuracy,
        "pruned_accuracy": result.observation.pruned_accuracy,
        "dense_accuracy": result.observation.dense_accuracy,
        "epochs": result.cost_epochs,
        "seconds": result.seconds,
    }
