import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.paper.grid import (
    ITEMS,
    SCALES,
    Grid,
    check_grid,
    default_grid,
    replaced,
    scaled_epochs,
)


def test_epochs_are_scaled_in_proportion():
    assert scaled_epochs((0, 5, 20, 100, 200), 200) == (0, 5, 20, 100, 200)
    assert scaled_epochs((0, 20, 60, 100, 140, 200), 16) == (0, 2, 5, 8, 11, 16)
    # Only the initial weights are epoch 0.
    assert scaled_epochs((0, 5), 16) == (0, 1)
    assert scaled_epochs((20, 40), 4) == (1,)


@given(st.lists(st.integers(0, 200)), st.integers(1, 1000))
def test_scaled_epochs_rise_within_the_schedule(epochs, total):
    scaled = scaled_epochs(epochs, total)
    assert list(scaled) == sorted(set(scaled))
    assert all(0 <= epoch <= total for epoch in scaled)
    assert (0 in scaled) == (0 in epochs)


@pytest.mark.parametrize("item", ITEMS)
@pytest.mark.parametrize(("scale", "epochs"), list(zip(SCALES, (200, 16, 4), strict=True)))
def test_every_default_can_be_used(item, scale, epochs):
    check_grid(default_grid(item, scale, epochs), epochs, 45_000)


def test_values_that_are_given_replace_the_defaults():
    grid = replaced(default_grid("fig1", "small", 16), {"seeds": (3, 4), "rewind_epochs": None})
    assert grid.seeds == (3, 4) and grid.rewind_epochs == (0, 2, 16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": ()}, "seeds must hold at least one"),
        ({"seeds": (1, 1)}, r"seeds must differ from each other, got \[1, 1\]"),
        ({"mask_epochs": (0,)}, "mask_epochs must be an integer >= 1"),
        ({"mask_epochs": (17,)}, "mask_epochs must be <= 16, got 17"),
        ({"rewind_epochs": (-1,)}, "rewind_epochs must be an integer >= 0"),
        ({"group_sizes": (0,)}, "group_sizes must be an integer >= 1"),
        ({"examples": (5_000,)}, "examples must be <= 1000, got 5000"),
        ({"memorization_epochs": 0}, "memorization_epochs must be an integer >= 1"),
        ({"prune_fraction": 1.0}, "prune_fraction must be a number in"),
        ({"learning_rates": (0.0,)}, "learning_rates must be a number in"),
    ],
)
def test_what_cannot_be_used_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        check_grid(dataclasses.replace(Grid(), **values), 16, 1000)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match="item='fig7': expected one of fig1"):
        default_grid("fig7", "small", 16)
    with pytest.raises(ValueError, match="scale='smal': .*small"):
        default_grid("fig1", "smal", 16)
