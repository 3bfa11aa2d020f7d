"""The plan of a run: everything fits, or the error says how many epochs are needed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.plan import RampPlan, plan_ramp, probe_epochs, update_frequency


@pytest.mark.parametrize(
    ("epochs", "plan"),
    [
        (3, RampPlan(3, 1, 1, 1)),
        (4, RampPlan(4, 1, 1, 2)),
        (10, RampPlan(10, 2, 2, 6)),
        (90, RampPlan(90, 18, 14, 58)),
        (200, RampPlan(200, 40, 30, 130)),
    ],
)
def test_default_plan(epochs, plan):
    assert plan_ramp(epochs) == plan


@given(st.integers(3, 500), st.data())
def test_default_plan_fits_whenever_one_epoch_each_does(epochs, data):
    first = data.draw(st.integers(1, epochs - 2))
    plan = plan_ramp(epochs, first_start_epoch=first)
    assert plan.ramp_epochs >= 1 and plan.hold_epochs >= 1
    assert plan.latest_start_epoch >= first
    assert plan.latest_start_epoch + plan.ramp_epochs + plan.hold_epochs == epochs


def test_lengths_that_were_asked_for_are_kept_and_the_others_give_way():
    assert plan_ramp(10, ramp_epochs=8) == RampPlan(10, 8, 1, 1)
    assert plan_ramp(10, hold_epochs=8) == RampPlan(10, 1, 8, 1)
    assert plan_ramp(10, ramp_epochs=0, hold_epochs=0) == RampPlan(10, 0, 0, 10)
    assert plan_ramp(1, ramp_epochs=0, hold_epochs=0).latest_start_epoch == 1


@pytest.mark.parametrize(
    ("epochs", "options", "needed"),
    [
        (2, {}, 3),
        (10, {"ramp_epochs": 9}, 11),
        (10, {"ramp_epochs": 6, "hold_epochs": 4}, 11),
        (10, {"first_start_epoch": 9}, 11),
    ],
)
def test_too_few_epochs_are_refused_with_the_number_needed(epochs, options, needed):
    with pytest.raises(InputError, match=f"epochs must be >= {needed} .* got {epochs}"):
        plan_ramp(epochs, **options)
    assert plan_ramp(needed, **options).latest_start_epoch >= 1


def test_bad_plan_arguments_are_refused():
    with pytest.raises(InputError, match="epochs must be an integer >= 1, got 0"):
        plan_ramp(0)
    with pytest.raises(InputError, match="ramp_epochs must be an integer >= 0, got -1"):
        plan_ramp(10, ramp_epochs=-1)
    with pytest.raises(InputError, match="hold_epochs must be an integer >= 0, got 1.5"):
        plan_ramp(10, hold_epochs=1.5)


@pytest.mark.parametrize(
    ("arguments", "frequency"),
    [((4000,), 200), ((10,), 1), ((0,), 1), ((4000, 32), 192), ((10, 4), 4), ((100, 1, 4), 25)],
)
def test_update_frequency(arguments, frequency):
    assert update_frequency(*arguments) == frequency


@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(1, 50))
def test_update_frequency_divides_into_executions(ramp_steps, steps_per_execution, updates):
    frequency = update_frequency(ramp_steps, steps_per_execution, updates)
    assert frequency >= steps_per_execution and frequency % steps_per_execution == 0
    assert abs(frequency - ramp_steps / updates) <= steps_per_execution


@pytest.mark.parametrize(
    ("latest", "options", "epochs"),
    [
        (5, {}, [1, 2, 3, 4, 5]),
        (58, {"every": 5, "first": 10}, list(range(10, 59, 5))),
        (130, {}, list(range(7, 131, 7))),
        (9, {"probes": 3}, [3, 6, 9]),
        (9, {"first": 9}, [9]),
        (3, {"every": 7, "first": 2}, [2]),
    ],
)
def test_probe_epochs(latest, options, epochs):
    assert probe_epochs(latest, **options) == epochs


@given(st.integers(1, 1000), st.integers(1, 50))
def test_probes_come_in_time_and_not_too_often(latest, probes):
    epochs = probe_epochs(latest, probes=probes)
    assert 1 <= len(epochs) <= probes
    assert epochs[0] >= 1 and epochs[-1] <= latest


def test_probes_that_would_never_run_are_refused():
    with pytest.raises(InputError, match="first must be <= the latest start epoch 5.* got 6"):
        probe_epochs(5, first=6)
    with pytest.raises(InputError, match="every must be <= the latest start epoch 5.* got 6"):
        probe_epochs(5, every=6)
    with pytest.raises(InputError, match="probes must be an integer >= 1, got 0"):
        probe_epochs(5, probes=0)
