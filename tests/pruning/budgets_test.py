"""How many weights each layer keeps by its shape."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.budgets import apportioned, erk_counts
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
