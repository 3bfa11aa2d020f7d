import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_earlyticket.detectors.base import Observation, WeightSignals
from tf_earlyticket.paper.study import accuracy_at, best_epoch, choices, summarize


def test_accuracy_between_two_tickets_is_interpolated_and_outside_them_unknown():
    tickets = {5: 0.80, 10: 0.90}
    assert accuracy_at(tickets, 5) == 0.80
    assert accuracy_at(tickets, 7) == pytest.approx(0.84)
    assert accuracy_at(tickets, 4) is None and accuracy_at(tickets, 11) is None
    assert accuracy_at({}, 5) is None


def test_the_best_epoch_has_the_best_mean_over_the_seeds_that_all_have_it():
    tickets = {"0": {5: 0.80, 10: 0.84, 15: 0.99}, "1": {5: 0.86, 10: 0.80}}
    # 15 lacks seed 1; means are 0.83 and 0.82.
    assert best_epoch(tickets) == 5
    assert best_epoch({"0": {5: 0.8, 10: 0.8}}) == 5, "the earlier of two equals"
    assert best_epoch({"0": {5: 0.8}, "1": {}}) is None
    assert best_epoch({}) is None


def test_the_summary_equals_the_hand_count():
    chosen = {
        "0": {"d": {"start_epoch": 10, "detected": True, "probe_cost_epochs": 1.0}},
        "1": {"d": {"start_epoch": 6, "detected": False, "probe_cost_epochs": 0.5}},
    }
    tickets = {
        "0": {"gradual": {5: 0.80, 10: 0.90}, "one_shot": {5: 0.7}},
        "1": {"gradual": {5: 0.80, 10: 0.88}, "one_shot": {5: 0.7, 10: 0.8}},
    }
    (row,) = summarize(chosen, tickets)
    assert row["start_epochs"] == [10, 6] and row["detected"] == 1
    assert row["probe_cost_epochs"] == 0.75
    # The best epoch is 10; seed 1 at epoch 6 has 0.816.
    assert row["gradual_accuracy"] == pytest.approx((0.90 + 0.816) / 2)
    assert row["gradual_distance"] == pytest.approx((0.0 + 0.064) / 2)
    assert row["gradual_distance_std"] == pytest.approx(0.064 / 2**0.5)
    # Seed 0 has no one-shot ticket at 10.
    assert row["one_shot_accuracy"] is None and row["one_shot_distance"] is None


def test_one_seed_has_no_deviation():
    chosen = {"0": {"d": {"start_epoch": 5, "detected": True, "probe_cost_epochs": 0.0}}}
    (row,) = summarize(chosen, {"0": {"gradual": {5: 0.8}}})
    assert row["gradual_distance"] == 0 and row["gradual_distance_std"] is None


def test_a_study_without_tickets_still_says_what_was_chosen():
    chosen = {"0": {"d": {"start_epoch": 5, "detected": True, "probe_cost_epochs": 0.4}}}
    (row,) = summarize(chosen, {"0": {}})
    assert row["start_epochs"] == [5] and row["probe_cost_epochs"] == 0.4
    for mode in ("gradual", "one_shot"):
        assert row[f"{mode}_accuracy"] is None and row[f"{mode}_distance"] is None


@settings(max_examples=40)
@given(st.lists(st.floats(0.1, 0.99), min_size=12, max_size=12))
def test_every_detector_chooses_a_possible_epoch_and_pays_for_its_probes_only(accuracies):
    signals = WeightSignals((0.8, 0.8), (0.2,) * 4, (0.9,) * 4)
    observations = {e + 1: Observation(a, 0.1, 0.9, signals) for e, a in enumerate(accuracies)}
    chosen = choices(observations, dict.fromkeys(observations, 0.25), 12, 3)
    for choice in chosen.values():
        assert 1 <= choice["start_epoch"] <= 12
        assert choice["probe_cost_epochs"] == 0.25 * len(choice["probed_epochs"])
    assert chosen["MaskDistance"]["detected"] is False
    assert chosen["FixedEpoch(latest)"]["start_epoch"] == 12
    assert chosen["PPRSaturation"]["probed_epochs"]
