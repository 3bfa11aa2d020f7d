"""`EarlyTicketPolynomialDecay`: TFMOT's schedule with a begin that is set later."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_model_optimization.sparsity.keras import PolynomialDecay, PruningSchedule

from tf_earlyticket.backends.tf_keras.wrapper import EarlyTicketPolynomialDecay
from tf_earlyticket.errors import InputError


def updates(schedule, last_step):
    """(step, sparsity) wherever a schedule prunes, up to `last_step`."""
    found = []
    for step in range(last_step + 1):
        should_prune, sparsity = schedule(tf.constant(step, tf.int64))
        if should_prune:
            found.append((step, float(sparsity)))
    return found


def test_is_a_tfmot_polynomial_decay():
    schedule = EarlyTicketPolynomialDecay()
    assert isinstance(schedule, PolynomialDecay)
    assert isinstance(schedule, PruningSchedule)


def test_unset_begin_never_prunes():
    schedule = EarlyTicketPolynomialDecay(0.9, ramp_steps=10, frequency=1)
    assert updates(schedule, 40) == []
    assert float(schedule(tf.constant(10**9, tf.int64))[1]) == 0
    assert schedule.sparsity() is None
    assert schedule.end_step is None


@pytest.mark.parametrize(
    ("begin", "end", "frequency", "initial", "power"),
    [(0, 40, 10, 0.0, 3), (5, 45, 8, 0.25, 3), (3, 33, 1, 0.1, 1)],
)
def test_equals_tfmot_where_the_frequency_divides_the_ramp(begin, end, frequency, initial, power):
    stock = PolynomialDecay(initial, 0.8, begin, end, power=power, frequency=frequency)
    ours = EarlyTicketPolynomialDecay(
        0.8,
        initial_sparsity=initial,
        begin_step=begin,
        ramp_steps=end - begin,
        frequency=frequency,
        power=power,
    )
    for step in range(end + 12):
        stock_prunes, stock_sparsity = stock(tf.constant(step, tf.int64))
        prunes, sparsity = ours(tf.constant(step, tf.int64))
        assert bool(prunes) == bool(stock_prunes)
        assert float(sparsity) == pytest.approx(float(stock_sparsity), abs=1e-6)


@pytest.mark.parametrize(("begin", "end", "frequency"), [(7, 300, 100), (0, 80, 100)])
def test_the_end_step_always_updates_although_tfmot_misses_it(begin, end, frequency):
    stock = updates(PolynomialDecay(0.0, 0.8, begin, end, frequency=frequency), end + 100)
    assert stock[-1][1] < 0.78
    ours = EarlyTicketPolynomialDecay(
        0.8, begin_step=begin, ramp_steps=end - begin, frequency=frequency
    )
    done = updates(ours, end + 100)
    assert done[-1] == (end, pytest.approx(0.8, abs=1e-7))
    assert [step for step, _ in done[:-1]] == [step for step, _ in stock]


def test_begin_equal_to_end_is_one_shot():
    schedule = EarlyTicketPolynomialDecay(0.8, begin_step=5, ramp_steps=0)
    assert updates(schedule, 20) == [(5, pytest.approx(0.8, abs=1e-7))]


@settings(max_examples=30)
@given(
    begin=st.integers(0, 30),
    ramp=st.integers(0, 40),
    frequency=st.integers(1, 50),
    ends=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    step=st.integers(0, 90),
)
def test_equals_its_pure_function_of_steps(begin, ramp, frequency, ends, step):
    initial, final = sorted(ends)
    schedule = EarlyTicketPolynomialDecay(
        final, initial_sparsity=initial, begin_step=begin, ramp_steps=ramp, frequency=frequency
    )
    should_prune, sparsity = schedule(tf.constant(step, tf.int64))
    pure = schedule.sparsity()
    assert bool(should_prune) == (pure.last_update_step(step) == step)
    if should_prune:
        assert float(sparsity) == pytest.approx(pure.sparsity_at(step), abs=1e-5)


def test_begin_sets_what_was_left_unset_and_keeps_the_rest():
    schedule = EarlyTicketPolynomialDecay(0.5, frequency=4)
    schedule.begin(12, ramp_steps=10)
    assert [step for step, _ in updates(schedule, 40)] == [12, 16, 20, 22]
    assert schedule.end_step == 22
    schedule = EarlyTicketPolynomialDecay(0.5, ramp_steps=100)
    schedule.begin(3)
    assert (schedule.begin_step, schedule.ramp_steps) == (3, 100)


@pytest.mark.parametrize("begin_at_once", [True, False])
def test_unset_frequency_gives_about_20_updates(begin_at_once):
    schedule = EarlyTicketPolynomialDecay(
        0.5, ramp_steps=100, begin_step=0 if begin_at_once else None
    )
    if not begin_at_once:
        schedule.begin(0)
    assert [step for step, _ in updates(schedule, 120)] == list(range(0, 101, 5))


def test_works_inside_a_graph():
    schedule = EarlyTicketPolynomialDecay(0.8, begin_step=10, ramp_steps=20, frequency=10)
    prunes, sparsity = tf.function(schedule)(tf.constant(20))
    assert bool(prunes)
    assert float(sparsity) == pytest.approx(0.7, abs=1e-6)


@pytest.mark.parametrize("begun", [True, False])
def test_config_round_trips_in_both_forms(begun):
    schedule = EarlyTicketPolynomialDecay(
        0.6, initial_sparsity=0.1, ramp_steps=30, frequency=7, power=2
    )
    if begun:
        schedule.begin(11)
    config = schedule.get_config()
    for form in (config, config["config"]):
        again = EarlyTicketPolynomialDecay.from_config(form)
        assert again.get_config() == config
        assert again.begin_step == (11 if begun else None)


def test_keras_deserialises_it_without_custom_objects():
    schedule = EarlyTicketPolynomialDecay(0.6, begin_step=4, ramp_steps=30, frequency=7)
    nested = keras.utils.deserialize_keras_object(schedule.get_config())
    assert isinstance(nested, EarlyTicketPolynomialDecay)
    assert nested.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"final_sparsity": 1.0}, "final_sparsity"),
        ({"final_sparsity": -0.1}, "final_sparsity"),
        ({"final_sparsity": 0.5, "initial_sparsity": 0.6}, "initial_sparsity"),
        ({"ramp_steps": -1}, "end_step|ramp_steps"),
        ({"frequency": 0}, "frequency"),
        ({"power": 0}, "power"),
        ({"begin_step": 3}, "ramp_steps"),
        ({"begin_step": -3, "ramp_steps": 4}, "begin_step"),
        ({"final_sparsity": np.nan}, "final_sparsity"),
    ],
)
def test_values_out_of_range_are_refused_by_name(arguments, named):
    with pytest.raises(InputError, match=named):
        EarlyTicketPolynomialDecay(**arguments)


def test_begin_refuses_an_unknown_ramp_and_changes_nothing():
    schedule = EarlyTicketPolynomialDecay(0.5)
    for arguments in ({}, {"ramp_steps": -4}, {"ramp_steps": 4, "frequency": 0}):
        with pytest.raises(InputError):
            schedule.begin(5, **arguments)
    assert schedule.begin_step is None
