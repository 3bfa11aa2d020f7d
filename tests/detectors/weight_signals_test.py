import dataclasses
import json

import numpy as np
import pytest

from tf_earlyticket.detectors.weight_signals import SignalTracker, WeightSignals

FIRST = {"a": np.array([4.0, 3.0, 0.1, 0.2]), "b": np.array([0.3, 0.4])}
# At half sparsity a keeps its first two and b its second; then one more moves from a to b.
SECOND = {"a": np.array([4.0, 0.0, 0.1, 0.2]), "b": np.array([3.0, 0.4])}


def test_the_first_epoch_has_rates_and_nothing_to_compare_with():
    signals = SignalTracker(0.5).update(FIRST)
    assert signals.pruning_rates == (0.5, 0.5)
    assert signals.mask_distances == ()
    assert signals.similarities == ()


def test_distance_and_similarity_to_the_epoch_before_equal_the_hand_count():
    tracker = SignalTracker(0.5)
    tracker.update(FIRST)
    signals = tracker.update(SECOND)
    assert signals.pruning_rates == (0.75, 0.0)
    # Two of six positions differ: a's second is gone, b's first is new.
    assert signals.mask_distances == pytest.approx((2 / 6,))
    # Kept 2 and 1 in a, 1 and 2 in b: 1 - mean(1/3, 1/3).
    assert signals.similarities == pytest.approx((2 / 3,))


def test_the_latest_epoch_comes_first_and_the_window_bounds_how_many():
    tracker = SignalTracker(0.5, window=3)
    for weights in (SECOND, FIRST, SECOND):
        signals = tracker.update(weights)
    assert signals.mask_distances == pytest.approx((2 / 6, 0.0))
    assert len(tracker.update(SECOND).mask_distances) == 2


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"sparsity": 1.0}, "sparsity"), ({"sparsity": 0.5, "window": 1}, "window")],
)
def test_arguments_out_of_range_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        SignalTracker(**arguments)


def test_a_restored_tracker_goes_on_as_if_it_had_seen_the_epochs_before():
    tracker, restored = SignalTracker(0.5, window=3), SignalTracker(0.5, window=3)
    for weights in (FIRST, SECOND, SECOND):
        tracker.update(weights)
    restored.set_state(json.loads(json.dumps(tracker.get_state())))
    for weights in (FIRST, SECOND):
        assert restored.update(weights) == tracker.update(weights)


def test_signals_survive_json():
    tracker = SignalTracker(0.5)
    tracker.update(FIRST)
    signals = tracker.update(SECOND)
    again = WeightSignals.from_dict(json.loads(json.dumps(dataclasses.asdict(signals))))
    assert again == signals
