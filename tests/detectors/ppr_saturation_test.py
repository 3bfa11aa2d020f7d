"""The rule that PPR accuracy has saturated, on curves with and without noise; its gate."""

import numpy as np
import pytest

from tf_earlyticket.detectors.base import Decision, Observation, WeightSignals
from tf_earlyticket.detectors.ppr_saturation import (
    GatedPPR,
    PPRSaturation,
    probe_noise,
    remaining_gain,
)
from tf_earlyticket.detectors.weight_signals import FixedEpoch
from tf_earlyticket.errors import InputError

EPOCHS, LATEST = 60, 42


def exponential(tau):
    return lambda epoch: 0.9 - 0.6 * np.exp(-epoch / tau)


def logistic(epoch):
    return 0.1 + 0.8 / (1 + np.exp(-(epoch - 15) / 3))


def jump(epoch):
    return 0.8 - 0.5 * np.exp(-epoch / 5) + 0.1 * (epoch >= 30)


def detected_at(curve, noise, seed, every=2):
    """Returns the epoch at which the detector fires on a noisy curve, None if never."""
    generator = np.random.default_rng(seed)
    detector = PPRSaturation(LATEST)
    for epoch in range(every, LATEST + 1, every):
        accuracy = curve(epoch) + noise * generator.standard_normal()
        if detector.update(epoch, Observation(accuracy, 0.1, 0.95)).saturated:
            return epoch
    return None


def true_saturation(curve):
    """Returns the first epoch from which waiting until the latest start gains one point at most."""
    return next(e for e in range(1, LATEST + 1) if curve(LATEST) - curve(e) <= 0.01)


@pytest.mark.parametrize("noise", [0.002, 0.005, 0.01])
@pytest.mark.parametrize("curve", [exponential(3), exponential(5), exponential(10)])
def test_a_saturating_curve_is_found_within_a_tenth_of_the_run(curve, noise):
    found = [detected_at(curve, noise, seed) for seed in range(40)]
    assert None not in found
    late = np.array(found) - true_saturation(curve)
    assert np.median(late) <= 0.1 * EPOCHS


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.02])
@pytest.mark.parametrize("curve", [exponential(5), exponential(10), logistic, jump])
def test_there_is_no_alarm_before_half_of_the_rise(curve, noise):
    half = (curve(0) + curve(29)) / 2
    for seed in range(40):
        found = detected_at(curve, noise, seed, every=1)
        assert found is None or curve(found) > half


@pytest.mark.parametrize("noise", [0.002, 0.01])
def test_a_late_jump_of_the_learning_rate_does_not_keep_saturation_from_being_seen(noise):
    found = [detected_at(jump, noise, seed) for seed in range(20)]
    assert sum(epoch is None for epoch in found) <= 2


@pytest.mark.parametrize("noise", [0.002, 0.005, 0.01, 0.02])
@pytest.mark.parametrize(
    "curve",
    [
        lambda epoch: 0.2 + 0.7 * epoch / EPOCHS,
        lambda epoch: 0.1,
        lambda epoch: 0.9 - 0.3 * epoch / EPOCHS,
    ],
    ids=["rising_all_the_time", "flat_at_chance", "falling"],
)
def test_a_curve_that_never_saturates_is_left_to_the_fallback(curve, noise):
    alarms = [detected_at(curve, noise, seed) for seed in range(40)]
    assert sum(epoch is not None for epoch in alarms) <= 2


def test_a_network_that_is_good_from_the_start_needs_no_rise():
    detector = PPRSaturation(LATEST)
    decisions = [
        detector.update(epoch, Observation(0.93, 0.8, 0.94)).saturated for epoch in range(1, 8)
    ]
    # It takes five probes.
    assert decisions == [False] * 4 + [True] * 3


def test_confirmations_are_probes_in_a_row():
    detector = PPRSaturation(LATEST, confirmations=3)
    decisions = [
        detector.update(epoch, Observation(0.93, 0.8, 0.94)).saturated for epoch in range(1, 8)
    ]
    assert decisions == [False] * 6 + [True]


def test_a_curve_that_still_rises_is_not_saturated_because_time_is_up():
    detector = PPRSaturation(20)
    for epoch in range(1, 21):
        decision = detector.update(epoch, Observation(0.3 + 0.02 * epoch, 0.1, 0.9))
        assert not decision.saturated
    assert "waiting until epoch 23" in decision.reason


def test_a_dip_below_the_best_is_not_saturation():
    accuracies = [0.5, 0.7, 0.8, 0.85, 0.87, 0.7, 0.7, 0.7, 0.7]
    detector = PPRSaturation(LATEST)
    decisions = [
        detector.update(epoch + 1, Observation(accuracy, 0.1, 0.95))
        for epoch, accuracy in enumerate(accuracies)
    ]
    assert not any(decision.saturated for decision in decisions)
    assert "below its best, 87.0 %" in decisions[-1].reason


def test_the_reason_says_what_waiting_would_gain():
    detector = PPRSaturation(LATEST)
    for epoch in range(2, 32, 2):
        decision = detector.update(epoch, Observation(exponential(3)(epoch), 0.1, 0.95))
    assert decision.saturated
    assert decision.reason.startswith(
        "fitted PPR accuracy 90.0 % at epoch 30; waiting until epoch 42"
    )
    assert "(tolerance 1.0)" in decision.reason


def test_an_epoch_without_a_probe_changes_nothing():
    plain, mixed = PPRSaturation(LATEST), PPRSaturation(LATEST)
    for epoch in range(2, LATEST, 2):
        observation = Observation(exponential(5)(epoch), 0.1, 0.95)
        mixed.update(epoch - 1, Observation())
        assert plain.update(epoch, observation) == mixed.update(epoch, observation)


def test_reset_forgets_everything():
    detector = PPRSaturation(LATEST)
    first = [detector.update(e, Observation(exponential(3)(e), 0.1, 0.9)) for e in range(1, 20)]
    detector.reset()
    again = [detector.update(e, Observation(exponential(3)(e), 0.1, 0.9)) for e in range(1, 20)]
    assert first == again


def test_remaining_gain_of_an_exact_curve_is_the_curves_own():
    epochs = np.arange(1.0, 16.0)
    gain, deviation, level, _ = remaining_gain(epochs, exponential(5)(epochs), 30)
    assert gain == pytest.approx(exponential(5)(30) - exponential(5)(15), abs=0.005)
    assert level == pytest.approx(exponential(5)(15), abs=0.005)
    assert 0 < deviation < 0.005


def test_what_a_ramp_still_brings_is_not_a_gain_of_waiting():
    epochs = np.arange(1.0, 16.0)
    gain, *_ = remaining_gain(epochs, exponential(5)(epochs), 30, lead_epochs=5)
    assert gain == pytest.approx(exponential(5)(30) - exponential(5)(20), abs=0.002)
    plain, ahead = PPRSaturation(LATEST), PPRSaturation(LATEST, lead_epochs=6)
    for epoch in range(1, LATEST + 1):
        observation = Observation(exponential(10)(epoch), 0.1, 0.95)
        if ahead.update(epoch, observation).saturated:
            break
        assert not plain.update(epoch, observation).saturated, "without a ramp it has to be later"
    assert epoch < true_saturation(exponential(10)) <= epoch + 6


def test_nothing_remains_at_the_latest_start():
    epochs = np.arange(1.0, 16.0)
    assert remaining_gain(epochs, exponential(5)(epochs), 15)[:2] == (0.0, 0.0)


def test_noise_is_measured_on_a_trend_and_past_a_jump():
    generator = np.random.default_rng(0)
    steps = np.arange(400)
    curve = 0.001 * steps + 0.1 * (steps > 200)
    assert probe_noise(curve + 0.01 * generator.standard_normal(400)) == pytest.approx(
        0.01, rel=0.15
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latest_start_epoch": 0}, "latest_start_epoch=0: expected an integer of at least 1."),
        ({"lead_epochs": -1}, "lead_epochs=-1: expected an integer of at least 0."),
        ({"tolerance": 0.0}, "tolerance=0.0: expected a number > 0 and < 1."),
        ({"tolerance": 1.0}, "tolerance=1.0: expected a number > 0 and < 1."),
        ({"minimum_rise": 1.0}, "minimum_rise=1.0: expected a number >= 0 and < 1."),
        ({"minimum_rise": -0.1}, "minimum_rise=-0.1: expected a number >= 0 and < 1."),
        ({"minimum_probes": 3}, "minimum_probes=3: expected an integer of at least 4."),
        ({"confirmations": 0}, "confirmations=0: expected an integer of at least 1."),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises(InputError) as refused:
        PPRSaturation(**{"latest_start_epoch": LATEST, **arguments})
    assert str(refused.value) == message


def test_epochs_must_increase_and_accuracies_be_finite():
    detector = PPRSaturation(LATEST)
    detector.update(3, Observation(0.5, 0.1, 0.9))
    with pytest.raises(InputError, match="^epoch=3: expected an integer of at least 4.$"):
        detector.update(3, Observation(0.5, 0.1, 0.9))
    with pytest.raises(InputError, match="^ppr_accuracy=nan: expected a number.$"):
        detector.update(4, Observation(float("nan"), 0.1, 0.9))
    assert detector.update(4, Observation(0.5, 0.1, 0.9)).reason == "2 of at least 5 probes"


SIGNALS = WeightSignals((0.8, 0.8), (), ())


class Recorder:
    name = "recorder"

    def __init__(self):
        self.epochs = []

    def reset(self):
        self.epochs = []

    def wants_probe(self, epoch, signals):
        return True

    def update(self, epoch, observation):
        self.epochs.append(epoch)
        return Decision(True, "seen")


def test_gated_ppr_asks_for_probes_only_once_the_gate_is_open():
    ppr = Recorder()
    detector = GatedPPR(FixedEpoch(3), ppr)
    for epoch in range(1, 6):
        wanted = detector.wants_probe(epoch, SIGNALS)
        assert wanted == (epoch >= 3)
        observation = (
            Observation(0.5, 0.1, 0.6, SIGNALS) if wanted else Observation(signals=SIGNALS)
        )
        assert detector.update(epoch, observation).saturated == wanted
    assert ppr.epochs == [3, 4, 5]


def test_gated_ppr_feeds_its_gate_each_epoch_once():
    gate = Recorder()
    gate.update = lambda epoch, observation: (gate.epochs.append(epoch), Decision(False, "no"))[1]
    detector = GatedPPR(gate, Recorder())
    for epoch in (1, 2, 3):
        detector.wants_probe(epoch, SIGNALS)
        detector.update(epoch, Observation(signals=SIGNALS))
    assert gate.epochs == [1, 2, 3]


def _fitted_by_least_squares(epochs, accuracies, until, lead):
    """The same estimate, written down curve by curve with a solver of its own."""
    count, span = len(epochs), epochs[-1] - epochs[0]
    rows = []
    for tau in span * np.logspace(np.log10(0.1), np.log10(30), 40):

        def risen(after, tau=tau):
            return (1 - np.exp(-after / tau)) / (1 - np.exp(-span / tau))

        basis = np.stack([np.ones(count), risen(epochs - epochs[0])], axis=1)
        solution = np.linalg.lstsq(basis, accuracies, rcond=None)[0]
        squares = max(((accuracies - basis @ solution) ** 2).sum(), (count - 3) * 1e-6)
        later = risen(span + max(until - epochs[-1], lead)) - risen(span + lead)
        error = np.linalg.inv(basis.T @ basis)[1, 1] * squares / (count - 3)
        rows.append((squares, solution[1] * later, error * later**2, (basis @ solution)[-1]))
    squares, gains, errors, levels = np.array(rows).T
    weights = squares ** (-(count - 3) / 2)
    weights = weights / weights.sum()
    gain = weights @ gains
    deviation = np.sqrt(weights @ (gains**2 + errors) - gain**2)
    noise = np.sqrt(weights @ squares / (count - 3))
    return gain, deviation, weights @ levels, noise


@pytest.mark.parametrize("lead", [0, 3])
@pytest.mark.parametrize("seed", range(4))
def test_remaining_gain_is_that_of_curves_weighed_by_their_likelihood(seed, lead):
    generator = np.random.default_rng(seed)
    epochs = np.cumsum(generator.integers(1, 4, 7 + seed)).astype(float)
    accuracies = exponential(6)(epochs) + 0.01 * generator.standard_normal(len(epochs))
    until = epochs[-1] + 9
    wanted = _fitted_by_least_squares(epochs, accuracies, until, lead)
    assert remaining_gain(epochs, accuracies, until, lead) == pytest.approx(wanted, rel=1e-6)


def test_without_a_lead_the_wait_begins_at_the_last_probe():
    epochs = np.arange(1.0, 9)
    accuracies = exponential(4)(epochs)
    assert remaining_gain(epochs, accuracies, 20) == remaining_gain(epochs, accuracies, 20, 0)
    assert PPRSaturation(20).lead_epochs == 0


def test_noise_of_a_zigzag_is_exact():
    zigzag = np.array([0.5, 0.6] * 5)
    assert probe_noise(zigzag) == pytest.approx(0.2 / 0.6745 / np.sqrt(6), rel=1e-12)


def test_every_epoch_of_the_plan_is_worth_a_probe_and_none_decides_without_one():
    detector = PPRSaturation(20)
    assert detector.wants_probe(1, None) is True
    assert detector.update(3, Observation()) == Decision(False, "no probe at epoch 3")


def test_the_reason_has_the_numbers_of_the_fit():
    detector, epochs = PPRSaturation(40, lead_epochs=4, tolerance=0.02), np.arange(2.0, 14, 2)
    accuracies = exponential(6)(epochs)
    for epoch, accuracy in zip(epochs, accuracies, strict=True):
        decision = detector.update(int(epoch), Observation(float(accuracy), 0.1, 0.95))
    gain, deviation, level, _ = _fitted_by_least_squares(epochs, accuracies, 44, 4)
    assert decision == Decision(
        False,
        f"fitted PPR accuracy {100 * level:.1f} % at epoch 12; waiting until epoch 40 is expected "
        f"to gain {100 * gain:.1f} +- {100 * deviation:.1f} points (tolerance 2.0), for a mask "
        "that is final 4 epochs after the start",
    )


def test_a_curve_that_has_not_moved_says_so():
    detector = PPRSaturation(20, minimum_rise=0.07)
    for epoch in range(1, 7):
        decision = detector.update(epoch, Observation(0.1, 0.1, 0.9))
    assert not decision.saturated
    assert decision.reason.endswith("; it has not risen by 7 points yet")


def test_the_gate_says_why_it_is_shut_and_that_no_probe_was_made():
    gated = GatedPPR(FixedEpoch(3), PPRSaturation(20, minimum_rise=0))
    shut = gated.update(1, Observation())
    assert shut == Decision(False, "not worth probing yet: start epoch fixed at 3")
    assert gated.wants_probe(3, None) is True
    assert gated.update(3, Observation()) == Decision(False, "no probe at epoch 3")


def test_the_gate_sees_the_signals_of_its_epoch():
    class Gate(FixedEpoch):
        seen = []

        def update(self, epoch, observation):
            self.seen.append((epoch, observation.signals))
            return Decision(False, "shut")

    gated = GatedPPR(Gate(1), PPRSaturation(20))
    first, second = (WeightSignals((rate,), (), ()) for rate in (0.1, 0.2))
    gated.wants_probe(1, first)
    gated.update(2, Observation(signals=second))
    assert Gate.seen == [(1, first), (2, second)]


def test_what_was_decided_on_is_the_curve_through_the_probes_and_goes_on():
    detector = PPRSaturation(40)
    epochs = np.arange(2, 21, 2)
    curve = lambda epoch: 0.9 - 0.5 * np.exp(-epoch / 5.0)  # noqa: E731
    assert detector.expected(epochs) is None
    for epoch in epochs:
        detector.update(int(epoch), Observation(float(curve(epoch))))
    grid = np.array([3.0, 11.0, 20.0, 40.0])
    mean, deviation, until = detector.expected(grid)
    np.testing.assert_allclose(mean, curve(grid), atol=0.01)
    assert (deviation > 0).all() and deviation[-1] > deviation[1]
    assert until == 40
    detector.reset()
    assert detector.expected(epochs) is None
