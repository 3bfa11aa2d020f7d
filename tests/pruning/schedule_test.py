"""The schedule: closed form, exact ends, an update at the end step, checked fields."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import (
    SHAPES,
    EarlyTicketSchedule,
    PolynomialSparsity,
    Shape,
    register_schedule,
)


@st.composite
def schedules(draw):
    low, high = sorted(draw(st.lists(st.floats(0, 0.999), min_size=2, max_size=2)))
    begin = draw(st.integers(0, 300))
    end = begin + draw(st.integers(0, 300))
    power = draw(st.sampled_from([1, 2, 3, 0.5]))
    return PolynomialSparsity(low, high, begin, end, draw(st.integers(1, 120)), power)


@st.composite
def shaped(draw):
    names = ["cubic", "linear", "polynomial(power=2)", "one_cycle", "one_cycle(alpha=9, beta=3)"]
    names += ["one_shot"]
    schedule = draw(schedules())
    return replace(schedule, shape=draw(st.sampled_from(names)))


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


def test_shapes_by_name():
    linear = PolynomialSparsity(0.2, 0.8, 0, 4, frequency=1, shape="linear")
    np.testing.assert_allclose(
        [linear.sparsity_at(s) for s in range(5)], [0.2, 0.35, 0.5, 0.65, 0.8]
    )
    cycle = PolynomialSparsity(0.0, 0.9, 0, 140, frequency=1, shape="one_cycle")
    # Half of it at beta / alpha of the ramp; slow at both ends.
    assert math.isclose(cycle.sparsity_at(50), 0.45, rel_tol=2e-4)
    assert cycle.sparsity_at(1) < 0.01 and 0.899 < cycle.sparsity_at(139) <= 0.9
    whole = EarlyTicketSchedule(0.8, shape="one_cycle")
    assert whole.from_first_step and not EarlyTicketSchedule(0.8, shape="linear").from_first_step
    again = EarlyTicketSchedule.from_config(whole.get_config())
    assert again.shape == "one_cycle"
    at_once = EarlyTicketSchedule(0.8, shape="one_shot", begin_step=5)
    assert at_once.end_step == 5 and at_once.sparsity().sparsity_at(5) == 0.8
    assert EarlyTicketSchedule.from_config(at_once.get_config()).ramp_steps == 0
    with pytest.raises(InputError, match="^ramp_steps=3: expected 0 or None with shape='one_shot'"):
        EarlyTicketSchedule(0.8, shape="one_shot", ramp_steps=3)
    assert "shape" not in EarlyTicketSchedule(0.8).get_config()["config"]


@pytest.mark.parametrize(
    "shape",
    ["square", "linear(power=2)", "polynomial(power=0)", "one_cycle(alpha=0)", "one_cycle("],
)
def test_a_shape_that_cannot_be_used_is_refused(shape):
    with pytest.raises(InputError, match="expected"):
        EarlyTicketSchedule(0.8, shape=shape)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (3, "shape=3: expected an et.Shape from what is registered as 'own'"),
        (lambda part: part, r"left\(0\)=0 and left\(1\)=1"),
        (lambda part: 2 - 2 * part, r"left\(0\)=2 and left\(1\)=0"),
        (lambda part: 1 - part / 2, r"left\(0\)=1 and left\(1\)=0.5"),
        (lambda part: math.nan, r"left\(0\)=nan"),
    ],
)
def test_a_registered_shape_has_to_fall_from_1_to_0(made, message, monkeypatch):
    class Own(Shape):
        def left(self, progress):
            return made(progress)

    monkeypatch.setattr(SHAPES, "_entries", dict(SHAPES._entries))
    register_schedule("own", Own if callable(made) else lambda: made)
    with pytest.raises(InputError, match=message):
        EarlyTicketSchedule(0.8, shape="own")


@given(shaped(), st.integers(-50, 700))
def test_every_shape_rises_from_end_to_end(schedule, step):
    value = schedule.sparsity_at(step)
    assert schedule.initial_sparsity <= value <= schedule.final_sparsity
    assert value <= schedule.sparsity_at(step + 1)
    assert schedule.sparsity_at(schedule.end_step) == schedule.final_sparsity


@given(schedules())
def test_the_ends_are_exact_and_the_end_step_always_updates(schedule):
    assert schedule.sparsity_at(schedule.end_step) == schedule.final_sparsity
    assert schedule.last_update_step(schedule.end_step + 5) == schedule.end_step
    if schedule.begin_step < schedule.end_step:
        assert schedule.sparsity_at(schedule.begin_step) == schedule.initial_sparsity


@given(schedules())
def test_updates_are_every_so_many_steps_and_at_the_end(schedule):
    steps = schedule.update_steps()
    assert steps[0] == schedule.begin_step and steps[-1] == schedule.end_step
    gaps = [b - a for a, b in zip(steps, steps[1:], strict=False)]
    assert all(gap == schedule.frequency for gap in gaps[:-1])
    assert all(0 < gap <= schedule.frequency for gap in gaps[-1:])


@given(schedules(), st.integers(-50, 800))
def test_the_last_update_is_the_latest_of_all_until_then(schedule, step):
    earlier = [update for update in schedule.update_steps() if update <= step]
    assert schedule.last_update_step(step) == (earlier[-1] if earlier else None)


@pytest.mark.parametrize(("begin", "end"), [(7, 300), (0, 80)])
def test_ramps_that_tfmot_leaves_unfinished_end_at_the_final_sparsity(begin, end):
    schedule = PolynomialSparsity(0.0, 0.8, begin, end, frequency=100)
    assert schedule.sparsity_at(end) == 0.8
    assert schedule.update_steps()[-1] == end


def test_a_common_begin_and_end_is_one_shot_pruning():
    schedule = PolynomialSparsity(0.2, 0.8, 10, 10)
    assert [schedule.sparsity_at(step) for step in (9, 10, 11)] == [0.2, 0.8, 0.8]
    assert [schedule.last_update_step(step) for step in (9, 10, 11)] == [None, 10, 10]
    assert schedule.update_steps() == [10]


def test_numpy_numbers_become_python_numbers():
    schedule = PolynomialSparsity(np.float64(0), np.float64(0.5), np.int32(1), np.int64(2))
    assert [type(value) for value in vars(schedule).values()][:6] == [
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
        ({"final_sparsity": 1.0}, "final_sparsity=1.0: expected a number >= 0 and < 1."),
        ({"final_sparsity": math.nan}, "final_sparsity=nan: expected a number >= 0 and < 1."),
        ({"final_sparsity": -0.1}, "final_sparsity=-0.1: expected a number >= 0 and < 1."),
        ({"initial_sparsity": -0.1}, "initial_sparsity=-0.1: expected a number >= 0 and <= 0.8."),
        ({"initial_sparsity": 0.9}, "initial_sparsity=0.9: expected a number >= 0 and <= 0.8."),
        ({"begin_step": -1}, "begin_step=-1: expected an integer of at least 0."),
        ({"begin_step": 1.5}, "begin_step=1.5: expected an integer of at least 0."),
        ({"begin_step": 51}, "end_step=50: expected an integer of at least 51."),
        ({"end_step": 1.5}, "end_step=1.5: expected an integer of at least 0."),
        ({"frequency": 0}, "frequency=0: expected an integer of at least 1."),
        ({"frequency": True}, "frequency=True: expected an integer of at least 1."),
        ({"power": 0}, "power=0: expected a number > 0."),
    ],
)
def test_fields_out_of_range_are_refused(change, message):
    fields = {"initial_sparsity": 0.0, "final_sparsity": 0.8, "begin_step": 0, "end_step": 50}
    with pytest.raises(InputError) as refused:
        PolynomialSparsity(**fields | change)
    assert str(refused.value) == message


def test_fields_may_be_at_their_bounds():
    schedule = PolynomialSparsity(0.0, 0.0, 0, 0, 1, 0.25)
    assert schedule.update_steps() == [0] and schedule.sparsity_at(0) == 0.0
    assert PolynomialSparsity(0.8, 0.8, 3, 9).sparsity_at(5) == 0.8
    assert PolynomialSparsity(0.0, 0.8, 3, 9).frequency == 100
    assert PolynomialSparsity(0.0, 0.8, 3, 9).power == 3


def test_a_schedule_waits_until_it_is_told_to_begin():
    schedule = EarlyTicketSchedule(0.8, ramp_steps=4, frequency=2)
    assert schedule.sparsity() is schedule.end_step is schedule.begin_step is None
    assert schedule.due_sparsity(-1, 10**9) is None
    schedule.begin(10)
    assert (schedule.begin_step, schedule.end_step) == (10, 14)
    assert schedule.sparsity() == PolynomialSparsity(0.0, 0.8, 10, 14, 2, 3)
    begun = EarlyTicketSchedule(0.8, begin_step=10, ramp_steps=4, frequency=2)
    assert begun.sparsity() == schedule.sparsity()


def test_an_update_is_due_once():
    schedule = EarlyTicketSchedule(0.8, begin_step=10, ramp_steps=4, frequency=2, power=1)
    due = {step: schedule.due_sparsity(step - 1, step) for step in range(8, 18)}
    due = {step: sparsity for step, sparsity in due.items() if sparsity is not None}
    assert due == {10: 0.0, 12: pytest.approx(0.4), 14: 0.8}
    assert schedule.due_sparsity(9, 13) == due[12] and schedule.due_sparsity(11, 12) == due[12]
    assert schedule.due_sparsity(12, 13) is None and schedule.due_sparsity(14, 99) is None


def test_asking_every_step_makes_the_schedule_once_until_it_changes():
    schedule = EarlyTicketSchedule(0.8, begin_step=10, ramp_steps=4, frequency=2)
    first = schedule.sparsity()
    assert schedule.sparsity() is first
    schedule.begin(20)
    assert schedule.sparsity().begin_step == 20 and schedule.end_step == 24
    schedule.begin(20, frequency=3)
    assert schedule.sparsity().frequency == 3
    schedule.begin(20, ramp_steps=6)
    assert schedule.end_step == 26
    schedule.begin_step = None
    assert schedule.sparsity() is None


def test_begin_fills_in_what_was_left_unset():
    schedule = EarlyTicketSchedule()
    assert (schedule.final_sparsity, schedule.initial_sparsity, schedule.power) == (0.8, 0.0, 3)
    with pytest.raises(InputError) as refused:
        schedule.begin(5)
    assert str(refused.value) == "ramp_steps=None: expected it in begin() or in the schedule."
    schedule.begin(5, ramp_steps=200)
    assert schedule.sparsity() == PolynomialSparsity(0.0, 0.8, 5, 205, frequency=10)
    assert (schedule.ramp_steps, schedule.frequency) == (200, 10)
    schedule = EarlyTicketSchedule(ramp_steps=8, frequency=4)
    schedule.begin(5, ramp_steps=9, frequency=3)
    assert schedule.sparsity() == PolynomialSparsity(0.0, 0.8, 5, 14, frequency=3)
    with pytest.raises(InputError, match="^begin_step=-1: expected an integer of at least 0.$"):
        schedule.begin(-1)
    assert schedule.begin_step == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"begin_step": 5}, "ramp_steps=None: expected it beside begin_step=5, 0 for one-shot"),
        ({"begin_step": -1, "ramp_steps": 5}, "begin_step=-1: expected an integer of at least 0."),
        ({"ramp_steps": -1}, "ramp_steps=-1: expected an integer of at least 0."),
        ({"final_sparsity": 1}, "final_sparsity=1: expected a number >= 0 and < 1."),
        ({"initial_sparsity": 0.9}, "initial_sparsity=0.9: expected a number >= 0 and <= 0.8."),
        ({"frequency": 0}, "frequency=0: expected an integer of at least 1."),
        ({"power": 0}, "power=0: expected a number > 0."),
    ],
)
def test_a_schedule_refuses_what_its_polynomial_would(fields, message):
    with pytest.raises(InputError) as refused:
        EarlyTicketSchedule(**fields)
    assert str(refused.value).startswith(message)


def test_a_schedule_is_what_its_config_says():
    fields = {
        "final_sparsity": 0.7,
        "initial_sparsity": 0.1,
        "begin_step": 3,
        "ramp_steps": 5,
        "frequency": 2,
        "power": 2,
    }
    schedule = EarlyTicketSchedule(**fields)
    config = schedule.get_config()
    assert config == {
        "class_name": "tf_earlyticket>EarlyTicketPolynomialDecay",
        "config": fields,
    }
    for form in (config, fields):
        again = EarlyTicketSchedule.from_config(form)
        assert type(again) is EarlyTicketSchedule and again.get_config() == config
        assert again.sparsity() == PolynomialSparsity(0.1, 0.7, 3, 8, 2, 2)
