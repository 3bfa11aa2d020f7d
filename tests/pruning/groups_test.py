"""Groups: scores, short groups, and masks in which groups live or die together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning import groups as g
from tf_earlyticket.pruning.masks import global_masks

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
VALUES = st.sampled_from([0.0, 0.5, -0.5, 1.0, -2.0]) | st.floats(-4, 4, width=32)
WEIGHTS = st.lists(hnp.arrays(np.float32, SHAPES, elements=VALUES), min_size=1, max_size=3)
SPARSITIES = st.floats(0, 1, exclude_max=True)


def groups_by_loop(weights, group_size):
    """The definition: (tensor index, index tuples of the members) in tensor and flat order."""
    for number, weight in enumerate(weights):
        shape = np.atleast_1d(weight).shape
        axis = len(shape) - 2 if len(shape) > 1 else 0
        heads = list(shape)
        heads[axis] = -(-shape[axis] // group_size)
        for head in np.ndindex(*heads):
            first = head[axis] * group_size
            channels = range(first, min(first + group_size, shape[axis]))
            yield number, [(*head[:axis], c, *head[axis + 1 :]) for c in channels]


def masks_by_loop(weights, kept, group_size):
    ranked = []
    for number, members in groups_by_loop(weights, group_size):
        values = [abs(float(np.atleast_1d(weights[number])[index])) for index in members]
        ranked.append((sum(values) / len(values), number, members))
    ranked.sort(key=lambda entry: -entry[0])
    masks = [np.zeros(np.atleast_1d(weight).shape, bool) for weight in weights]
    for _, number, members in ranked:
        if sum(mask.sum() for mask in masks) + len(members) > kept:
            break
        for index in members:
            masks[number][index] = True
    return [mask.reshape(w.shape) for mask, w in zip(masks, weights, strict=True)]


def test_scores_are_means_over_real_members_along_the_input_channels():
    kernel = np.array([[1.0, -8.0], [-3.0, 0.0], [5.0, 7.0]], np.float32)
    np.testing.assert_array_equal(g.group_scores(kernel, 2), [[2.0, 4.0], [5.0, 7.0]])
    np.testing.assert_array_equal(g.group_scores(kernel[:, 0], 2), [2.0, 5.0])
    np.testing.assert_array_equal(g.group_sizes(kernel.shape, 2), [[2, 2], [1, 1]])


def test_groups_of_a_convolution_lie_along_its_second_last_axis():
    kernel = np.zeros((3, 3, 4, 2), np.float32)
    kernel[1, 2, 2:4, 1] = 1
    mask = global_masks({"k": kernel}, 1 - 2 / 72, group_size=2)["k"]
    np.testing.assert_array_equal(mask, kernel == 1)


def test_expanding_repeats_each_group_and_cuts_the_last():
    mask = g.expand_groups(np.array([[True, False], [False, True]]), (3, 2), 2)
    np.testing.assert_array_equal(mask, [[True, False], [True, False], [False, True]])


def test_a_group_that_would_exceed_the_count_ends_the_ranking():
    # Groups of 2, 2 and 1: with 4 wanted, [9] and [5, 5] leave no room for [3, 3].
    (mask,) = global_masks([np.array([5.0, 5.0, 3.0, 3.0, 9.0])], 0.2, group_size=2)
    np.testing.assert_array_equal(mask, [True, True, False, False, True])


def test_a_group_longer_than_the_axis_is_the_whole_axis():
    (mask,) = global_masks([np.array([[1.0, 5.0], [2.0, 0.0]])], 0.5, group_size=8)
    np.testing.assert_array_equal(mask, [[False, True], [False, True]])


@given(WEIGHTS, SPARSITIES, st.integers(2, 4))
def test_masks_equal_the_definition(weights, sparsity, group_size):
    masks = global_masks(weights, sparsity, group_size=group_size)
    total = sum(weight.size for weight in weights)
    expected = masks_by_loop(weights, round((1 - sparsity) * total), group_size)
    for mask, wanted in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)


@given(WEIGHTS, SPARSITIES, SPARSITIES, st.integers(2, 4))
def test_masks_shrink_stay_whole_and_fall_short_by_less_than_a_group(weights, a, b, group_size):
    low, high = sorted([a, b])
    previous = global_masks(weights, low, group_size=group_size)
    later = [weight[..., ::-1] if weight.ndim else weight for weight in weights]
    masks = global_masks(later, high, group_size=group_size, previous=previous)
    for mask, earlier in zip(masks, previous, strict=True):
        assert not (mask & ~earlier).any()
    for number, members in groups_by_loop(weights, group_size):
        assert len({bool(np.atleast_1d(masks[number])[index]) for index in members}) == 1
    wanted = round((1 - high) * sum(weight.size for weight in weights))
    kept = sum(np.count_nonzero(mask) for mask in masks)
    assert wanted - group_size < kept <= wanted


def test_groups_broken_by_earlier_masks_are_refused_when_too_few_are_whole():
    with pytest.raises(InputError, match="previous must keep whole groups of 2 for 4 weights"):
        global_masks([np.ones(8)], 0.5, group_size=2, previous=[np.arange(8) % 2 == 0])
