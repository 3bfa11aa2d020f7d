"""The figures and tables of the paper's experiments, from the results of an item."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tf_earlyticket.report import drawing
from tf_earlyticket.report.weight_figures import draw_layer_rates, draw_weight_std

Results = Mapping[str, Any]
_COLOURS = (drawing.BLUE, drawing.VERMILLION, drawing.GREEN, "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "os^Dvp"


def describe(results: Results) -> str:
    """Returns what an item was run on: network, data, sparsity and seeds."""
    config, seeds = results["config"], len(results["grid"]["seeds"])
    examples = config["data"]["train_examples"]
    data = config["data"]["name"] + (f" ({examples:,} images)" if examples else "")
    return (
        f"{config['model']['name']} on {data}, {100 * config['pruning']['final_sparsity']:g} % "
        f"sparse, {seeds} seed{'s' * (seeds > 1)}"
    )


def heat_map(
    title: str,
    rows: Sequence[Mapping],
    x: tuple[str, str],
    y: tuple[str, str],
    value: str,
    scale: float = 100,
) -> Figure:
    """Draws a mean as a map, its number in each cell; cells that are missing stay empty.

    Args:
        title: Above it.
        rows: Of a summary.
        x: Key and label of the horizontal axis.
        y: Key and label of the vertical axis.
        value: Whose mean is drawn.
        scale: Factor of the numbers, 100 for percent.
    """
    columns, lines = (sorted({row[key] for row in rows}) for key in (x[0], y[0]))
    figure = drawing.new_figure(1.4 + 0.34 * max(len(lines), 3), title)
    axes = figure.subplots()
    axes.set_xlabel(x[1], fontsize=drawing.NORMAL)
    axes.set_ylabel(y[1], fontsize=drawing.NORMAL)
    if not rows:
        drawing.nothing(axes)
        return figure
    values = np.full((len(lines), len(columns)), np.nan)
    for row in rows:
        values[lines.index(row[y[0]]), columns.index(row[x[0]])] = scale * row[f"{value}_mean"]
    image = axes.imshow(values, cmap="viridis", aspect="auto", origin="lower")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for (line, column), number in np.ndenumerate(values):
        if not np.isnan(number):
            colour = "white" if number < middle else drawing.INK
            look = {"ha": "center", "va": "center", "fontsize": drawing.SMALL, "color": colour}
            axes.text(column, line, f"{number:.3f}" if scale == 1 else f"{number:.1f}", **look)
    axes.set_xticks(range(len(columns)), [str(value) for value in columns])
    axes.set_yticks(range(len(lines)), [str(value) for value in lines])
    axes.tick_params(labelsize=drawing.SMALL)
    figure.colorbar(image, ax=axes, pad=0.02).ax.tick_params(labelsize=drawing.SMALL)
    return figure


def curves(
    title: str,
    series: Mapping[str, Sequence[Mapping]],
    x: tuple[str, str],
    y: tuple[str, str],
    levels: Mapping[str, float] | None = None,
) -> Figure:
    """Draws means in percent as lines, with bands from the least to the greatest seed.

    Args:
        title: Above it.
        series: Rows of a summary by label.
        x: Key and label of the horizontal axis.
        y: Value (in the rows with _mean, _min and _max) and label of the vertical axis.
        levels: Horizontal lines by label, fractions.
    """
    figure = drawing.new_figure(4, title)
    axes = figure.subplots()
    drawing.style(axes, x[1], y[1])
    for (label, rows), colour, marker in zip(
        series.items(), _cycle(_COLOURS), _cycle(_MARKERS), strict=False
    ):
        at = [row[x[0]] for row in rows]
        mean, low, high = (
            [100 * row[f"{row.get('value', y[0])}_{n}"] for row in rows]
            for n in ("mean", "min", "max")
        )
        look = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.5}
        axes.plot(at, mean, label=label, **look)
        if any(row["seeds"] > 1 for row in rows):
            axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
    for label, level in (levels or {}).items():
        axes.axhline(100 * level, color=drawing.INK, linewidth=1.3, linestyle=":", label=label)
    if not any(series.values()):
        drawing.nothing(axes)
        return figure
    figure.legend(loc="outside lower center", ncols=2, fontsize=drawing.SMALL, frameon=False)
    return figure


def _cycle(values: Sequence) -> list:
    return list(values) * 4


def _dense(results: Results) -> dict[str, float]:
    accuracies = [run["test_accuracy"] for run in results["dense"].values()]
    return {"dense": float(np.mean(accuracies))} if accuracies else {}


def _draw_tickets(results: Results) -> dict[str, Figure]:
    own = [row for row in results["summary"] if row["control"] == "none"]
    dense = "".join(f"; dense {100 * value:.1f}" for value in _dense(results).values())
    figures = {}
    for size in sorted({row["group_size"] for row in own}) or [1]:
        title = f"Test accuracy (%) of tickets (s, v){dense}: {describe(results)}"
        if size > 1:
            title += f", group size {size}"
        rows = [row for row in own if row["group_size"] == size]
        axes = ("mask_epoch", "Mask of epoch s"), ("rewind_epoch", "Weights of epoch v")
        figures["figure" if len(figures) == 0 else f"group_size_{size}"] = heat_map(
            title, rows, *axes, "test_accuracy"
        )
    return figures


def _draw_weights(results: Results) -> dict[str, Figure]:
    figures = {}
    for seed in sorted({record["seed"] for record in results["records"]}):
        records = [record for record in results["records"] if record["seed"] == seed]
        epochs = sorted({record["epoch"] for record in records})
        names = list(dict.fromkeys(record["name"] for record in records))
        cells = {(record["epoch"], record["name"]): record for record in records}
        std = {name: [cells[e, name]["weight_std"] for e in epochs] for name in names}
        rates = [[cells[e, name]["pruning_rate"] for name in names] for e in epochs]
        report = {
            "config": results["config"],
            "schedule": {"steps_per_epoch": results["steps_per_epoch"]},
            "signals": {"epochs": epochs, "pruning_rates": rates},
            "start_epoch": None,
        }
        rows = [{**row, "phase": "search"} for row in results["dense"][str(seed)]["rows"]]
        end = "" if len(results["grid"]["seeds"]) == 1 else f"_seed{seed}"
        layers = {"epochs": epochs, "layers": std}
        figures[f"weight_std{end}"] = draw_weight_std(report, rows, layers)
        figures[f"layer_rates{end}"] = draw_layer_rates(report)
    return figures


def _draw_distances(results: Results) -> dict[str, Figure]:
    title = f"Distance between the masks of two epochs: {describe(results)}"
    axes = ("a", "Mask of epoch"), ("b", "Mask of epoch")
    return {"figure": heat_map(title, results["summary"], *axes, "distance", scale=1)}


def _draw_probes(results: Results) -> dict[str, Figure]:
    series: dict[str, list] = {}
    for row in results["summary"]:
        label = f"pruned, retrained at {row['learning_rate']:g} (PPR)"
        series.setdefault(label, []).append({**row, "value": "ppr_accuracy"})
    # What does not depend on the rate: from its first.
    first = next(iter(series.values()), [])
    for value, label in (
        ("pruned_accuracy", "pruned, not retrained"),
        ("dense_accuracy", "dense"),
    ):
        series[label] = [{**row, "value": value} for row in first]
    title = f"PPR accuracy by epoch: {describe(results)}"
    figure = curves(title, series, ("epoch", "Epoch"), ("", "Validation accuracy (%)"))
    axes = figure.axes[0]
    drawing.epoch_axis(axes, results["config"]["train"]["epochs"])
    for epoch in results["config"]["train"]["drop_epochs"]:
        axes.axvline(epoch, color=drawing.GREY, linewidth=1, linestyle=":")
    return {"figure": figure}


def _draw_capacity(results: Results) -> dict[str, Figure]:
    by_size = len({row["group_size"] for row in results["summary"]}) > 1
    series: dict[str, list] = {}
    for row in results["summary"]:
        label = f"mask of epoch {row['mask_epoch']}"
        if row["rewind_epoch"] != row["mask_epoch"]:
            label += f", weights of epoch {row['rewind_epoch']}"
        if by_size:
            label = f"group size {row['group_size']}"
        series.setdefault(label, []).append(row)
    title = f"Memorization capacity: {describe(results)}"
    axes = ("examples", "Randomly labelled images"), ("capacity", "Training accuracy (%)")
    return {"figure": curves(title, series, *axes)}


def _draw_cost(results: Results) -> dict[str, Figure]:
    figure = drawing.new_figure(4, f"Accuracy against cost: {describe(results)}")
    axes = figure.subplots()
    drawing.style(axes, "Epochs in total, probes counted", "Test accuracy (%)")
    looks = {
        "dense": ("dense", drawing.GREEN, "^"),
        "early_ticket": ("early ticket, gradual", drawing.BLUE, "o"),
        "iterative": ("iterative pruning, by round", drawing.VERMILLION, "s"),
    }
    for method, (label, colour, marker) in looks.items():
        rows = [row for row in results["summary"] if row["method"] == method]
        points = [(row["epochs_mean"], 100 * row["test_accuracy_mean"]) for row in rows]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=label)
        for row, point in zip(rows, points, strict=True):
            text = f"{100 * row['sparsity']:.0f} %"
            axes.annotate(text, point, xytext=(0, 6), textcoords="offset points", fontsize=8)
    if not results["summary"]:
        drawing.nothing(axes)
        return {"figure": figure}
    axes.set_xlim(left=0)
    figure.legend(loc="outside lower center", ncols=3, fontsize=drawing.SMALL, frameon=False)
    return {"figure": figure}


_FIGURES: dict[str, Callable[[Results], dict[str, Figure]]] = {
    "fig1": _draw_tickets,
    "fig2": _draw_weights,
    "fig3": _draw_distances,
    "fig4": _draw_probes,
    "fig5": _draw_capacity,
    "fig6": _draw_probes,
    "fig8": _draw_tickets,
    "table4": _draw_cost,
    "table5": _draw_capacity,
}


def draw_figures(results: Results) -> dict[str, Figure]:
    """Returns the figures of an item by file name; none for one that is only a table.

    Args:
        results: The content of its `results.json`.
    """
    draw = _FIGURES.get(results["item"])
    return draw(results) if draw else {}
