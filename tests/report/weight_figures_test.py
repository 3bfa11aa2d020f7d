import math

import matplotlib
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tf_earlyticket.report import drawing
from tf_earlyticket.report.weight_figures import (
    draw_layer_rates,
    draw_mask_distance,
    draw_weight_std,
    learning_rate_drops,
)

# 10 steps at learning rate 0.01 shrink by 10 * 0.01 * 0.01 / (1 - 0.9): a hundredth.
REPORT = {
    "config": {"train": {"weight_decay": 0.01, "momentum": 0.9}},
    "schedule": {"steps_per_epoch": 10},
}
STEPWISE = [0.1] * 3 + [0.01] * 3 + [0.001] * 3


def texts(figure: Figure) -> str:
    found = "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))
    return " ".join(found.split())


def lines(figure: Figure, style: str):
    return [line for line in figure.axes[0].lines if line.get_linestyle() == style]


def points(line):
    return list(line.get_xdata()), pytest.approx(list(line.get_ydata()))


def signals(rates=None, distances=None):
    """Returns a report whose signals begin at epoch 1 and end at the start epoch."""
    count = len(rates or distances)
    values = {
        "epochs": list(range(1, count + 1)),
        "pruning_rates": rates or [[0.8]] * count,
        "mask_distances": distances or [[]] * count,
        "similarities": [[]] * count,
    }
    return {"signals": values, "start_epoch": count}


def rows(rates, sparsity=None, phase="search"):
    return [
        {"epoch": i + 1, "learning_rate": rate, "sparsity": sparse, "phase": phase}
        for i, (rate, sparse) in enumerate(zip(rates, sparsity or [0.0] * len(rates), strict=True))
    ]


def weight_std(layers=3, epochs=9):
    """Returns W_std that falls by 0.01 per epoch, from 1 in the first layer, 2 in the second."""
    spread = [[i + 1 - 0.01 * e for e in range(epochs)] for i in range(layers)]
    names = [f"conv{i}" for i in range(layers)]
    return {
        "epochs": list(range(1, epochs + 1)),
        "layers": dict(zip(names, spread, strict=True)),
    }


def test_layer_rates_are_drawn_in_percent_over_epochs():
    figure = draw_layer_rates(signals([[0.5, 0.9], [0.45, 0.85], [0.4, 0.8]]))
    first, second, start = figure.axes[0].lines
    assert points(first) == ([1, 2, 3], [50, 45, 40])
    assert points(second) == ([1, 2, 3], [90, 85, 80])
    assert list(start.get_xdata()) == [3, 3] and "start epoch 3" in texts(figure)


def test_layers_have_the_same_colours_in_both_figures_and_a_bar():
    rates = draw_layer_rates(signals([[0.1 * i for i in range(5)]] * 4))
    spread = draw_weight_std({}, [], weight_std(layers=5, epochs=4))
    colours = [[to_hex(line.get_color()) for line in f.axes[0].lines[:5]] for f in (rates, spread)]
    assert colours[0] == colours[1] and len(set(colours[0])) == 5
    for figure in (rates, spread):
        bar = figure.axes[1]
        assert [tick.get_text() for tick in bar.get_yticklabels()] == ["1", "2", "3", "4", "5"]
        assert "nearest the input" in bar.get_ylabel()


def test_title_of_the_rates_tells_how_far_they_moved_lately():
    rates = [[0.1, 0.9], [0.3, 0.8], [0.31, 0.8], [0.32, 0.8], [0.33, 0.8], [0.345, 0.8]]
    text = texts(draw_layer_rates(signals(rates)))
    assert "after epoch 6, layers would lose 34 to 80 % of their weights" in text
    assert "up to 4.5 points since epoch 2" in text  # the jump from epoch 1 is long past
    assert "points" not in texts(draw_layer_rates(signals(rates[:1])))


def test_mask_distance_shows_the_last_and_the_farthest_mask_in_percent():
    distances = [[], [0.3], [0.2, 0.4], [0.1, 0.25, 0.35], [0.05, 0.2, 0.1, 0.15]]
    figure = draw_mask_distance(signals(distances=distances))
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert points(drawn["to the epoch before"]) == ([2, 3, 4, 5], [30, 20, 10, 5])
    farthest = drawn["to the farthest of up to 4 before"]
    assert points(farthest) == ([2, 3, 4, 5], [30, 40, 35, 20])
    threshold = drawn["Early-Bird: 10 %"]
    assert list(threshold.get_ydata()) == pytest.approx([10, 10])
    assert threshold.get_linestyle() == ":"
    assert [5, 5] in [list(line.get_xdata()) for line in figure.axes[0].lines]


@pytest.mark.parametrize(
    ("first_distance", "later", "words"),
    [
        (0.05, 0.05, "is first met at epoch 5"),  # five masks are needed
        (0.3, 0.05, "is first met at epoch 6"),  # the first mask has to leave the window
        (0.05, 0.1, "is not met by epoch 7"),
    ],
)
def test_title_of_the_mask_distance_tells_where_early_bird_would_start(
    first_distance, later, words
):
    distances = [[], [first_distance]] + [[later] * min(i, 4) for i in range(2, 7)]
    text = texts(draw_mask_distance(signals(distances=distances)))
    assert f"5 masks in a row within 10 % of each other, {words}" in text


@pytest.mark.parametrize("report", [{}, {"signals": None}, {"signals": {"epochs": []}}])
def test_signals_that_are_missing_are_said_to_be(report):
    assert "nothing was measured" in texts(draw_layer_rates(report))
    assert "nothing was measured" in texts(draw_mask_distance(report))


def test_a_single_mask_has_no_distance():
    assert "nothing was measured" in texts(draw_mask_distance(signals([[0.8]])))
    assert "nothing was measured" not in texts(draw_layer_rates(signals([[0.8]])))


def test_learning_rate_drops_are_those_of_a_stepwise_schedule():
    stepwise = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    assert learning_rate_drops(rows(stepwise)) == [(3, 0.01), (5, 0.001)]
    cosine = [0.05 * (1 + math.cos(math.pi * i / 20)) for i in range(20)]
    assert learning_rate_drops(rows(cosine)) == []
    assert learning_rate_drops(rows(["", None])) == []


def test_low_gradient_law_starts_anew_at_every_drop_of_the_learning_rate():
    figure = draw_weight_std(REPORT, rows(STEPWISE), weight_std(layers=1))
    high, low = lines(figure, "--")
    # Measured after epoch 3: 0.98; a hundredth less per epoch at 0.01.
    assert points(high) == ([3, 4, 5, 6], [0.98, 0.9702, 0.960498, 0.95089302])
    # Measured after epoch 6: 0.95; a thousandth less per epoch at 0.001.
    assert points(low) == ([6, 7, 8, 9], [0.95, 0.94905, 0.94810095, 0.94715284905])
    assert {line.get_color() for line in (high, low)} == {drawing.GREY}
    assert texts(figure).count("eq. 5: weight decay alone") == 1


def test_low_gradient_law_is_drawn_for_three_layers():
    figure = draw_weight_std(REPORT, rows(STEPWISE[:6]), weight_std(layers=7, epochs=6))
    assert [line.get_ydata()[0] for line in lines(figure, "--")] == pytest.approx(
        [0.98, 3.98, 6.98]
    )


def test_low_gradient_law_is_not_drawn_where_the_mask_changes():
    sparsity = [0, 0, 0, 0, 0.4, 0.8, 0.8, 0.8, 0.8]
    rates = [0.1] * 3 + [0.01] * 6
    (line,) = lines(draw_weight_std(REPORT, rows(rates, sparsity), weight_std(layers=1)), "--")
    assert points(line) == ([6, 7, 8, 9], [0.95, 0.9405, 0.931095, 0.92178405])
    ramp = [0.1 * i for i in range(9)]
    assert not lines(draw_weight_std(REPORT, rows(rates, ramp), weight_std()), "--")
    assert not lines(draw_weight_std(REPORT, rows(rates, [""] * 9), weight_std()), "--")


@pytest.mark.parametrize(
    "lacking",
    [
        {"config": None},
        {"config": {"train": {"weight_decay": 0.01}}},
        {"config": {"train": {"momentum": 0.9}}},
        {"schedule": None},
    ],
)
def test_low_gradient_law_needs_the_recipe(lacking):
    figure = draw_weight_std(REPORT | lacking, rows(STEPWISE), weight_std())
    assert not lines(figure, "--") and not figure.legends
    assert len(lines(figure, "-")) == 3


def test_low_gradient_law_needs_a_drop_and_a_measurement():
    assert not lines(draw_weight_std(REPORT, rows([0.01] * 9), weight_std()), "--")
    unknown = {"epochs": [1, 2], "layers": {"conv": [0.2, None]}}
    assert not lines(draw_weight_std(REPORT, rows(STEPWISE), unknown), "--")


def test_spread_of_the_weights_is_that_of_the_search():
    metrics = rows([0.1] * 4) + rows(STEPWISE, phase="retrain")
    figure = draw_weight_std(REPORT, metrics, weight_std(epochs=4))
    assert not lines(figure, "--") and not lines(figure, ":")
    assert figure.axes[0].get_xlim()[1] < 5
    metrics = rows(STEPWISE) + rows(STEPWISE, phase="dense")
    figure = draw_weight_std(REPORT, metrics, weight_std())
    assert len(lines(figure, "--")) == 6
    assert [line.get_xdata()[0] for line in lines(figure, ":")] == [3, 6]


def test_spread_of_the_weights_can_be_drawn_from_csv_text():
    text = [{name: str(value) for name, value in row.items()} for row in rows(STEPWISE)]
    assert len(lines(draw_weight_std(REPORT, text, weight_std()), "--")) == 6
    older = [{name: row[name] for name in row if name != "phase"} for row in text]
    assert len(lines(draw_weight_std(REPORT, older, weight_std()), "--")) == 6


def test_nothing_measured_of_the_spread_is_said():
    assert "nothing was measured" in texts(draw_weight_std(REPORT, [], {}))
