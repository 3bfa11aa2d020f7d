"""Names, with and without parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.registry import Registry, parameters_of


def near(threshold: float = 0.1, *, window: int = 5, latest_start_epoch: int = 0):
    checks.number("threshold", threshold, above=0)
    return threshold, window, latest_start_epoch


@pytest.fixture
def registry():
    registry = Registry("probe.detector")
    registry.register("near", near, own=True)
    return registry


def test_a_name_makes_its_entry_with_what_it_takes(registry):
    assert registry.make("near") == (0.1, 5, 0)
    assert registry.make("near", latest_start_epoch=7, unknown=1) == (0.1, 5, 7)
    assert registry.make("near(threshold=0.05, window=3)", latest_start_epoch=7) == (0.05, 3, 7)
    assert registry.make("near()") == (0.1, 5, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nera", "probe.detector='nera': expected one of near. Did you mean 'near'?"),
        ("near(treshold=1)", "among threshold, window. Did you mean 'threshold'?"),
        ("near(0.05)", "parameters by name"),
        ("near(threshold=0.05", "parameters by name"),
        ("near(threshold=open('x'))", "parameters by name"),
        ("near(**{})", "parameters by name"),
        ("near(threshold=1) or 1", "parameters by name"),
        ("near(threshold=1)(window=2)", "parameters by name"),
        ("near(threshold=1).x(window=2)", "parameters by name"),
        ("near(threshold=-1)", "threshold=-1: expected a number > 0"),
        ("near(threshold=1, threshold=2)", "parameters by name"),
        ("near(threshold={[]: 1})", "parameters by name"),
        (3, "expected one of near"),
        (None, "expected one of near"),
    ],
)
def test_what_cannot_be_made_is_refused(registry, text, message):
    with pytest.raises(InputError) as refused:
        registry.make(text, latest_start_epoch=7)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_a_parameter_without_a_default_has_to_be_given(registry):
    registry.register("patient", lambda patience, size=1: (patience, size))
    assert registry.make("patient(patience=3)") == (3, 1)
    for text in ("patient", "patient(size=2)"):
        with pytest.raises(InputError, match="^probe.detector='patient.*argument: 'patience'.$"):
            registry.make(text)


def test_what_the_program_gives_is_no_parameter_of_the_user(registry):
    with pytest.raises(InputError, match="among threshold, window"):
        registry.make("near(latest_start_epoch=1)", latest_start_epoch=7)


@given(st.text(max_size=40))
def test_any_text_is_made_or_refused_in_one_line(text):
    registry = Registry("x")
    registry.register("near", near)
    try:
        registry.make(f"near({text}")
    except InputError as refused:
        assert "\n" not in str(refused)


def test_users_replace_their_own_entries_but_not_the_toolkits(registry):
    registry.register("mine", dict)
    registry.register("mine", list)
    assert registry.get("mine") is list and list(registry) == ["near", "mine"]
    with pytest.raises(InputError, match="name='near': expected another name than near"):
        registry.register("near", dict)
    for name in ("", "a b", "1x", 3, "x("):
        with pytest.raises(InputError, match="expected a name of letters"):
            registry.register(name, dict)
    registry.register("tfds/cifar100", dict)
    assert "tfds/cifar100" in registry and "other" not in registry


def test_parameters_are_those_that_can_be_named():
    assert parameters_of(near) == ["threshold", "window", "latest_start_epoch"]
    assert parameters_of(lambda a, /, b, *c, d=1, **e: None) == ["b", "d"]
