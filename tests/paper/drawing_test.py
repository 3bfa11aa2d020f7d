"""The figures and tables of items, from results written by hand."""

import csv

import matplotlib
import numpy as np
import pytest

from tf_earlyticket.paper.item import ITEMS, curves, heat_map, markdown_table, spread_text
from tf_earlyticket.paper.reproduction import write_item


def row(seeds=2, **values):
    """Returns a summary row; a number given as (mean, min, max) gets its three columns."""
    cells = {"seeds": seeds}
    for name, value in values.items():
        if isinstance(value, tuple):
            cells |= dict(zip((f"{name}_mean", f"{name}_min", f"{name}_max"), value, strict=True))
            cells[f"{name}_std"] = 0.01 if seeds > 1 else None
        else:
            cells[name] = value
    return cells


def ticket(s, v, accuracy, **more):
    fixed = {"group_size": 1, "control": "none", "mode": "one_shot", **more}
    return row(mask_epoch=s, rewind_epoch=v, test_accuracy=accuracy, epochs=(16, 16, 16), **fixed)


def capacity(value, **keys):
    keys = {"group_size": 1, "mask_epoch": 8, "rewind_epoch": 8, **keys}
    return row(capacity=(value, value - 0.1, value + 0.1), epochs=(3, 3, 3), **keys)


def cost(method, sparsity, accuracy, epochs):
    spent = {"epochs": (epochs,) * 3, "probe_epochs": (1.5 * (method == "early_ticket"),) * 3}
    return row(method=method, sparsity=sparsity, test_accuracy=(accuracy,) * 3, **spent)


def probe(rate, epoch, ppr):
    accuracies = {"pruned_accuracy": (0.2,) * 3, "dense_accuracy": (0.9,) * 3}
    return row(
        learning_rate=rate, epoch=epoch, ppr_accuracy=(ppr,) * 3, epochs=(1, 1, 1), **accuracies
    )


TICKETS = [
    ticket(4, 0, (0.5, 0.4, 0.6)),
    ticket(4, 2, (0.6, 0.6, 0.6)),
    ticket(8, 2, (0.7, 0.7, 0.7)),
    ticket(8, 2, (0.3, 0.3, 0.3), control="random"),
    ticket(8, 2, (0.2, 0.2, 0.2), control="reinitialized"),
]
STARTS = [
    ticket(4, 2, (0.6, 0.59, 0.61)),
    ticket(4, 2, (0.7, 0.69, 0.71), mode="gradual"),
    ticket(8, 2, (0.65, 0.65, 0.65)),
]
PROBES = [probe(rate, e, 0.1 * e * (2 - rate)) for rate in (0.01, 0.1) for e in (1, 2, 3)]
COSTS = [
    cost("dense", 0.0, 0.9, 16),
    cost("early_ticket", 0.8, 0.89, 17.5),
    cost("iterative", 0.5, 0.9, 32),
    cost("iterative", 0.8, 0.88, 64),
]
SHOTS = [
    row(mode=mode, mask_epoch=e, sparsity=s, examples=100, capacity=(c, c, c), epochs=(1, 1, 1))
    for mode, e, s, c in (("one_shot", 2, 0.4, 0.5), ("gradual", 2, 0.4, 0.6))
]
SUMMARIES = {
    "fig1": TICKETS,
    "fig8": [ticket(4, 0, (0.5, 0.5, 0.5), group_size=8)],
    "fig3": [row(a=a, b=b, distance=(abs(a - b) / 10,) * 3) for a in (1, 2) for b in (1, 2)],
    "fig4": PROBES,
    "fig6": PROBES,
    "fig5": [capacity(0.5, mask_epoch=m, examples=n) for m in (2, 8) for n in (100, 200)],
    "table1": SHOTS,
    "table2": STARTS,
    "table3": STARTS,
    "table4": COSTS,
    "table5": [capacity(0.5, group_size=g, examples=100) for g in (1, 8)],
    "fig2": [],
}


def results(item, summary=None, records=()):
    rows = [
        {"epoch": e, "learning_rate": 0.1 if e < 3 else 0.01, "sparsity": 0.0} for e in range(1, 5)
    ]
    return {
        "item": item,
        "title": "Title",
        "config": {
            "model": {"name": "resnet8"},
            "data": {"name": "cifar10", "train_examples": 22_500},
            "pruning": {"final_sparsity": 0.9},
            "train": {"epochs": 4, "drop_epochs": [2, 3], "weight_decay": 1e-4, "momentum": 0.9},
        },
        "grid": {"seeds": [0, 1]},
        "steps_per_epoch": 10,
        "dense": {str(s): {"test_accuracy": 0.9, "rows": rows} for s in (0, 1)},
        "records": list(records),
        "summary": SUMMARIES[item] if summary is None else summary,
    }


def draw_figures(results):
    return ITEMS.get(results["item"]).figures(results)


def item_table(results):
    return ITEMS.get(results["item"]).table(results)


def layer_records():
    return [
        {
            "seed": seed,
            "epoch": e,
            "layer": n,
            "name": f"conv{n}",
            "weight_std": 0.1 * n + 0.01 * e,
            "pruning_rate": 0.2 * n,
        }
        for seed in (0, 1)
        for e in range(5)
        for n in (1, 2)
    ]


def texts(figure):
    found = "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))
    return " ".join(found.split())


def test_a_heat_map_has_every_number_at_its_place():
    figure = draw_figures(results("fig1"))["figure"]
    (image,) = figure.axes[0].images
    np.testing.assert_allclose(image.get_array().filled(np.nan), [[50, np.nan], [60, 70]])
    drawn = texts(figure)
    for word in ("50.0", "60.0", "70.0", "dense 90.0", "resnet8 on cifar10 (22,500 images)"):
        assert word in drawn
    # Controls are no tickets.
    assert "30.0" not in drawn


def test_a_map_and_curves_without_rows_say_so():
    assert "nothing was measured" in texts(heat_map("t", [], ("a", "a"), ("b", "b"), "c"))
    assert "nothing was measured" in texts(curves("t", {"a": ("v", [])}, ("a", "a"), "b"))


def test_probes_are_drawn_by_learning_rate_with_dense_and_pruned_accuracy():
    axes = draw_figures(results("fig4"))["figure"].axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines["pruned, retrained at 0.01 (PPR)"] == pytest.approx([19.9, 39.8, 59.7])
    assert lines["pruned, retrained at 0.1 (PPR)"] == pytest.approx([19, 38, 57])
    assert lines["dense"] == [90, 90, 90] and lines["pruned, not retrained"] == [20, 20, 20]


def test_capacity_is_drawn_by_mask_or_by_group_size_with_a_band():
    for item, labels in (
        ("fig5", ["mask of epoch 2, weights of epoch 8", "mask of epoch 8"]),
        ("table5", ["group size 1", "group size 8"]),
    ):
        axes = draw_figures(results(item))["figure"].axes[0]
        assert [line.get_label() for line in axes.lines] == labels
        assert len(axes.collections) == 2


def test_weights_are_drawn_for_each_seed():
    figures = draw_figures(results("fig2", records=layer_records()))
    names = ["weight_std_seed0", "layer_rates_seed0", "weight_std_seed1", "layer_rates_seed1"]
    assert list(figures) == names
    assert len(figures["layer_rates_seed1"].axes[0].lines) == 2


def test_cost_is_drawn_with_the_sparsity_of_each_point():
    figure = draw_figures(results("table4"))["figure"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(lines["iterative pruning, by round"].get_xdata()) == [32, 64]
    assert list(lines["early ticket, gradual"].get_ydata()) == [89]
    assert "80 %" in texts(figure) and "50 %" in texts(figure)


def test_the_tables_on_literals():
    header, rows = item_table(results("fig1"))
    assert rows == [
        ["8", "2", "the ticket", "70.00 (70.00 to 70.00)"],
        ["8", "2", "random mask", "30.00 (30.00 to 30.00)"],
        ["8", "2", "reinitialized weights", "20.00 (20.00 to 20.00)"],
    ]
    header, rows = item_table(results("table2"))
    assert header == ["pruned from epoch", "weights of epoch", "gradual (%)", "one-shot (%)"]
    assert rows == [
        ["4", "2", "70.00 (69.00 to 71.00)", "60.00 (59.00 to 61.00)"],
        ["8", "2", "-", "65.00 (65.00 to 65.00)"],
    ]
    header, rows = item_table(results("table4"))
    assert [line[0] for line in rows] == [
        "dense",
        "early ticket (gradual)",
        "iterative pruning, rewound",
        "iterative pruning, rewound",
    ]
    assert rows[1][1:] == ["80.0", "89.00 (89.00 to 89.00)", *rows[1][3:5], "27.3 %"]
    header, rows = item_table(results("table1"))
    assert rows == [["100", "2", "40", "60.00 (60.00 to 60.00)", "50.00 (50.00 to 50.00)"]]
    header, rows = item_table(results("fig5"))
    assert header[-2:] == ["N = 100", "N = 200"] and len(rows) == 2
    assert item_table(results("fig4")) is None


def test_one_seed_has_no_range():
    assert spread_text(row(seeds=1, a=(0.5, 0.5, 0.5)), "a") == "50.00"
    assert spread_text(row(a=(2.0, 1.0, 3.0)), "a", scale=1) == "2.00 (1.00 to 3.00)"


def test_a_table_in_markdown():
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize("finished", [True, False])
def test_the_files_of_every_item_also_before_anything_is_finished(tmp_path, item, finished):
    records = layer_records() if item == "fig2" else []
    write_item(results(item, None if finished else [], records if finished else []), tmp_path)
    assert (tmp_path / "results.json").exists()
    if finished and item != "fig2":
        with open(tmp_path / "results.csv") as file:
            assert len(list(csv.DictReader(file))) == len(SUMMARIES[item])
    if item.startswith("table"):
        assert (tmp_path / "table.md").exists() and not (tmp_path / "table.png").exists()
    elif finished:
        assert list(tmp_path.glob("*.png"))
