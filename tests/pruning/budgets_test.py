"""How many weights each layer keeps by its shape."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.budgets import (
    apportioned,
    balanced_sparsities,
    budget_counts,
    erk_counts,
)
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.pruning.structures import Channels

SHAPES = st.dictionaries(
    st.text("ab", min_size=1, max_size=4), st.lists(st.integers(1, 9), min_size=1, max_size=4),
    min_size=1, max_size=5,
)  # fmt: skip


def test_densities_are_in_proportion_to_sides_over_products():
    shapes = {"small": (3, 3, 4, 4), "large": (3, 3, 16, 16)}
    found = erk_counts(shapes, 400)
    ratio = (found["small"] / 144) / (found["large"] / 2304)
    assert ratio == pytest.approx((14 / 144) / (38 / 2304), rel=0.02)
    assert sum(found.values()) == 400
    # A full layer gives what it cannot keep to the others.
    assert erk_counts(shapes, 2000) == {"small": 144, "large": 1856}


@given(SHAPES, st.floats(0, 1), st.floats(0, 1))
def test_counts_are_exact_and_no_layer_grows_when_less_is_kept(shapes, one, other):
    sizes = {key: math.prod(shape) for key, shape in shapes.items()}
    more, fewer = sorted((round(part * sum(sizes.values())) for part in (one, other)), reverse=True)
    large, little = erk_counts(shapes, more), erk_counts(shapes, fewer)
    assert sum(large.values()) == more and sum(little.values()) == fewer
    assert all(little[key] <= large[key] <= sizes[key] for key in shapes)


def test_millions_are_divided_at_once():
    found = apportioned({"a": 1.0, "b": 3.0}, {"a": 10**8, "b": 10**8}, 10**8 + 1)
    assert found["a"] + found["b"] == 10**8 + 1 and abs(found["b"] - 3 * found["a"]) <= 3


@given(st.integers(0, 99), st.lists(st.floats(0.05, 0.95), min_size=2, max_size=5))
def test_masks_by_shape_are_exact_and_nested(seed, sparsities):
    random = np.random.default_rng(seed)
    weights = {"a": random.normal(size=(3, 3, 2, 4)), "b": random.normal(size=(20, 30))}
    masks = None
    for sparsity in sorted(sparsities):
        masks = resolve_criterion("erk").masks(weights, sparsity, masks)
        assert sum(int(mask.sum()) for mask in masks.values()) == round((1 - sparsity) * 672)
        assert masks["a"].mean() >= masks["b"].mean()
        threshold = np.abs(weights["b"][masks["b"]]).min()
        assert (np.abs(weights["b"]) > threshold).sum() <= masks["b"].sum()


def test_scores_and_scopes_are_named_together():
    weights = {"a": np.arange(1.0, 9).reshape(2, 4), "b": np.ones((4, 4))}
    lamp = resolve_criterion("lamp").masks(weights, 0.5)
    plain = resolve_criterion("global").masks(weights, 0.5)
    assert lamp["a"].sum() < plain["a"].sum()
    drawn = [resolve_criterion(f"global(score='random', seed={n})") for n in (1, 1, 2)]
    one, same, other = (criterion.masks(weights, 0.5)["b"] for criterion in drawn)
    assert (one == same).all() and (one != other).any()
    with pytest.raises(InputError, match="batches=3: expected none with score='magnitude'"):
        resolve_criterion("global(batches=3)")
    with pytest.raises(InputError, match="asks for gradients"):
        resolve_criterion("erk(score='taylor')").masks(weights, 0.5)
    with pytest.raises(InputError, match="scope='erk': expected global for Channels"):
        resolve_criterion("erk", structure=Channels())
    with pytest.raises(InputError, match="scope='erk': expected another one"):
        resolve_criterion("erk", structure="2:4")


def test_the_largest_loss_of_a_layer_is_smallest():
    losses = {"tough": {0.5: 0.0, 0.9: 0.1}, "frail": {0.5: 0.2, 0.9: 0.4}}
    sizes = {"tough": 300, "frail": 100}
    found = balanced_sparsities(losses, sizes, 0.6)
    assert (300 * found["tough"] + 100 * found["frail"]) / 400 == pytest.approx(0.6)
    # Both cost the same: a tenth of what the frail one loses at half.
    tough, frail = (found["tough"] - 0.5) / 0.4 * 0.1, found["frail"] / 0.5 * 0.2
    assert tough == pytest.approx(frail)
    whole = balanced_sparsities(losses, sizes, 0.9)
    assert whole == pytest.approx({"tough": 0.9, "frail": 0.9})
    free = balanced_sparsities({"a": {0.9: 0.0}, "b": {0.9: -0.1}}, {"a": 10, "b": 10}, 0.45)
    assert free == pytest.approx({"a": 0.45, "b": 0.45})
    with pytest.raises(InputError, match="sparsity=0.95: expected at most 0.9"):
        balanced_sparsities(losses, sizes, 0.95)


LOSSES = st.dictionaries(
    st.text("ab", min_size=1, max_size=3),
    st.dictionaries(st.sampled_from([0.3, 0.5, 0.8, 0.9]), st.floats(-0.2, 1), min_size=1),
    min_size=1,
    max_size=4,
)


@given(LOSSES, st.floats(0, 0.99), st.integers(1, 500))
def test_sparsities_of_layers_come_to_that_of_all(losses, sparsity, size):
    sizes = {key: size + 7 * number for number, key in enumerate(losses)}
    most = sum(sizes[key] * max(found) for key, found in losses.items()) / sum(sizes.values())
    if sparsity > most:
        return
    found = balanced_sparsities(losses, sizes, sparsity)
    total = sum(sizes[key] * part for key, part in found.items())
    assert total == pytest.approx(sparsity * sum(sizes.values()), abs=1e-6 * size + 1e-9)
    assert all(0 <= found[key] <= max(losses[key]) for key in losses)
    counts = budget_counts(found, sizes, sparsity)
    assert sum(counts.values()) == round((1 - sparsity) * sum(sizes.values()))
    before = budget_counts(found, sizes, sparsity / 2)
    assert all(counts[key] <= before[key] for key in counts)


def test_a_ranking_takes_budgets_from_a_file(tmp_path):
    weights = {"a": np.arange(1.0, 101).reshape(10, 10), "b": np.arange(1.0, 51).reshape(5, 10)}
    file = tmp_path / "budgets.json"
    file.write_text(json.dumps({"budgets": {"a": 0.8, "b": 0.2}}))
    criterion, masks = resolve_criterion(f"budgets(file={str(file)!r})"), None
    for sparsity in (0.3, 0.6):
        masks = criterion.masks(weights, sparsity, masks)
        assert sum(int(mask.sum()) for mask in masks.values()) == round((1 - sparsity) * 150)
    assert (masks["a"].sum(), masks["b"].sum()) == (20, 40)
    with pytest.raises(InputError, match="sparsity=0.7: expected at most 0.6"):
        criterion.masks(weights, 0.7)
    with pytest.raises(InputError, match="budgets=.*'b' is in one of both alone"):
        criterion.masks({"a": weights["a"]}, 0.5)
    for text in ("", "[]", '{"budgets": {"a": 2}}'):
        file.write_text(text)
        with pytest.raises(InputError, match="file=|budgets"):
            resolve_criterion(f"budgets(file={str(file)!r})")
