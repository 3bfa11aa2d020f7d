"""The plan of a run: everything fits, or the error says what would. Iterative pruning's cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.plan import (
    iterative_pruning_epochs,
    iterative_sparsities,
    resolve_plan,
    retraining_steps,
    update_frequency,
)


def _lengths(epochs, **options):
    plan = resolve_plan(epochs, **options)
    return plan.ramp_epochs, plan.hold_epochs, plan.latest_start_epoch


@pytest.mark.parametrize(
    ("epochs", "lengths"),
    [(3, (1, 1, 1)), (4, (1, 1, 2)), (10, (2, 2, 6)), (90, (18, 14, 58)), (200, (40, 30, 130))],
)
def test_default_lengths(epochs, lengths):
    assert _lengths(epochs) == lengths


def test_whole_channels_stay_longer_at_the_final_sparsity():
    assert _lengths(40, of_channels=True) == (8, 20, 12)
    assert _lengths(40, of_channels=True, hold_epochs=6) == (8, 6, 26)


@given(st.integers(3, 1000), st.booleans())
def test_default_plan_fits_whenever_one_epoch_each_does(epochs, of_channels):
    plan = resolve_plan(epochs, of_channels=of_channels)
    assert plan.ramp_epochs >= 1 and plan.hold_epochs >= 1
    assert plan.latest_start_epoch >= 1
    assert plan.latest_start_epoch + plan.ramp_epochs + plan.hold_epochs == epochs
    probes = plan.probe_epochs
    assert 1 <= len(probes) <= 20 and probes[0] >= 1 and probes[-1] <= plan.latest_start_epoch
    assert len(probes) * plan.probe_fraction <= 0.05 * epochs * (1 + 1e-9)


def test_lengths_that_were_asked_for_are_kept_and_the_others_give_way():
    assert _lengths(10, ramp_epochs=7) == (7, 2, 1)
    assert _lengths(10, hold_epochs=7) == (2, 7, 1)
    assert _lengths(10, ramp_epochs=8) == (8, 1, 1)
    assert _lengths(10, hold_epochs=8) == (1, 8, 1)
    assert _lengths(10, ramp_epochs=0, hold_epochs=0) == (0, 0, 10)
    assert _lengths(1, ramp_epochs=0, hold_epochs=0) == (0, 0, 1)


@pytest.mark.parametrize(
    ("epochs", "options", "needed"),
    [
        (2, {}, 3),
        (10, {"ramp_epochs": 9}, 11),
        (10, {"ramp_epochs": 6, "hold_epochs": 4}, 11),
        (5, {"ramp_steps": 21, "steps_per_epoch": 5}, 7),
    ],
)
def test_too_few_epochs_are_refused_with_the_number_needed(epochs, options, needed):
    message = f"epochs={epochs}: expected an integer of at least {needed}, to start pruning"
    with pytest.raises(InputError, match=message):
        resolve_plan(epochs, **options)
    assert resolve_plan(needed, **options).latest_start_epoch == 1


def test_steps_follow_from_those_of_an_epoch():
    plan = resolve_plan(60, steps_per_epoch=40, learning_rate=0.2)
    assert plan.ramp_epochs == 12 and plan.ramp_steps == 480
    assert plan.frequency == 24
    # 39 possible epochs, a probe every 2: 19 probes share 3 epochs.
    assert plan.probe_epochs == tuple(range(2, 40, 2))
    assert plan.probe_fraction == pytest.approx(3 / 19) and plan.probe_steps == 20
    assert plan.probe_learning_rate == pytest.approx(0.02)
    given = resolve_plan(
        60, steps_per_epoch=40, ramp_steps=90, frequency=30, probe_fraction=1.0, hold_epochs=2
    )
    assert (given.ramp_epochs, given.ramp_steps, given.frequency) == (3, 90, 30)
    assert given.probe_steps == 40 and given.latest_start_epoch == 55


def test_what_needs_the_steps_of_an_epoch_is_none_without_them():
    plan = resolve_plan(10, rewind_epoch=5)
    assert (plan.steps_per_epoch, plan.ramp_steps, plan.frequency, plan.probe_steps) == (None,) * 4
    assert plan.probe_learning_rate is None and plan.rewind_epoch == 5
    assert resolve_plan(10, frequency=7).frequency == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs=0: expected an integer of at least 1"),
        ({"steps_per_epoch": 0}, "steps_per_epoch=0: expected an integer of at least 1"),
        ({"steps_per_execution": 0}, "steps_per_execution=0: expected an integer of at least 1"),
        (
            {"ramp_steps": -1, "steps_per_epoch": 5},
            "ramp_steps=-1: expected an integer of at least 0",
        ),
        ({"ramp_epochs": -1}, "ramp_epochs=-1: expected an integer of at least 0"),
        ({"ramp_steps": 5}, "ramp_steps=5: expected None while the steps per epoch are not known"),
        ({"hold_epochs": 1.5}, "hold_epochs=1.5: expected an integer of at least 0"),
        ({"rewind_epoch": 6}, "rewind_epoch=6: expected an integer from 0 to 5"),
        ({"rewind_epoch": -1}, "rewind_epoch=-1: expected an integer from 0 to 5"),
        ({"rewind_epoch": 1.5}, "rewind_epoch=1.5: expected an integer"),
        ({"probe_first": 0}, "probe_first=0: expected an integer of at least 1"),
        ({"frequency": 0}, "frequency=0: expected an integer of at least 1"),
        ({"frequency": 3, "steps_per_execution": 2}, "frequency=3: expected a multiple of .*=2"),
        ({"probe_first": 7}, "probe_first=7: expected an integer from 1 to 6"),
        ({"probe_every": 7}, "probe_every=7: expected an integer from 1 to 6"),
        ({"probe_every": 0}, "probe_every=0: expected an integer of at least 1"),
        ({"probe_fraction": 1.5}, "probe_fraction=1.5: expected a number > 0 and <= 1"),
        ({"probe_learning_rate": 0}, "probe_learning_rate=0: expected a number > 0"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=f"^{message}"):
        resolve_plan(**{"epochs": 10, **options})


def test_a_schedule_in_one_shot_has_no_ramp():
    plan = resolve_plan(10, one_shot=True, steps_per_epoch=5)
    assert (plan.ramp_epochs, plan.ramp_steps, plan.latest_start_epoch) == (0, 0, 8)
    assert resolve_plan(10, one_shot=True, ramp_steps=0).ramp_epochs == 0
    with pytest.raises(InputError, match="^ramp_epochs=2: expected None or 0 with a schedule in"):
        resolve_plan(10, one_shot=True, ramp_epochs=2)


def test_one_shot_pruning_needs_no_fitting_frequency():
    plan = resolve_plan(10, ramp_epochs=0, frequency=3, steps_per_epoch=5, steps_per_execution=2)
    assert plan.ramp_steps == 0 and plan.frequency == 3
    assert resolve_plan(10, ramp_steps=0, steps_per_epoch=5).ramp_steps == 0


def test_masks_are_updated_where_keras_calls_back():
    plan = resolve_plan(60, steps_per_epoch=40, steps_per_execution=32)
    assert (plan.ramp_steps, plan.frequency) == (480, 32)


def test_a_probe_never_retrains_for_more_than_an_epoch():
    plan = resolve_plan(100, probe_first=60, steps_per_epoch=40)
    assert (plan.epochs, plan.steps_per_epoch) == (100, 40)
    assert plan.probe_epochs == (60, 64) and plan.probe_fraction == 1 and plan.probe_steps == 40
    assert resolve_plan(10, probe_first=1).probe_epochs[0] == 1


@pytest.mark.parametrize(
    ("arguments", "frequency"), [((4000,), 200), ((10,), 1), ((0,), 1), ((4000, 32), 192)]
)
def test_update_frequency(arguments, frequency):
    assert update_frequency(*arguments) == frequency


@given(st.integers(0, 10**6), st.integers(1, 100))
def test_update_frequency_divides_into_executions(ramp_steps, steps_per_execution):
    frequency = update_frequency(ramp_steps, steps_per_execution)
    assert frequency >= steps_per_execution and frequency % steps_per_execution == 0
    assert abs(frequency - ramp_steps / 20) <= steps_per_execution


@pytest.mark.parametrize(
    ("epochs", "options", "probes"),
    [
        (8, {}, (1, 2, 3, 4, 5)),
        (90, {"probe_every": 5, "probe_first": 10}, tuple(range(10, 59, 5))),
        (200, {}, tuple(range(7, 131, 7))),
        (14, {"probe_first": 9}, (9,)),
        (5, {"probe_every": 7, "probe_first": 2}, (2,)),
    ],
)
def test_probe_epochs(epochs, options, probes):
    assert resolve_plan(epochs, **options).probe_epochs == probes


@pytest.mark.parametrize(
    ("fraction", "steps_per_epoch", "steps"), [(0.1, 500, 50), (0.1, 100, 20), (0.1, 7, 7)]
)
def test_retraining_is_a_fraction_of_an_epoch_but_not_too_short(fraction, steps_per_epoch, steps):
    assert retraining_steps(fraction, steps_per_epoch) == steps


@pytest.mark.parametrize(
    ("sparsity", "fraction", "rounds"),
    [
        (0.0, 0.2, 0),
        (0.2, 0.2, 1),
        (0.36, 0.2, 2),
        (0.488, 0.2, 3),
        (0.8, 0.2, 8),
        (0.9, 0.2, 11),
        (0.75, 0.5, 2),
        (0.99, 0.9, 2),
    ],
)
def test_rounds_of_iterative_pruning(sparsity, fraction, rounds):
    assert len(iterative_sparsities(sparsity, fraction)) == rounds


@given(st.integers(0, 60), st.floats(0.01, 0.9))
def test_float_error_adds_no_round(rounds, fraction):
    density = (1 - fraction) ** rounds
    if density > 1e-6:
        assert len(iterative_sparsities(1 - density, fraction)) == rounds


@given(st.floats(0, 0.999), st.floats(0.01, 0.9))
def test_rounds_are_the_fewest_that_reach_the_sparsity(sparsity, fraction):
    sparsities = iterative_sparsities(sparsity, fraction)
    rounds = len(sparsities)
    assert (1 - fraction) ** rounds <= (1 - sparsity) * (1 + 1e-6)
    assert rounds == 0 or (1 - fraction) ** (rounds - 1) > (1 - sparsity) * (1 - 1e-6)
    assert sparsities == sorted(sparsities) and (not sparsities or sparsities[-1] == sparsity)


def test_rounds_remove_a_part_of_what_remains_and_end_at_the_final_sparsity():
    assert iterative_sparsities(0.8, 0.5) == [0.5, 0.75, 0.8]
    assert iterative_sparsities(0.36) == pytest.approx([0.2, 0.36])


def test_epochs_are_dense_training_and_one_retraining_per_round():
    assert iterative_pruning_epochs(0.8, 90) == 9 * 90
    assert iterative_pruning_epochs(0.0, 200) == 200


def test_bad_arguments_of_the_cost_are_refused():
    with pytest.raises(InputError, match="final_sparsity=1: expected a number >= 0 and < 1"):
        iterative_sparsities(1)
    with pytest.raises(InputError, match="prune_fraction=0: expected a number > 0 and < 1"):
        iterative_sparsities(0.8, 0)
    with pytest.raises(InputError, match="epochs=0: expected an integer of at least 1"):
        iterative_pruning_epochs(0.8, 0)


def test_a_ramp_of_the_whole_training_has_no_probe_and_no_start():
    plan = resolve_plan(20, steps_per_epoch=10, from_first_step=True)
    assert (plan.ramp_epochs, plan.hold_epochs, plan.latest_start_epoch) == (17, 3, 0)
    assert plan.probe_epochs == () and plan.ramp_steps == 170
    assert resolve_plan(4, hold_epochs=0, from_first_step=True).ramp_epochs == 4
    assert resolve_plan(1, from_first_step=True).hold_epochs == 0
    for fields in ({"ramp_epochs": 2}, {"rewind_epoch": 1}, {"hold_epochs": 4}):
        with pytest.raises(InputError, match=f"{[*fields][0]}="):
            resolve_plan(4, from_first_step=True, **fields)
