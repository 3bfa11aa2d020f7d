"""Fig. 2: spread of the weights (a) and pseudo pruning rate (b) of each layer, by epoch."""

import numpy as np

from tf_earlyticket.paper.item import Item, Results, claim, means
from tf_earlyticket.pruning.statistics import (
    predicted_std,
    pseudo_pruning_rates,
    weight_statistics,
)


def _layers(results: Results, value: str) -> tuple[list[int], np.ndarray]:
    """Returns the epochs and an array [epoch, layer] of a mean."""
    cells = means(results, value, "epoch", "layer")
    epochs, layers = (sorted(set(values)) for values in zip(*cells, strict=True))
    return epochs, np.array([[cells[epoch, layer] for layer in layers] for epoch in epochs])


@claim("Pseudo pruning rates per layer settle around half of the epochs")
def rates_settle(results):
    total = results["config"]["train"]["epochs"]
    epochs, rates = _layers(results, "pruning_rate")
    moved = [np.abs(rates[i:] - rates[-1]).max() for i in range(len(epochs))]
    settled = next(epoch for epoch, far in zip(epochs, moved, strict=True) if far <= 0.03)
    return 0.3 * total <= settled <= 0.7 * total, (
        f"from epoch {settled} of {total} on, no layer's rate is more than 3 points from its last; "
        f"at epoch {total // 2} the farthest is {100 * moved[epochs.index(total // 2)]:.1f} points"
    )


@claim("After the first drop of the learning rate the layers' W_std move in parallel")
def parallel(results):
    drops = results["config"]["train"]["drop_epochs"]
    if not drops:
        return None
    changes = np.diff(np.log(_layers(results, "weight_std")[1]), axis=0)
    before, after = (
        float(np.mean(np.std(part, axis=1)))
        for part in (changes[1 : drops[0]], changes[drops[0] :])
    )
    return after < before / 2, (
        "the layers' relative changes of W_std per epoch differ by "
        f"{100 * before:.2f} points (standard deviation) before the first drop of the learning "
        f"rate and by {100 * after:.2f} after it"
    )


@claim("There W_std shrinks by eq. 5")
def low_gradient_law(results):
    train = results["config"]["train"]
    if not train["drop_epochs"]:
        return None
    epochs, std = _layers(results, "weight_std")
    begin, end = [*train["drop_epochs"], train["epochs"]][:2]
    first, last = std[epochs.index(begin)], std[epochs.index(end)]
    updates = (end - begin) * results["steps_per_epoch"]
    rate = train["learning_rate"] * train["drop_factor"]
    law = [predicted_std(w, updates, rate, train["weight_decay"], train["momentum"]) for w in first]
    ratio = (first - last) / (first - np.array(law))
    return 0.5 <= np.median(ratio) <= 1.5, (
        f"from epoch {begin} to {end} the layers' W_std shrank by {np.median(ratio):.2f} times "
        f"what eq. 5 has (median; {ratio.min():.2f} to {ratio.max():.2f})"
    )


class Fig2(Item):
    """W_std and pseudo pruning rate of each layer, initially and after every epoch."""

    name = "fig2"
    title = "Spread of the weights and pseudo pruning rates per layer"
    recipe = "network"
    keys = ("layer", "name", "epoch")
    values = ("weight_std", "pruning_rate")
    claims = (rates_settle, parallel, low_gradient_law)

    def looks(self, run, grid):
        from tf_earlyticket.paper.tickets import prunable, recorded_weights

        for epoch in range(run.config.train.epochs + 1):
            weights = prunable(run, recorded_weights(run, epoch))
            statistics = weight_statistics(weights)
            rates = pseudo_pruning_rates(weights, run.config.pruning.final_sparsity)
            for layer, name in enumerate(weights, start=1):
                measured = {"weight_std": statistics[name]["std"], "pruning_rate": rates[name]}
                yield {"epoch": epoch, "layer": layer, "name": name, **measured}

    def figures(self, results):
        from tf_earlyticket.report.figures import draw_layer_rates, draw_weight_std

        train, figures = results["config"]["train"], {}
        for seed in sorted({record["seed"] for record in results["records"]}):
            layers: dict[str, dict[int, dict]] = {}
            for record in results["records"]:
                if record["seed"] == seed:
                    layers.setdefault(record["name"], {})[record["epoch"]] = record
            epochs = sorted(next(iter(layers.values())))
            std = {name: [at[e]["weight_std"] for e in epochs] for name, at in layers.items()}
            rates = [[at[e]["pruning_rate"] for at in layers.values()] for e in epochs]
            end = "" if len(results["grid"]["seeds"]) == 1 else f"_seed{seed}"
            figures[f"weight_std{end}"] = draw_weight_std(
                [{**row, "phase": "search"} for row in results["dense"][str(seed)]["rows"]],
                {"epochs": epochs, "layers": std},
                weight_decay=train["weight_decay"],
                momentum=train["momentum"],
                steps_per_epoch=results["steps_per_epoch"],
            )
            figures[f"layer_rates{end}"] = draw_layer_rates(epochs, rates)
        return figures
