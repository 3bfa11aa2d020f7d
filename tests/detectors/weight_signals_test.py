"""The signals of the weights alone, and the detectors that read them."""

import dataclasses
import json

import numpy as np
import pytest

from tf_earlyticket.detectors.base import Decision, Observation, WeightSignals
from tf_earlyticket.detectors.weight_signals import (
    FixedEpoch,
    LayerRateConvergence,
    MaskDistance,
    SignalTracker,
    SubnetSimilarity,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.scores import ScoreContext
from tf_earlyticket.pruning.select import resolve_criterion

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


def test_rates_and_distances_are_exact_fractions():
    tracker = SignalTracker(0.5)
    tracker.update({"a": np.arange(9.0), "b": np.arange(0.0)})
    signals = tracker.update({"a": np.arange(9.0)[::-1], "b": np.arange(0.0)})
    # Four of nine are kept: at both ends of the range, the middle one in neither. None of none.
    assert signals.pruning_rates == (1 - 4 / 9, 1.0)
    assert signals.mask_distances == (8 / 9,)
    assert signals.similarities == (1.0,)
    assert [type(value) for value in signals.pruning_rates] == [float, float]


def test_a_layer_without_kept_weights_is_like_itself():
    tracker = SignalTracker(0.5)
    weights = {"a": np.array([5.0, 6.0]), "b": np.array([1.0, 2.0])}
    tracker.update(weights)
    assert tracker.update(weights).similarities == (1.0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "sparsity=1.0: expected a number >= 0 and < 1."),
        ({"sparsity": -0.1}, "sparsity=-0.1: expected a number >= 0 and < 1."),
        ({"sparsity": 0.5, "window": 1}, "window=1: expected an integer of at least 2."),
    ],
)
def test_a_tracker_refuses_what_is_out_of_range(arguments, message):
    with pytest.raises(InputError) as refused:
        SignalTracker(**arguments)
    assert str(refused.value) == message
    assert SignalTracker(0).window == 5 and SignalTracker(0, window=2).window == 2


def test_masks_are_those_of_the_criterion():
    weights = {"a": np.array([4.0, 3.0, 0.1, 0.2]), "b": np.array([30.0, 40.0])}
    assert SignalTracker(0.5).update(weights).pruning_rates == (0.75, 0.0)
    layerwise = SignalTracker(0.5, resolve_criterion("layerwise"))
    assert layerwise.update(weights).pruning_rates == (0.5, 0.5)
    context = ScoreContext(weights)
    assert SignalTracker(0.5).update(context).pruning_rates == (0.75, 0.0)


def test_what_a_restart_needs_is_arrays_the_latest_first():
    tracker = SignalTracker(0.5, window=3)
    assert tracker.get_arrays() == {}
    for weights in (FIRST, FIRST, SECOND):
        tracker.update(weights)
    arrays = tracker.get_arrays()
    assert {name: array.dtype for name, array in arrays.items()} == {
        "mask_bits": np.uint8,
        "mask_counts": np.int64,
    }
    assert arrays["mask_bits"].tolist() == [[0b10001100], [0b11000100]]
    assert arrays["mask_counts"].tolist() == [[1, 2], [2, 1]]


def test_a_restored_tracker_goes_on_as_if_it_had_seen_the_epochs_before():
    tracker, restored = SignalTracker(0.5, window=3), SignalTracker(0.5, window=3)
    for weights in (FIRST, SECOND, SECOND):
        tracker.update(weights)
    restored.update(FIRST)
    restored.set_arrays(tracker.get_arrays())
    for weights in (FIRST, SECOND):
        assert restored.update(weights) == tracker.update(weights)
    restored.set_arrays({})
    assert restored.update(FIRST).mask_distances == ()


def test_signals_survive_json():
    tracker = SignalTracker(0.5)
    tracker.update(FIRST)
    signals = tracker.update(SECOND)
    again = WeightSignals.from_dict(json.loads(json.dumps(dataclasses.asdict(signals))))
    assert again == signals


def seen(rates=(0.8, 0.8), distances=(), similarities=()):
    return Observation(signals=WeightSignals(rates, distances, similarities))


def feed(detector, observations):
    return [detector.update(n + 1, o).saturated for n, o in enumerate(observations)]


def test_fixed_epoch_is_saturated_from_its_epoch_on():
    assert feed(FixedEpoch(3), [Observation()] * 4) == [False, False, True, True]


def test_mask_distance_compares_every_pair_of_the_window():
    close = [seen(), seen(distances=(0.01,)), seen(distances=(0.01, 0.02))]
    assert feed(MaskDistance(0.1, window=3), close) == [False, False, True]
    # Neighbours are close, the ends of the window are not.
    drifting = [seen(), seen(distances=(0.06,)), seen(distances=(0.06, 0.12))]
    assert feed(MaskDistance(0.1, window=3), drifting) == [False, False, False]


def test_layer_rate_convergence_looks_at_the_layer_that_moves_most():
    still = [seen((0.5, 0.9)), seen((0.505, 0.9)), seen((0.51, 0.9))]
    assert feed(LayerRateConvergence(0.02, window=3), still) == [False, False, True]
    moving = [seen((0.5, 0.9)), seen((0.5, 0.92)), seen((0.5, 0.95))]
    assert feed(LayerRateConvergence(0.02, window=3), moving) == [False, False, False]


def test_subnet_similarity_averages_over_the_window():
    observations = [seen(), seen(similarities=(0.99,)), seen(similarities=(0.99, 0.98))]
    assert feed(SubnetSimilarity(0.98, window=3), observations) == [False, False, True]
    assert feed(SubnetSimilarity(0.99, window=3), observations) == [False, False, False]


def test_reset_forgets_the_window():
    detector = SubnetSimilarity(0.9, window=2)
    feed(detector, [seen(), seen(similarities=(1.0,))])
    detector.reset()
    assert not detector.update(1, seen(similarities=(1.0,))).saturated


def test_reasons_are_in_words_and_numbers():
    observations = [seen((0.5, 0.9)), seen((0.5, 0.913), (0.0625,), (0.5,))]
    reasons = {}
    for kind in (MaskDistance, LayerRateConvergence, SubnetSimilarity):
        detector = kind(window=2)
        assert not detector.wants_probe(1, None)
        first = detector.update(1, observations[0])
        assert first == Decision(False, "1 of 2 epochs seen")
        reasons[detector.name] = detector.update(2, observations[1]).reason
    assert reasons == {
        "mask_distance": "largest distance of the last 2 masks 0.062 (threshold 0.100)",
        "layer_rate_convergence": (
            "largest change of a layer's pruning rate in 2 epochs 1.3 points (tolerance 2.0)"
        ),
        "subnet_similarity": (
            "mean similarity to the sub-networks of the last 1 epochs 0.500 (threshold 0.980)"
        ),
    }
    fixed = FixedEpoch(2)
    assert fixed.update(1, Observation()).reason == "start epoch fixed at 2"
    assert fixed.name == "fixed_epoch" and not fixed.wants_probe(2, None)


def test_thresholds_themselves_count_as_said():
    assert feed(MaskDistance(0.25, window=2), [seen(), seen(distances=(0.25,))])[1] is False
    rates = [seen((0.5,)), seen((0.75,))]
    assert feed(LayerRateConvergence(0.25, window=2), rates)[1] is True
    assert feed(SubnetSimilarity(0.5, window=2), [seen(), seen(similarities=(0.5,))])[1] is True


def test_what_left_the_window_counts_no_more():
    jump = [seen((0.5,)), seen((0.9,), (0.4,)), seen((0.9,), (0.0, 0.4)), seen((0.9,), (0.0, 0.0))]
    assert feed(LayerRateConvergence(0.02, window=3), jump) == [False, False, False, True]
    assert feed(MaskDistance(0.1, window=3), jump) == [False, False, False, True]


def test_reasons_give_points_and_the_tolerance():
    detector = LayerRateConvergence(0.25, window=2)
    feed(detector, [seen((0.25,))])
    assert detector.update(2, seen((0.75,))).reason == (
        "largest change of a layer's pruning rate in 2 epochs 50.0 points (tolerance 25.0)"
    )


def test_subnet_similarity_reads_its_window_only():
    observations = [seen(), seen(similarities=(0.9, 0.1, 0.1, 0.1))]
    assert feed(SubnetSimilarity(0.8, window=2), observations)[1] is True
    observations = [seen(), seen(), seen(similarities=(0.9, 0.1, 0.1, 0.1))]
    assert feed(SubnetSimilarity(0.5, window=3), observations)[2] is True
    assert feed(SubnetSimilarity(0.51, window=3), observations)[2] is False


def test_missing_signals_are_an_error():
    with pytest.raises(InputError, match="^signals=None: expected those of epoch 7's weights.$"):
        MaskDistance().update(7, Observation(0.5, 0.1, 0.6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedEpoch(0), "epoch=0: expected an integer of at least 1."),
        (lambda: MaskDistance(0.0), "threshold=0.0: expected a number > 0 and < 1."),
        (lambda: MaskDistance(1.0), "threshold=1.0: expected a number > 0 and < 1."),
        (lambda: LayerRateConvergence(0), "tolerance=0: expected a number > 0 and < 1."),
        (lambda: LayerRateConvergence(1.5), "tolerance=1.5: expected a number > 0 and < 1."),
        (lambda: SubnetSimilarity(0), "threshold=0: expected a number > 0 and < 1."),
        (lambda: SubnetSimilarity(1), "threshold=1: expected a number > 0 and < 1."),
        (lambda: SubnetSimilarity(window=1), "window=1: expected an integer of at least 2."),
    ],
)
def test_detectors_refuse_what_is_out_of_range(make, message):
    with pytest.raises(InputError) as refused:
        make()
    assert str(refused.value) == message
