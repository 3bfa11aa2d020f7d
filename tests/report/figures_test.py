import copy
import math
import sys

import matplotlib
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from tf_earlyticket.report import drawing, figures
from tf_earlyticket.report.captions import CAPTIONS

NAMES = ["ppr", "sparsity", "layer_rates", "mask_distance", "weight_std", "layer_sparsity"]


def synthetic_run(epochs=12, layers=5, start=4, ramp=4):
    """Returns a report, metrics and weight statistics as a run of `epochs` would leave them."""
    steps_per_epoch, final = 10, 0.8
    updates = [
        [(start + i) * steps_per_epoch, final * (1 - (1 - i / ramp) ** 3)] for i in range(ramp + 1)
    ]
    sparsity = [
        max((s for t, s in updates if t <= e * steps_per_epoch), default=0.0)
        for e in range(1, epochs + 1)
    ]
    accuracy = [0.9 * (1 - math.exp(-e / 3)) for e in range(1, epochs + 1)]
    metrics = [
        {
            "epoch": e,
            "step": e * steps_per_epoch,
            "learning_rate": 0.1 if e <= epochs * 0.6 else 0.01,
            "loss": 1.0,
            "accuracy": accuracy[e - 1],
            "val_loss": 1.0,
            "val_accuracy": accuracy[e - 1],
            "sparsity": sparsity[e - 1],
            "ppr_accuracy": accuracy[e - 1] if e <= start else None,
            "seconds": 1.5,
        }
        for e in range(1, epochs + 1)
    ]
    names = [f"block{i}_conv" for i in range(layers)]
    probed = accuracy[:start]
    report = {
        "schema_version": 1,
        "config": {
            "pruning": {"final_sparsity": final},
            "train": {"weight_decay": 1e-4, "momentum": 0.9},
        },
        "environment": {"python": "3.12", "devices": ["CPU:0"]},
        "dense": {"test_accuracy": 0.9174, "epochs": epochs},
        "probe": {
            "epochs": list(range(1, start + 1)),
            "ppr_accuracy": probed,
            "pruned_accuracy": [value / 2 for value in probed],
            "dense_accuracy": probed,
            "cost_epochs": 0.4,
            "seconds": 3.0,
            "learning_rate": 0.01,
            "fraction": 0.1,
        },
        "signals": {
            "epochs": list(range(1, start + 1)),
            "layers": names,
            "pruning_rates": [
                [final + 0.1 / e * (-1) ** i for i in range(layers)] for e in range(1, start + 1)
            ],
            "mask_distances": [[0.3 / e] * min(e - 1, 4) for e in range(1, start + 1)],
            "similarities": [[0.9] * min(e - 1, 4) for e in range(1, start + 1)],
        },
        "start_epoch": start,
        "start_reason": "the last 3 probes differ by less than 0.5 points",
        "ticket": {
            "test_accuracy": 0.9136,
            "sparsity": final,
            "layers": [
                {"name": name, "shape": [3, 3, 64, 64], "kept": 7373, "sparsity": 1 - 7373 / 36864}
                for name in names
            ],
        },
        "cost": {
            "train_epochs": 12.0,
            "probe_epochs": 0.4,
            "total_epochs": 12.4,
            "iterative_pruning_epochs": 1240.0,
            "iterative_pruning_source": "analytic",
            "ratio": 0.01,
        },
        "seconds": {"train": 3725.0, "probe": 3.0},
        "mode": "continue",
        "decision": {"detected": True, "latest_start_epoch": 8, "detector": "saturation"},
        "schedule": {
            "begin_step": start * steps_per_epoch,
            "end_step": (start + ramp) * steps_per_epoch,
            "frequency": steps_per_epoch,
            "initial_sparsity": 0.0,
            "final_sparsity": final,
            "updates": updates,
            "steps_per_epoch": steps_per_epoch,
        },
        "command": "python -m tf_earlyticket.train --seed=0",
        "status": "done",
    }
    spread = {name: [0.1 * 0.9**e for e in range(epochs)] for name in names}
    return report, metrics, {"epochs": list(range(1, epochs + 1)), "layers": spread}


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def without_anything(report):
    report = copy.deepcopy(report)
    return report | dict.fromkeys(
        ("dense", "probe", "start_epoch", "ticket", "schedule", "decision", "start_reason")
    )


def test_draws_every_figure_and_leaves_nothing_else(tmp_path):
    paths = figures.draw_all(*synthetic_run(), tmp_path / "new" / "figures")
    assert list(paths) == NAMES
    assert {path.name for path in (tmp_path / "new" / "figures").iterdir()} == {
        f"{name}.png" for name in NAMES
    }
    for path in paths.values():
        height, width = image.imread(path).shape[:2]
        assert width == 900
        assert 300 <= height <= 1200
        assert path.stat().st_size > 5_000


def test_every_figure_has_a_caption():
    assert list(CAPTIONS) == NAMES


@pytest.mark.parametrize("signals", [None, {"epochs": [], "pruning_rates": []}])
def test_figures_of_the_signals_are_left_out_where_there_are_none(tmp_path, signals):
    report, metrics, weight_std = synthetic_run()
    paths = figures.draw_all(report | {"signals": signals}, metrics, weight_std, tmp_path)
    assert list(paths) == ["ppr", "sparsity", "weight_std", "layer_sparsity"]
    del report["signals"]
    assert list(figures.draw_all(report, metrics, weight_std, tmp_path)) == list(paths)


def test_draws_again_over_older_figures(tmp_path):
    (tmp_path / "ppr.png").write_text("old")
    paths = figures.draw_all(*synthetic_run(), tmp_path)
    assert image.imread(paths["ppr"]).shape[1] == 900


@pytest.mark.parametrize("case", ["empty", "nulls", "one epoch", "empty cells"])
def test_copes_with_what_a_run_may_lack(tmp_path, case):
    report, metrics, weight_std = synthetic_run()
    if case == "empty":
        report, metrics, weight_std = {}, [], {}
    elif case == "nulls":
        report = without_anything(report)
    elif case == "one epoch":
        report, metrics, weight_std = synthetic_run(epochs=1, layers=1, start=1, ramp=1)
    else:  # what csv.DictReader gives
        metrics = [{k: "" if v is None else str(v) for k, v in row.items()} for row in metrics]
        metrics[0]["val_accuracy"] = ""
        report["schedule"] = None
    absent = {"layer_rates", "mask_distance"} if case == "empty" else set()
    assert set(figures.draw_all(report, metrics, weight_std, tmp_path)) == set(NAMES) - absent


def test_height_grows_with_the_layers():
    few, many = (
        figures.draw_layer_sparsity(synthetic_run(layers=layers)[0]).get_size_inches()
        for layers in (19, 110)
    )
    assert few[0] == many[0] == 6
    assert (many[1] - few[1]) / 91 > 0.14  # inches per bar, enough for 7.5 points


def test_ppr_marks_the_start_epoch_and_its_reason():
    report, metrics, _ = synthetic_run()
    figure = figures.draw_ppr(report, metrics)
    assert "start epoch 4: the last 3 probes differ" in texts(figure)
    axes = figure.axes[0]
    assert [4, 4] in [list(line.get_xdata()) for line in axes.lines]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    expected = [100 * value for value in report["probe"]["ppr_accuracy"]]
    assert drawn["pruned, then retrained (PPR)"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("detected", "words"), [(True, "saturates"), (False, "no saturation"), (None, "starts at")]
)
def test_ppr_title_claims_saturation_only_where_it_was_detected(detected, words):
    report, metrics, _ = synthetic_run()
    report["decision"] = {"detected": detected}
    assert words in " ".join(texts(figures.draw_ppr(report, metrics)).split())


def test_sparsity_is_a_staircase_over_the_updates():
    report, metrics, _ = synthetic_run()
    line = figures.draw_sparsity(report, metrics).axes[0].lines[0]
    assert line.get_drawstyle() == "steps-post"
    assert list(line.get_xdata()) == [0, 4, 5, 6, 7, 8, 12]
    assert line.get_ydata()[-1] == pytest.approx(80)


def test_sparsity_falls_back_to_the_metrics_without_a_schedule():
    report, metrics, _ = synthetic_run()
    line = figures.draw_sparsity(report | {"schedule": None}, metrics).axes[0].lines[0]
    assert len(line.get_xdata()) == len(metrics) + 2
    assert line.get_ydata()[-1] == pytest.approx(80)


def test_a_mask_changed_once_is_called_so():
    report, metrics, _ = synthetic_run()
    report["schedule"]["updates"] = [[40, 0.8]]
    assert "80.0 % at once, after epoch 4" in texts(figures.draw_sparsity(report, metrics))


def test_names_are_drawn_as_text_and_not_as_tex(tmp_path):
    report, metrics, weight_std = synthetic_run(layers=2)
    report["ticket"]["layers"][0]["name"] = r"$\frac{x$" + "y" * 80
    report["start_reason"] = r"costs $1 \or $2"
    figures.draw_all(report, metrics, weight_std, tmp_path)


def test_pyplot_and_the_global_style_are_not_touched(tmp_path):
    before = dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules
    figures.draw_all(*synthetic_run(), tmp_path)
    assert (dict(matplotlib.rcParams), "matplotlib.pyplot" in sys.modules) == before


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(drawing.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        drawing.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
