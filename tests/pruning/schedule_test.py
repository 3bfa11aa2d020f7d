"""The schedule: closed form, exact ends, an update at the end step, checked fields."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import PolynomialSparsity


@st.composite
def schedules(draw):
    low, high = sorted(draw(st.lists(st.floats(0, 0.999), min_size=2, max_size=2)))
    begin = draw(st.integers(0, 300))
    end = begin + draw(st.integers(0, 300))
    power = draw(st.sampled_from([1, 2, 3, 0.5]))
    return PolynomialSparsity(low, high, begin, end, draw(st.integers(1, 120)), power)


def test_values_follow_equation_6():
    schedule = PolynomialSparsity(0.0, 0.8, 100, 300, frequency=50)
    values = [schedule.sparsity_at(step) for step in (0, 100, 150, 200, 250, 300, 9999)]
    expected = [0.0, 0.0, 0.4625, 0.7, 0.7875, 0.8, 0.8]
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-15)
    assert schedule.update_steps() == [100, 150, 200, 250, 300]


@given(schedules(), st.integers(-50, 700))
def test_values_equal_the_closed_form_and_stay_between_the_ends(schedule, step):
    s = schedule
    value = s.sparsity_at(step)
    assert s.initial_sparsity <= value <= s.final_sparsity
    if s.begin_step < s.end_step:
        progress = min(max((step - s.begin_step) / (s.end_step - s.begin_step), 0), 1)
        change = (s.initial_sparsity - s.final_sparsity) * (1 - progress) ** s.power
        assert math.isclose(value, s.final_sparsity + change, rel_tol=0, abs_tol=1e-12)
    assert s.sparsity_at(step) <= s.sparsity_at(step + 1)


@given(schedules())
def test_the_ends_are_exact_and_the_end_step_always_updates(schedule):
    assert schedule.sparsity_at(schedule.end_step) == schedule.final_sparsity
    assert schedule.held_sparsity(schedule.end_step + 5) == schedule.final_sparsity
    assert schedule.is_update_step(schedule.end_step)
    if schedule.begin_step < schedule.end_step:
        assert schedule.sparsity_at(schedule.begin_step) == schedule.initial_sparsity


@given(schedules())
def test_the_update_steps_are_those_said_to_be(schedule):
    steps = range(-2, schedule.end_step + 130)
    assert schedule.update_steps() == [step for step in steps if schedule.is_update_step(step)]


@given(schedules(), st.integers(-50, 800))
def test_held_sparsity_is_that_of_the_last_update(schedule, step):
    earlier = [update for update in schedule.update_steps() if update <= step]
    assert schedule.last_update_step(step) == (earlier[-1] if earlier else None)
    expected = schedule.sparsity_at(earlier[-1]) if earlier else 0.0
    assert schedule.held_sparsity(step) == expected


@pytest.mark.parametrize(("begin", "end"), [(7, 300), (0, 80)])
def test_ramps_that_tfmot_leaves_unfinished_end_at_the_final_sparsity(begin, end):
    schedule = PolynomialSparsity(0.0, 0.8, begin, end, frequency=100)
    assert schedule.held_sparsity(end) == 0.8
    assert schedule.update_steps()[-1] == end


def test_a_common_begin_and_end_is_one_shot_pruning():
    schedule = PolynomialSparsity(0.2, 0.8, 10, 10)
    assert [schedule.sparsity_at(step) for step in (9, 10, 11)] == [0.2, 0.8, 0.8]
    assert [schedule.held_sparsity(step) for step in (9, 10, 11)] == [0.0, 0.8, 0.8]
    assert schedule.update_steps() == [10]


def test_numpy_numbers_become_python_numbers():
    schedule = PolynomialSparsity(np.float64(0), np.float64(0.5), np.int32(1), np.int64(2))
    assert [type(value) for value in vars(schedule).values()] == [
        float,
        float,
        int,
        int,
        int,
        float,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"final_sparsity": 1.0}, r"final_sparsity must be a number in \[0, 1\), got 1.0"),
        ({"final_sparsity": math.nan}, "final_sparsity must be a number"),
        ({"initial_sparsity": -0.1}, "initial_sparsity must be a number"),
        ({"initial_sparsity": 0.9}, "initial_sparsity must be <= final_sparsity = 0.8, got 0.9"),
        ({"begin_step": -1}, "begin_step must be an integer >= 0, got -1"),
        ({"begin_step": 1.5}, "begin_step must be an integer >= 0, got 1.5"),
        ({"begin_step": 51}, "begin_step must be <= end_step = 50, got 51"),
        ({"frequency": 0}, "frequency must be an integer >= 1, got 0"),
        ({"frequency": True}, "frequency must be an integer >= 1, got True"),
        ({"power": 0}, r"power must be a number in \(0, inf\), got 0"),
    ],
)
def test_fields_out_of_range_are_refused(change, message):
    fields = {"initial_sparsity": 0.0, "final_sparsity": 0.8, "begin_step": 0, "end_step": 50}
    with pytest.raises(InputError, match=message):
        PolynomialSparsity(**fields | change)
