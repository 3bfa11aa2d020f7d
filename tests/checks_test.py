"""The checks accept what they say and refuse the rest in one form."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError

SENTENCE = re.compile(r"^x=.*: expected [^\n]+\.( Did you mean '.*'\?)?$")


@given(st.integers(), st.integers(), st.integers(0, 9))
def test_an_integer_lies_within_its_bounds(value, low, span):
    if low <= value <= low + span:
        assert checks.integer("x", value, low, low + span) == value
    else:
        with pytest.raises(InputError, match=SENTENCE):
            checks.integer("x", value, low, low + span)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, np.float32(1), [1]])
def test_what_is_no_integer_is_refused(value):
    with pytest.raises(InputError, match=SENTENCE):
        checks.integer("x", value)


def test_numpy_numbers_become_plain_ones():
    assert type(checks.integer("x", np.int64(3), 1)) is int
    assert type(checks.number("x", np.float32(0.5), above=0)) is float


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "text"),
    [
        ({"low": 0, "below": 1}, [0, 0.5, 0.999], [-1e-9, 1], ">= 0 and < 1"),
        ({"above": 0, "high": 1}, [1e-9, 1], [0, 1.01], "> 0 and <= 1"),
        ({}, [-1e300, 3], [], ""),
    ],
)
def test_a_number_lies_within_its_bounds(bounds, good, bad, text):
    for value in good:
        assert checks.number("x", value, **bounds) == value
    for value in [*bad, math.nan, math.inf, -math.inf, 10**400, True, "0.5", None]:
        with pytest.raises(InputError, match=SENTENCE) as refused:
            checks.number("x", value, **bounds)
        assert text in str(refused.value)


@given(st.one_of(st.text(), st.lists(st.integers()), st.none()))
def test_a_choice_is_one_of_those_accepted(value):
    with pytest.raises(InputError, match=SENTENCE):
        checks.choice("x", value, ("much too long to be drawn", "another"))


def test_a_choice_suggests_the_closest():
    assert checks.choice("x", "global", ("global", "layerwise")) == "global"
    with pytest.raises(InputError, match="one of global, layerwise. Did you mean 'global'"):
        checks.choice("x", "golbal", ("global", "layerwise"))


def test_long_values_are_cut_to_one_line():
    message = str(checks.refuse("x", "a\nb" * 100, "less"))
    assert len(message) < 120 and "\n" not in message and SENTENCE.match(message)


def test_a_function_can_be_called():
    assert checks.function("x", len) is len
    with pytest.raises(InputError, match="x=3: expected a function"):
        checks.function("x", 3)


def test_a_prefix_says_where():
    message = r"^config.train: x=0: expected an integer"
    with pytest.raises(InputError, match=message), checks.prefixed("config.train: "):
        checks.integer("x", 0, 1)
