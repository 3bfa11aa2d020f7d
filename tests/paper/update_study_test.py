"""The study of ways to prune: equal epochs, what is compared, on literals and with made-up runs."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import made_up_report

from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_json
from tf_earlyticket.job.build import plan_of
from tf_earlyticket.paper import update_study
from tf_earlyticket.paper.update_study import (
    DEFAULT_VARIANTS,
    PARTS,
    Outcome,
    config_of,
    difference_text,
    fields_of,
    interval,
    planned_probe_epochs,
    study_updates,
    summarize_variants,
)
from tf_earlyticket.tickets.ticket import Ticket


def small_config(epochs=20):
    config = Config()
    config.model.name = "resnet8"
    config.train.epochs = epochs
    config.train.drop_epochs = (epochs * 6 // 10, epochs * 8 // 10)
    return config


def test_parts_are_put_together_and_two_of_a_kind_are_refused():
    assert fields_of("regrow+restart") == {"pruning.update": "regrow", "train.restart": True}
    with pytest.raises(InputError, match=r"variants='shrink\+swap': expected parts that set diff"):
        fields_of("shrink+swap")
    with pytest.raises(InputError, match=r"variants='random_masks\+restart'"):
        fields_of("random_masks+restart")
    with pytest.raises(InputError, match="variants='magic': expected one of shrink"):
        fields_of("magic")


def test_every_part_makes_a_config_that_can_be_trained():
    for part in PARTS:
        update_study.check_arguments(small_config(), [part], [0.8], [0])


@settings(max_examples=20)
@given(st.integers(4, 80), st.sampled_from(["ppr", "shrink", "swap+late", "one_cycle", "dense"]))
def test_training_and_probes_never_take_more_than_the_epochs_given(epochs, variant):
    made = config_of(small_config(epochs), variant, 0.9, 3)
    spent = made.train.epochs + planned_probe_epochs(made)
    assert spent <= epochs
    assert (made.train.epochs == epochs) == (variant != "ppr")
    assert made.seed == 3 and not made.train.dense_baseline


def test_a_run_with_probes_trains_as_long_as_fits_and_its_rate_drops_at_the_same_parts():
    config = small_config(40)
    config.train.drop_epochs = (24, 32)
    config.probe.fraction = 1.0
    made = config_of(config, "ppr", 0.9)
    # 24 epochs: ramp 5, hold 4, so 15 probes of an epoch each; 25 would take 16.
    assert made.train.epochs == 24 and planned_probe_epochs(made) == 15
    assert made.train.drop_epochs == (14, 19)
    assert config_of(config, "mask_distance", 0.9).train.epochs == 40


def test_pruning_starts_in_the_first_third_unless_a_part_says_otherwise():
    config = small_config(20)
    # Ramp 4, hold 3: 13 at the latest.
    assert plan_of(config).latest_start_epoch == 13
    assert config_of(config, "swap", 0.9).probe.detector == "fixed_epoch(epoch=4)"
    assert config_of(config, "one_shot", 0.9).probe.detector == "fixed_epoch(epoch=4)"
    assert config_of(config, "two_thirds", 0.9).probe.detector == "fixed_epoch(epoch=8)"
    assert config_of(config, "late", 0.9).probe.detector == "fixed_epoch"
    # A ramp of 10 leaves 7.
    longer = config_of(config, "two_thirds+long_ramp+cosine", 0.9)
    assert longer.probe.detector == "fixed_epoch(epoch=4)"
    assert (longer.pruning.ramp_epochs, longer.train.schedule) == (10, "cosine")
    with pytest.raises(InputError, match="no start with a schedule over the whole training"):
        config_of(config, "one_cycle+ppr", 0.9)


def test_the_dense_network_is_a_run_at_sparsity_0_with_the_same_learning_rates():
    dense, restarted = (config_of(small_config(), name, 0.0) for name in ("dense", "dense+restart"))
    assert dense.pruning.final_sparsity == restarted.pruning.final_sparsity == 0
    assert (dense.train.restart, restarted.train.restart) == (False, True)
    assert dense.probe.detector == restarted.probe.detector == "fixed_epoch(epoch=4)"


def test_the_interval_of_three_seeds_is_their_range_and_one_seed_has_none():
    assert interval([0.5]) is None
    assert interval([0.01, -0.02, 0.04]) == (-0.02, 0.04)
    low, high = interval([0.01] * 10 + [0.03] * 10)
    assert 0.014 < low < 0.018 and 0.022 < high < 0.026


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_an_interval_has_the_mean_within_and_lies_within_the_values(values):
    low, high = interval(values)
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values) + 1e-9


def outcome(variant, goal, seed, accuracy, start=4, train=20.0, probes=0.0):
    return Outcome(variant, goal, seed, accuracy, goal, start, train, probes)


def test_rows_compare_runs_of_the_same_seed_only():
    rows = summarize_variants(
        [
            outcome("restart", 0.9, 1, 0.94),
            outcome("restart", 0.9, 0, 0.96),
            outcome("shrink", 0.9, 0, 0.90, 5, 18.0, 1.0),
            outcome("shrink", 0.9, 1, 0.92, 3, 16.0, 2.0),
            outcome("shrink", 0.9, 2, 0.10, None),
            outcome("dense+restart", 0.0, 0, 0.97),
            outcome("dense", 0.0, 0, 0.98),
            outcome("dense", 0.0, 1, 0.95),
        ],
        ["shrink", "restart"],
    )
    assert [row["variant"] for row in rows] == ["dense", "dense+restart", "shrink", "restart"]
    dense, dense_restart, shrink, restart = rows
    assert dense["difference"] is None and dense["seeds"] == 2
    assert dense_restart["difference"] == pytest.approx(-0.01)
    assert dense_restart["difference_low"] is None and dense_restart["same_rates"] is None
    # Seed 2 has no dense network.
    assert shrink["difference"] == pytest.approx((-0.08 - 0.03) / 2)
    assert shrink["difference_low"] == pytest.approx(-0.08)
    assert shrink["difference_high"] == pytest.approx(-0.03)
    assert shrink["gain"] is None and shrink["same_rates"] is None
    assert shrink["seeds"] == 3 and shrink["start_epochs"] == [5, 3, None]
    assert (shrink["train_epochs"], shrink["probe_epochs"], shrink["epochs"]) == (18, 1, 19)
    assert restart["gain"] == pytest.approx((0.06 + 0.02) / 2)
    assert restart["gain_low"] == pytest.approx(0.02)
    assert restart["same_rates"] == pytest.approx(-0.01)
    assert restart["accuracy"] == pytest.approx(0.95)


def test_a_difference_is_told_in_points_with_its_interval():
    row = {"gain": 0.0123, "gain_low": -0.00001, "gain_high": 0.02}
    assert difference_text(row, "gain") == "+1.23 (+0.00 to +2.00)"
    assert difference_text({"gain": -0.004, "gain_low": None, "gain_high": None}, "gain") == "-0.40"
    assert difference_text({"gain": None, "gain_low": None, "gain_high": None}, "gain") == "-"


@pytest.fixture
def trained(monkeypatch):
    """Runs are made up: a report in their directory; returns the list of them."""
    runs = []

    def train(config, place, data_dir, strategy):
        if (place / "report.json").exists():
            return
        runs.append((place.parts[-3:], config))
        sparsity = config.pruning.final_sparsity
        report = made_up_report(config=config.to_dict()).to_json()
        report["ticket"] |= {"test_accuracy": 0.98 - 0.1 * sparsity, "sparsity": sparsity}
        write_json(place / "report.json", report)

    monkeypatch.setattr(update_study, "_train", train)
    monkeypatch.setattr(update_study, "_random_ticket", lambda run, seed: run / "random")
    return runs


def test_dense_networks_are_trained_once_a_seed_and_a_second_call_trains_what_is_new(
    trained, tmp_path
):
    config = small_config()
    study = study_updates(
        config,
        tmp_path,
        variants=["shrink", "swap+restart", "random_masks"],
        sparsities=[0.8, 0.9],
        seeds=[0, 1],
        command="as typed",
        tell=lambda _: None,
    )
    places = [place for place, _ in trained]
    assert places[:4] == [
        ("0", name, f"seed{s}") for name in ("dense", "dense+restart") for s in (0, 1)
    ]
    assert len(places) == len(set(places)) == 4 + 2 * 2 * 3
    tickets = {config.ticket for place, config in trained if place[1] == "random_masks"}
    assert str(tmp_path / "0.8" / "shrink" / "seed1" / "random") in tickets and len(tickets) == 4
    assert json.loads((tmp_path / "study.json").read_text()) == json.loads(json.dumps(study))
    assert (tmp_path / "figures" / "differences.png").stat().st_size > 10_000
    with open(tmp_path / "study.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows[2:5]] == ["shrink", "swap+restart", "random_masks"]
    assert float(rows[2]["difference"]) == pytest.approx(-0.08)
    more = {"variants": ["shrink", "one_cycle"], "sparsities": [0.9], "seeds": [0, 1]}
    study_updates(config, tmp_path, **more, tell=lambda _: None)
    assert [place for place, _ in trained[16:]] == [
        ("0.9", "one_cycle", f"seed{s}") for s in (0, 1)
    ]
    more["variants"].append("late")
    kept = study_updates(config, tmp_path, **more, finished_only=True)
    assert len(trained) == 18
    assert [row["variant"] for row in kept["summary"]] == ["dense", "shrink", "one_cycle"]


def test_random_masks_have_the_layer_rates_of_the_first_variant_and_its_initial_weights(tmp_path):
    draw = np.random.default_rng(0)
    masks = {
        f"{name}/kernel": draw.random((5, 8)) < part for name, part in (("a", 0.2), ("b", 0.6))
    }
    weights = {name: draw.normal(size=(5, 8)) for name in masks}
    run = tmp_path / "0.8" / "shrink" / "seed4"
    Ticket(masks, weights, rewind_epoch=0).save(run / "ticket")
    place = update_study._random_ticket(run, 4)
    assert place == tmp_path / "0.8" / "random_masks" / "ticket-seed4"
    made = Ticket.load(place)
    for name, mask in masks.items():
        assert made.masks[name].sum() == mask.sum() and (made.masks[name] != mask).any()
        np.testing.assert_array_equal(made.rewind_weights[name], weights[name])
    assert update_study._random_ticket(run, 4) == place


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "multi_worker"}, "strategy='multi_worker': expected another one"),
        ({"seeds": [0, 0]}, r"seeds=\[0, 0\]: expected different"),
        ({"sparsities": [0.8, 0.8]}, r"sparsities=\[0.8, 0.8\]: expected different"),
        ({"sparsities": [1.0]}, "sparsities=1.0: expected a number > 0 and < 1"),
        ({"variants": []}, "variants="),
        ({"variants": ["random_masks"]}, "the first of them no control"),
        ({"variants": ["shrink", "dense"]}, "others than dense"),
        ({"variants": ["shrink", "shrink+cubic"]}, "another config than that of 'shrink'"),
    ],
)
def test_what_cannot_work_is_refused_before_training(trained, tmp_path, given, message):
    arguments = {"variants": ["shrink"], "sparsities": [0.8], "seeds": [0], **given}
    with pytest.raises(InputError, match=message):
        study_updates(small_config(), tmp_path / "study", **arguments)
    assert not trained and not (tmp_path / "study").exists()


def test_a_config_with_a_sparsity_of_its_own_kind_is_refused(trained, tmp_path):
    config = small_config()
    config.pruning.goal = "accuracy>=0.9"
    with pytest.raises(InputError, match="none of ticket, family, goal and target"):
        study_updates(config, tmp_path, sparsities=[0.8], seeds=[0])
    config = small_config()
    config.pruning.mode = "rewind"
    with pytest.raises(InputError, match="mode='rewind': expected one of continue"):
        study_updates(config, tmp_path, sparsities=[0.8], seeds=[0])


def test_the_usual_variants_are_each_another_config():
    update_study.check_arguments(small_config(), DEFAULT_VARIANTS, [0.8], [0])


def test_a_base_config_that_distils_or_shrinks_is_no_part_of_other_runs():
    config = small_config()
    config.train.distillation, config.pruning.shrink_after_ramp = 1.0, True
    for variant in ("dense", "random_masks"):
        made = config_of(config, variant, 0.8)
        assert made.train.distillation == 0 and not made.pruning.shrink_after_ramp


def test_iterative_pruning_is_made_once_a_cell(trained, tmp_path, monkeypatch):
    made = []

    def iterative(run, phase, fraction, rewind_epoch):
        sparsity = run.config.pruning.final_sparsity
        assert (fraction, rewind_epoch) == (0.2, 0)
        made.append((phase, sparsity))
        return {"test_accuracy": 0.9, "rounds": [{"sparsity": sparsity}], "epochs": 99}

    monkeypatch.setattr(update_study, "iterative_pruning", iterative)
    # The dense network that all rounds begin with is trained.
    config = small_config(4)
    config.data.train_examples, config.data.validation_examples = 64, 64
    arguments = {"variants": ["shrink", "iterative"], "sparsities": [0.5], "seeds": [3]}
    for _ in range(2):
        study = study_updates(config, tmp_path, **arguments)
        found = [one for one in study["outcomes"] if one["variant"] == "iterative"]
        assert [(one["goal"], one["sparsity"], one["train_epochs"]) for one in found] == [
            (0.5, 0.5, 99)
        ]
    assert len(made) == 1


@pytest.mark.slow
def test_a_study_in_little_trains_everything_and_continues(tmp_path):
    config = small_config(3)
    config.data.train_examples, config.data.validation_examples = 96, 64
    config.train.drop_epochs = (2,)
    arguments = {
        "variants": ["shrink", "regrow+restart", "random_masks", "iterative"],
        "sparsities": [0.5],
        "seeds": [1],
    }
    study = study_updates(config, tmp_path, **arguments)
    outcomes = {one["variant"]: one for one in study["outcomes"]}
    assert list(outcomes) == ["dense", "dense+restart", *arguments["variants"]]
    for variant in arguments["variants"]:
        assert outcomes[variant]["sparsity"] == pytest.approx(0.5, abs=1e-4)
    assert outcomes["dense"]["sparsity"] == 0
    # Rounds of 20, 36, 48.8 and 50 %, and the dense training.
    assert outcomes["iterative"]["train_epochs"] == 15
    assert {one["train_epochs"] for name, one in outcomes.items() if name != "iterative"} == {3}
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("ticket.json")}
    assert study_updates(config, tmp_path, **arguments)["summary"] == study["summary"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("ticket.json")} == trained


@pytest.mark.parametrize(
    "kept",
    [
        {"seeds": {"3": {"dense": 0.9}}},
        {"seeds": {"3": {"dense_test_accuracy": 0.9}}},
        {"outcomes": [vars(Outcome("dense", 0.0, 3, 0.9, 0.0, None, 20))]},
    ],
    ids=["channels", "detectors", "updates"],
)
def test_dense_networks_of_another_study_are_not_trained_again(trained, tmp_path, kept):
    config, path = small_config(), tmp_path / "study.json"
    write_json(path, {"config": config.to_dict(), **kept})
    arguments = {"variants": ["shrink"], "sparsities": [0.8], "dense_from": path}
    study = study_updates(config, tmp_path, seeds=[3], **arguments)
    assert [place for place, _ in trained] == [("0.8", "shrink", "seed3")]
    assert study["dense_from"] == str(path)
    row = study["summary"][1]
    assert row["difference"] == pytest.approx(row["accuracy"] - 0.9)
    with pytest.raises(InputError, match=r"expected each of the seeds \[3, 4\] in it"):
        study_updates(config, tmp_path, seeds=[3, 4], **arguments)
    config.train.learning_rate = 0.2
    with pytest.raises(InputError, match=r"expected the same config\.train"):
        study_updates(config, tmp_path, seeds=[3], **arguments)
