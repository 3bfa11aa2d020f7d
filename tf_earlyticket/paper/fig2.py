"""Fig. 2: spread of the weights (a) and pseudo pruning rate (b) of each layer, by epoch."""

import numpy as np

from tf_earlyticket.paper import recipes
from tf_earlyticket.paper.item import Claim, Item, Judged, Results, register_item
from tf_earlyticket.pruning.statistics import (
    predicted_std,
    pseudo_pruning_rates,
    weight_statistics,
)


def _layers(results: Results, value: str) -> tuple[list[int], np.ndarray]:
    """Returns the epochs and an array [epoch, layer] of a mean."""
    rows = results["summary"]
    epochs = sorted({row["epoch"] for row in rows})
    layers = sorted({row["layer"] for row in rows})
    cells = {(row["epoch"], row["layer"]): row[f"{value}_mean"] for row in rows}
    return epochs, np.array([[cells[epoch, layer] for layer in layers] for epoch in epochs])


def _rates_settle(results: Results) -> Judged:
    total = results["config"]["train"]["epochs"]
    epochs, rates = _layers(results, "pruning_rate")
    moved = [np.abs(rates[i:] - rates[-1]).max() for i in range(len(epochs))]
    settled = next(epoch for epoch, far in zip(epochs, moved, strict=True) if far <= 0.03)
    return 0.3 * total <= settled <= 0.7 * total, (
        f"from epoch {settled} of {total} on, no layer's rate is more than 3 points from its last; "
        f"at epoch {total // 2} the farthest is {100 * moved[epochs.index(total // 2)]:.1f} points"
    )


def _parallel(results: Results) -> Judged:
    drops = results["config"]["train"]["drop_epochs"]
    if not drops:
        return None
    changes = np.diff(np.log(_layers(results, "weight_std")[1]), axis=0)
    before, after = (
        float(np.mean(np.std(changes[part], axis=1)))
        for part in (slice(1, drops[0]), slice(drops[0], None))
    )
    return after < before / 2, (
        "the layers' relative changes of W_std per epoch differ by "
        f"{100 * before:.2f} points (standard deviation) before the first drop of the learning "
        f"rate and by {100 * after:.2f} after it"
    )


def _low_gradient_law(results: Results) -> Judged:
    train = results["config"]["train"]
    if not train["drop_epochs"]:
        return None
    epochs, std = _layers(results, "weight_std")
    begin, end = [*train["drop_epochs"], train["epochs"]][:2]
    rate = train["learning_rate"] * train["drop_factor"]
    updates = (end - begin) * results["steps_per_epoch"]
    first, last = std[epochs.index(begin)], std[epochs.index(end)]
    law = [
        predicted_std(value, updates, rate, train["weight_decay"], train["momentum"])
        for value in first
    ]
    ratio = (first - last) / (first - np.array(law))
    return 0.5 <= float(np.median(ratio)) <= 1.5, (
        f"from epoch {begin} to {end} the layers' W_std shrank by {np.median(ratio):.2f} times "
        f"what eq. 5 has (median; {ratio.min():.2f} to {ratio.max():.2f})"
    )


class Fig2(Item):
    """W_std and pseudo pruning rate of each layer, initially and after every epoch."""

    name = "fig2"
    title = "Spread of the weights and pseudo pruning rates per layer"
    keys = ("layer", "name", "epoch")
    values = ("weight_std", "pruning_rate")
    claims = (
        Claim("Pseudo pruning rates per layer settle around half of the epochs", _rates_settle),
        Claim(
            "After the first drop of the learning rate the layers' W_std move in parallel",
            _parallel,
        ),
        Claim("There W_std shrinks by eq. 5", _low_gradient_law),
    )

    def config(self, scale):
        """One dense run, looked at closely."""
        return recipes.network_recipe(scale)

    def records(self, finished, runs, grid):
        """One for each epoch and layer, from the recorded weights."""
        from tf_earlyticket.paper.dense_record import recorded_kernels

        records = []
        for _, dense in finished:
            run = runs[dense["seed"]]
            for epoch in range(run.config.train.epochs + 1):
                weights = recorded_kernels(run, epoch)
                statistics = weight_statistics(weights)
                rates = pseudo_pruning_rates(weights, run.config.pruning.final_sparsity)
                records += [
                    {
                        "seed": dense["seed"],
                        "epoch": epoch,
                        "layer": number,
                        "name": name,
                        "weight_std": statistics[name]["std"],
                        "pruning_rate": rates[name],
                    }
                    for number, name in enumerate(weights, start=1)
                ]
        return records

    def figures(self, results):
        """(a) and (b), for each seed."""
        from tf_earlyticket.report.figures import draw_layer_rates, draw_weight_std

        figures = {}
        for seed in sorted({record["seed"] for record in results["records"]}):
            records = [record for record in results["records"] if record["seed"] == seed]
            epochs = sorted({record["epoch"] for record in records})
            names = list(dict.fromkeys(record["name"] for record in records))
            cells = {(record["epoch"], record["name"]): record for record in records}
            std = {name: [cells[e, name]["weight_std"] for e in epochs] for name in names}
            rates = [[cells[e, name]["pruning_rate"] for name in names] for e in epochs]
            rows = [{**row, "phase": "search"} for row in results["dense"][str(seed)]["rows"]]
            end = "" if len(results["grid"]["seeds"]) == 1 else f"_seed{seed}"
            layers = {"epochs": epochs, "layers": std}
            figures[f"weight_std{end}"] = draw_weight_std(
                rows,
                layers,
                weight_decay=results["config"]["train"]["weight_decay"],
                momentum=results["config"]["train"]["momentum"],
                steps_per_epoch=results["steps_per_epoch"],
            )
            figures[f"layer_rates{end}"] = draw_layer_rates(epochs, rates)
        return figures


register_item(Fig2(), own=True)
