from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.paper.item import (
    ITEMS,
    SCALES,
    Grid,
    parse_shard,
    scaled_epochs,
    summarize,
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
    ITEMS.get(item).grid(scale, epochs).check(epochs, 45_000)


def test_a_scale_changes_single_values_and_epochs_follow_the_schedule():
    grid = ITEMS.get("fig8").grid("small", 16)
    assert grid.rewind_epochs == (0, 2, 16) and grid.group_sizes == (8,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": ()}, r"seeds=\(\): expected at least one value"),
        ({"seeds": (1, 1)}, r"seeds=\[1, 1\]: expected values that differ"),
        ({"mask_epochs": (0,)}, "mask_epochs=0: expected an integer from 1 to 16"),
        ({"mask_epochs": (17,)}, "mask_epochs=17: expected an integer from 1 to 16"),
        ({"rewind_epochs": (-1,)}, "rewind_epochs=-1: expected an integer from 0"),
        ({"group_sizes": (0,)}, "group_sizes=0: expected an integer of at least 1"),
        ({"examples": (5_000,)}, "examples=5000: expected an integer from 1 to 1000"),
        ({"memorization_epochs": 0}, "memorization_epochs=0: expected an integer"),
        ({"prune_fraction": 1.0}, "prune_fraction=1.0: expected a number > 0 and < 1"),
        ({"learning_rates": (0.0,)}, "learning_rates=0.0: expected a number > 0"),
    ],
)
def test_what_cannot_be_used_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        Grid(**values).check(16, 1000)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match="item='fig7': expected one of fig1"):
        ITEMS.get("fig7")
    with pytest.raises(ValueError, match="scale='smal': .*small"):
        ITEMS.get("fig1").grid("smal", 16)


def test_records_are_grouped_by_their_keys_and_sorted():
    records = [
        {"s": 8, "mode": "b", "accuracy": 0.7, "seed": 0},
        {"s": 2, "mode": "a", "accuracy": 0.5, "seed": 0},
        {"s": 8, "mode": "b", "accuracy": 0.9, "seed": 1},
    ]
    rows = summarize(records, ["s", "mode"], ["accuracy"])
    assert [(row["s"], row["mode"], row["seeds"]) for row in rows] == [(2, "a", 1), (8, "b", 2)]
    assert rows[1]["accuracy_mean"] == pytest.approx(0.8)
    assert (rows[1]["accuracy_min"], rows[1]["accuracy_max"]) == (0.7, 0.9)
    assert rows[0]["accuracy_std"] is None and "seed" not in rows[0]
    assert summarize([], ["s"], ["accuracy"]) == []


@pytest.mark.parametrize(("text", "shard"), [("0/1", (0, 1)), ("3/4", (3, 4)), ("07/10", (7, 10))])
def test_a_shard_is_read(text, shard):
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "1", "4/4", "0/0", "-1/4", "1/4/2", "a/b", "1.0/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="expected i/n with 0 <= i < n"):
        parse_shard(text)


def test_mask_epochs_that_fall_are_refused():
    grid = ITEMS.get("fig1").grid("smoke", 4)
    replace(grid, mask_epochs=(1, 3)).check(4, 100)
    with pytest.raises(InputError, match=r"mask_epochs=\[3, 1\]: expected values that rise"):
        replace(grid, mask_epochs=(3, 1)).check(4, 100)
