import dataclasses
import math
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from reports import made_up_report, made_up_run, made_up_timing

from tf_earlyticket import register_figure
from tf_earlyticket.errors import InputError
from tf_earlyticket.report import drawing, figures
from tf_earlyticket.report.figures import (
    FIGURES,
    draw_layer_rates,
    draw_mask_distance,
    draw_weight_std,
    learning_rate_drops,
)
from tf_earlyticket.report.report import Probe, Schedule, Signals

NAMES = ["ppr", "sparsity", "layer_rates", "mask_distance", "weight_std", "layer_sparsity"]
# Drawn where a ticket was timed.
EVERY = [*NAMES, "timings"]
# 10 steps at learning rate 0.01 shrink by 10 * 0.01 * 0.01 / (1 - 0.9): a hundredth.
RECIPE = {"weight_decay": 0.01, "momentum": 0.9, "steps_per_epoch": 10}
STEPWISE = [0.1] * 3 + [0.01] * 3 + [0.001] * 3


def texts(figure: Figure) -> str:
    found = "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))
    return " ".join(found.split())


@pytest.fixture
def registered():
    """Forgets afterwards what a test registers."""
    before = dict(FIGURES._entries)
    yield
    FIGURES._entries.clear()
    FIGURES._entries.update(before)


def test_draws_every_figure_and_leaves_nothing_else(tmp_path):
    report, metrics, weight_std = made_up_run()
    report.bench = [made_up_timing()]
    paths = figures.draw_all(report, metrics, weight_std, tmp_path / "new" / "figures")
    assert list(paths) == EVERY
    assert {path.name for path in (tmp_path / "new" / "figures").iterdir()} == {
        f"{name}.png" for name in EVERY
    }
    for path in paths.values():
        height, width = image.imread(path).shape[:2]
        assert width == 900
        assert 300 <= height <= 1200
        assert path.stat().st_size > 5_000


def test_every_figure_has_a_caption():
    assert list(FIGURES) == EVERY
    assert all(len(FIGURES.get(name).caption) > 60 for name in EVERY)


def test_figures_of_the_signals_are_left_out_where_there_are_none(tmp_path):
    report, metrics, weight_std = made_up_run()
    report.signals = Signals()
    paths = figures.draw_all(report, metrics, weight_std, tmp_path)
    assert list(paths) == ["ppr", "sparsity", "weight_std", "layer_sparsity"]


def test_a_figure_of_the_users_is_drawn_last_and_found_again(tmp_path, registered):
    def draw(report, metrics, weight_std):
        figure = Figure(figsize=(2, 1), dpi=100)
        figure.subplots().plot([row["loss"] for row in metrics], label=report.mode)
        return figure if weight_std else None

    register_figure("loss", draw, "The loss.")
    report, metrics, weight_std = made_up_run()
    folder = tmp_path / "figures"
    paths = figures.draw_all(report, metrics, weight_std, folder)
    assert list(paths) == [*NAMES, "loss"] and image.imread(paths["loss"]).shape[:2] == (100, 200)
    assert "loss" not in figures.draw_all(report, metrics, {}, tmp_path / "other")
    (folder / "another.png").write_bytes(b"")
    assert list(figures.drawn_figures(folder)) == [*NAMES, "loss", "another"]
    register_figure("mine/loss", draw, "The same in a folder.")
    figures.draw_all(report, metrics, weight_std, folder, ["mine/loss"])
    found = figures.drawn_figures(folder)
    assert list(found) == [*NAMES, "loss", "mine/loss", "another"]
    assert found["mine/loss"] == folder / "mine" / "loss.png"
    assert figures.caption_of("loss") == "The loss."
    assert figures.caption_of("not_known_here") == "not known here"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ppr", len, "x"), "name='ppr': expected another name than"),
        (("a b", len, "x"), "name='a b': expected a name of letters"),
        (("mine", 3, "x"), "draw=3: expected a function"),
        (("mine", len, None), "caption=None: expected a text"),
    ],
)
def test_what_is_no_figure_is_not_registered(registered, arguments, message):
    with pytest.raises(InputError, match=message):
        register_figure(*arguments)
    assert list(FIGURES) == EVERY


def test_draws_again_over_older_figures(tmp_path):
    (tmp_path / "ppr.png").write_text("old")
    paths = figures.draw_all(*made_up_run(), tmp_path)
    assert image.imread(paths["ppr"]).shape[1] == 900


@pytest.mark.parametrize("case", ["no metrics", "no probe", "one epoch", "empty cells"])
def test_copes_with_what_a_run_may_lack(tmp_path, case):
    report, metrics, weight_std = made_up_run()
    if case == "no metrics":
        metrics, weight_std = [], {}
    elif case == "no probe":
        report = made_up_report(start_epoch=None, start_reason="", dense=None)
        report.probe, report.schedule = Probe(), Schedule()
    elif case == "one epoch":
        report, metrics, weight_std = made_up_run(epochs=1, layers=1, start=1, ramp=1)
    else:  # what csv.DictReader gives
        metrics = [{k: "" if v is None else str(v) for k, v in row.items()} for row in metrics]
        metrics[0]["val_accuracy"] = ""
        report.schedule = Schedule()
    assert set(figures.draw_all(report, metrics, weight_std, tmp_path)) == set(NAMES)


def test_height_grows_with_the_layers():
    few, many = (
        figures.draw_layer_sparsity(made_up_run(layers=layers)[0], [], {}).get_size_inches()
        for layers in (19, 110)
    )
    assert few[0] == many[0] == 6
    assert (many[1] - few[1]) / 91 > 0.14  # inches per bar, enough for 7.5 points


def test_ppr_marks_the_start_epoch_and_its_reason():
    report, metrics, _ = made_up_run()
    figure = figures.draw_ppr(report, metrics, {})
    assert "start epoch 4" in texts(figure)
    # In full: it says what was decided on.
    assert report.start_reason in texts(figure)
    axes = figure.axes[0]
    assert [4, 4] in [list(line.get_xdata()) for line in axes.lines]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    expected = [100 * value for value in report.probe.ppr_accuracy]
    assert drawn["pruned, then retrained (PPR)"] == pytest.approx(expected)


def test_ppr_shows_what_was_decided_on_over_the_whole_training():
    report, metrics, _ = made_up_run()
    accuracies = [0.5, 0.7, 0.8, 0.85, 0.87, 0.88, 0.885, 0.885]
    report.probe.epochs = list(range(1, 9))
    report.probe.ppr_accuracy = report.probe.dense_accuracy = accuracies
    report.probe.pruned_accuracy = [0.1] * 8
    report.start_epoch, report.decision.latest_start_epoch = 8, 20
    report.config = {"probe": {"detector": "ppr_saturation(tolerance=0.02)"}}
    axes = figures.draw_ppr(report, metrics, {}).axes[0]
    drawn = {line.get_label(): line for line in axes.lines}
    x, y = drawn["fitted PPR accuracy"].get_data()
    ramp = (report.schedule.end_step - report.schedule.begin_step) / report.schedule.steps_per_epoch
    assert x[0] == 1 and x[-1] >= 8 + ramp
    assert y[np.abs(x - 8).argmin()] == pytest.approx(88.5, abs=1)
    tolerance = drawn["2.0 points more: worth waiting for"].get_ydata()
    assert tolerance[0] == pytest.approx(y[np.abs(x - 8 - ramp).argmin()] + 2, abs=0.1)
    report.decision.latest_start_epoch = None
    axes = figures.draw_ppr(report, metrics, {}).axes[0]
    assert "fitted PPR accuracy" not in {line.get_label() for line in axes.lines}


@pytest.mark.parametrize(
    ("detected", "words"), [(True, "saturates"), (False, "no saturation"), (None, "starts at")]
)
def test_ppr_title_claims_saturation_only_where_it_was_detected(detected, words):
    report, metrics, _ = made_up_run()
    report.decision.detected = detected
    assert words in " ".join(texts(figures.draw_ppr(report, metrics, {})).split())


def test_sparsity_is_a_staircase_over_the_updates():
    report, metrics, _ = made_up_run()
    line = figures.draw_sparsity(report, metrics, {}).axes[0].lines[0]
    assert line.get_drawstyle() == "steps-post"
    assert list(line.get_xdata()) == [0, 4, 5, 6, 7, 8, 12]
    assert line.get_ydata()[-1] == pytest.approx(80)


def test_sparsity_falls_back_to_the_metrics_without_a_schedule():
    report, metrics, _ = made_up_run()
    report.schedule = Schedule()
    line = figures.draw_sparsity(report, metrics, {}).axes[0].lines[0]
    assert len(line.get_xdata()) == len(metrics) + 2
    assert line.get_ydata()[-1] == pytest.approx(80)


def test_a_mask_changed_once_is_called_so():
    report, metrics, _ = made_up_run()
    report.schedule.updates = [(40, 0.8)]
    assert "80.0 % at once, after epoch 4" in texts(figures.draw_sparsity(report, metrics, {}))


def test_names_are_drawn_as_text_and_not_as_tex(tmp_path):
    report, metrics, weight_std = made_up_run(layers=2)
    report.ticket.layers[0].name = r"$\frac{x$" + "y" * 80
    report.start_reason = r"costs $1 \or $2"
    figures.draw_all(report, metrics, weight_std, tmp_path)


def test_pyplot_and_the_global_style_are_not_touched(tmp_path):
    before = dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules
    figures.draw_all(*made_up_run(), tmp_path)
    assert (dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules) == before


def lines(figure: Figure, style: str):
    return [line for line in figure.axes[0].lines if line.get_linestyle() == style]


def points(line):
    return list(line.get_xdata()), pytest.approx(list(line.get_ydata()))


def layer_rates(rates):
    """Draws rates from epoch 1 to the start epoch."""
    return draw_layer_rates(range(1, len(rates) + 1), rates, len(rates))


def mask_distance(distances):
    """Draws distances from epoch 1 to the start epoch."""
    count = len(distances)
    found = Signals(
        list(range(1, count + 1)), ["a"], [[0.8]] * count, distances, [[] for _ in distances]
    )
    report = dataclasses.replace(made_up_report(), signals=found, start_epoch=count)
    return draw_mask_distance(report, [], {})


def spread(metrics, std):
    """Draws the spread of the weights of a run whose recipe is known."""
    return draw_weight_std(metrics, std, **RECIPE)


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
    figure = layer_rates([[0.5, 0.9], [0.45, 0.85], [0.4, 0.8]])
    first, second, start = figure.axes[0].lines
    assert points(first) == ([1, 2, 3], [50, 45, 40])
    assert points(second) == ([1, 2, 3], [90, 85, 80])
    assert list(start.get_xdata()) == [3, 3] and "start epoch 3" in texts(figure)


def test_layers_have_the_same_colours_in_both_figures_and_a_bar():
    rates = layer_rates([[0.1 * i for i in range(5)]] * 4)
    spread = draw_weight_std([], weight_std(layers=5, epochs=4))
    colours = [[to_hex(line.get_color()) for line in f.axes[0].lines[:5]] for f in (rates, spread)]
    assert colours[0] == colours[1] and len(set(colours[0])) == 5
    for figure in (rates, spread):
        bar = figure.axes[1]
        assert [tick.get_text() for tick in bar.get_yticklabels()] == ["1", "2", "3", "4", "5"]
        assert "nearest the input" in bar.get_ylabel()


def test_title_of_the_rates_tells_how_far_they_moved_lately():
    rates = [[0.1, 0.9], [0.3, 0.8], [0.31, 0.8], [0.32, 0.8], [0.33, 0.8], [0.345, 0.8]]
    text = texts(layer_rates(rates))
    assert "after epoch 6, layers would lose 34 to 80 % of their weights" in text
    assert "up to 4.5 points since epoch 2" in text  # the jump from epoch 1 is long past
    assert "points" not in texts(layer_rates(rates[:1]))


def test_mask_distance_shows_the_last_and_the_farthest_mask_in_percent():
    distances = [[], [0.3], [0.2, 0.4], [0.1, 0.25, 0.35], [0.05, 0.2, 0.1, 0.15]]
    figure = mask_distance(distances)
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
    text = texts(mask_distance(distances))
    assert f"5 masks in a row within 10 % of each other, {words}" in text


def test_signals_that_are_missing_are_said_to_be():
    assert "nothing was measured" in texts(layer_rates([]))
    assert (
        draw_mask_distance(dataclasses.replace(made_up_report(), signals=Signals()), [], {}) is None
    )


def test_a_single_mask_has_no_distance():
    assert "nothing was measured" in texts(mask_distance([[]]))
    assert "nothing was measured" not in texts(layer_rates([[0.8]]))


def test_learning_rate_drops_are_those_of_a_stepwise_schedule():
    stepwise = [0.1, 0.1, 0.1, 0.01, 0.01, 0.001]
    assert learning_rate_drops(rows(stepwise)) == [(3, 0.01), (5, 0.001)]
    cosine = [0.05 * (1 + math.cos(math.pi * i / 20)) for i in range(20)]
    assert learning_rate_drops(rows(cosine)) == []
    assert learning_rate_drops(rows(["", None])) == []


def test_low_gradient_law_starts_anew_at_every_drop_of_the_learning_rate():
    figure = spread(rows(STEPWISE), weight_std(layers=1))
    high, low = lines(figure, "--")
    # Measured after epoch 3: 0.98; a hundredth less per epoch at 0.01.
    assert points(high) == ([3, 4, 5, 6], [0.98, 0.9702, 0.960498, 0.95089302])
    # Measured after epoch 6: 0.95; a thousandth less per epoch at 0.001.
    assert points(low) == ([6, 7, 8, 9], [0.95, 0.94905, 0.94810095, 0.94715284905])
    assert {line.get_color() for line in (high, low)} == {drawing.GREY}
    assert texts(figure).count("eq. 5: weight decay alone") == 1


def test_low_gradient_law_is_drawn_for_three_layers():
    figure = spread(rows(STEPWISE[:6]), weight_std(layers=7, epochs=6))
    assert [line.get_ydata()[0] for line in lines(figure, "--")] == pytest.approx(
        [0.98, 3.98, 6.98]
    )


def test_low_gradient_law_is_not_drawn_where_the_mask_changes():
    sparsity = [0, 0, 0, 0, 0.4, 0.8, 0.8, 0.8, 0.8]
    rates = [0.1] * 3 + [0.01] * 6
    (line,) = lines(spread(rows(rates, sparsity), weight_std(layers=1)), "--")
    assert points(line) == ([6, 7, 8, 9], [0.95, 0.9405, 0.931095, 0.92178405])
    ramp = [0.1 * i for i in range(9)]
    assert not lines(spread(rows(rates, ramp), weight_std()), "--")
    assert not lines(spread(rows(rates, [""] * 9), weight_std()), "--")


@pytest.mark.parametrize("lacking", RECIPE)
def test_low_gradient_law_needs_the_recipe(lacking):
    figure = draw_weight_std(rows(STEPWISE), weight_std(), **RECIPE | {lacking: None})
    assert not lines(figure, "--") and not figure.legends
    assert len(lines(figure, "-")) == 3


def test_the_recipe_is_that_of_the_report():
    report = made_up_report(config={"train": {"weight_decay": 0.01, "momentum": 0.9}})
    figure = FIGURES.get("weight_std").draw(report, rows(STEPWISE), weight_std())
    assert len(lines(figure, "--")) == 6
    report = made_up_report(config={})
    figure = FIGURES.get("weight_std").draw(report, rows(STEPWISE), weight_std())
    assert not lines(figure, "--")


def test_low_gradient_law_needs_a_drop_and_a_measurement():
    assert not lines(spread(rows([0.01] * 9), weight_std()), "--")
    unknown = {"epochs": [1, 2], "layers": {"conv": [0.2, None]}}
    assert not lines(spread(rows(STEPWISE), unknown), "--")


def test_spread_of_the_weights_is_that_of_the_search():
    metrics = rows([0.1] * 4) + rows(STEPWISE, phase="retrain")
    figure = spread(metrics, weight_std(epochs=4))
    assert not lines(figure, "--") and not lines(figure, ":")
    assert figure.axes[0].get_xlim()[1] < 5
    metrics = rows(STEPWISE) + rows(STEPWISE, phase="dense")
    figure = spread(metrics, weight_std())
    assert len(lines(figure, "--")) == 6
    assert [line.get_xdata()[0] for line in lines(figure, ":")] == [3, 6]


def test_spread_of_the_weights_can_be_drawn_from_csv_text():
    text = [{name: str(value) for name, value in row.items()} for row in rows(STEPWISE)]
    assert len(lines(spread(text, weight_std()), "--")) == 6
    older = [{name: row[name] for name in row if name != "phase"} for row in text]
    assert len(lines(spread(older, weight_std()), "--")) == 6


def test_nothing_measured_of_the_spread_is_said():
    assert "nothing was measured" in texts(draw_weight_std([], {}))


def test_without_probes_a_rewound_ticket_s_search_is_drawn():
    report, metrics, weight_std = made_up_run()
    report.probe = Probe()
    search = [{**row, "phase": "search"} for row in metrics[:4]]
    retrain = [{**row, "phase": "retrain"} for row in metrics]
    for rows, epochs in (([*search, *retrain], range(1, 5)), (retrain, range(1, 13))):
        line = figures.draw_ppr(report, rows, weight_std).axes[0].get_lines()[0]
        assert list(line.get_xdata()) == list(epochs)


def test_of_a_rewound_ticket_its_own_training_is_drawn():
    report, metrics, weight_std = made_up_run()
    search = [{**row, "phase": "search", "sparsity": 0.0} for row in metrics]
    retrain = [{**row, "phase": "retrain", "sparsity": 0.8} for row in metrics]
    report.schedule.updates = []
    figure = figures.draw_sparsity(report, [*search, *retrain], weight_std)
    (line,) = figure.axes[1].get_lines()
    epochs = list(line.get_xdata())
    assert epochs == sorted(epochs) and len(epochs) == len(metrics)
    (stairs,) = figure.axes[0].get_lines()
    assert set(stairs.get_ydata()) == {80}
