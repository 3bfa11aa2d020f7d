"""Structures: units, short groups, and masks in which units live or die together."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.scores import magnitude
from tf_earlyticket.pruning.select import Criterion, global_masks, resolve_criterion
from tf_earlyticket.pruning.structures import (
    Elements,
    InMatrices,
    InputGroups,
    NofM,
    OutputGroups,
    Structure,
    TensorStructure,
)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
VALUES = st.sampled_from([0.0, 0.5, -0.5, 1.0, -2.0]) | st.floats(-4, 4, width=32)
WEIGHTS = st.lists(hnp.arrays(np.float32, SHAPES, elements=VALUES), min_size=1, max_size=3)
SPARSITIES = st.floats(0, 1, exclude_max=True)
KERNEL = np.array([[1.0, 8.0], [3.0, 0.0], [5.0, 7.0]], np.float32)


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


def test_elements_are_units_of_one_weight_in_flat_order():
    scores = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]).T, "b": np.array(5.0)}
    units, sizes = Elements().units(scores)
    assert units.tolist() == [1, 3, 2, 4, 5] and sizes == 1
    masks = {"a": np.array([[True, False], [True, True]]), "b": np.array(False)}
    assert Elements().whole(masks).tolist() == [True, False, True, True, False]
    again = Elements().masks(np.array([True, False, True, True, False]), scores)
    assert again["a"].tolist() == masks["a"].tolist() and again["b"].shape == ()
    assert Elements.within_tensors and InputGroups.within_tensors
    assert not Structure.within_tensors


def test_scores_are_means_over_real_members_along_the_input_channels():
    groups = InputGroups(2)
    units, sizes = groups.units({"k": KERNEL, "v": KERNEL[:, 0]})
    assert units.dtype == np.float64
    assert units.tolist() == [2.0, 4.0, 5.0, 7.0, 2.0, 5.0]
    assert sizes.tolist() == [2, 2, 1, 1, 2, 1]


def test_units_that_are_all_alike_have_one_size():
    assert InputGroups(3).units({"k": KERNEL})[1] == 3
    assert InputGroups(1).units({"k": KERNEL, "v": KERNEL[0]})[1] == 1
    assert isinstance(InputGroups(3).units({"k": KERNEL})[1], int)
    assert InputGroups(2).units({"k": np.zeros((0, 3))})[1].tolist() == []


def test_only_groups_with_every_member_are_whole():
    mask = np.array([[1, 1], [1, 0], [0, 1]], bool)
    masks = {"k": mask, "v": np.array([True, True, True, False])}
    assert InputGroups(2).whole(masks).tolist() == [True, False, False, True, True, False]


def test_masks_give_each_weight_what_its_unit_has():
    kept = np.array([True, False, False, True, False, True])
    masks = InputGroups(2).masks(kept, {"k": KERNEL, "v": np.zeros(3)})
    assert masks["k"].tolist() == [[True, False], [True, False], [False, True]]
    assert masks["v"].tolist() == [False, False, True]


def test_group_numbers_run_in_flat_order():
    assert InputGroups(2).unit_numbers((3, 2)).tolist() == [[0, 1], [0, 1], [2, 3]]
    assert InputGroups(2).unit_numbers((5,)).tolist() == [0, 0, 1, 1, 2]
    assert InputGroups(2).unit_numbers((2, 2, 2)).tolist() == [[[0, 1]] * 2, [[2, 3]] * 2]
    assert InputGroups(2).unit_numbers(()).tolist() == 0
    assert InputGroups().size == 1


def test_groups_of_a_convolution_lie_along_its_second_last_axis():
    kernel = np.zeros((3, 3, 4, 2), np.float32)
    kernel[1, 2, 2:4, 1] = 1
    mask = global_masks({"k": kernel}, 1 - 2 / 72, group_size=2)["k"]
    np.testing.assert_array_equal(mask, kernel == 1)


def test_a_group_that_would_exceed_the_count_ends_the_ranking():
    # Groups of 2, 2 and 1: with 4 wanted, [9] and [5, 5] leave no room for [3, 3].
    (mask,) = global_masks([np.array([5.0, 5.0, 3.0, 3.0, 9.0])], 0.2, group_size=2)
    np.testing.assert_array_equal(mask, [True, True, False, False, True])


def test_a_group_longer_than_the_axis_is_the_whole_axis():
    (mask,) = global_masks([np.array([[1.0, 5.0], [2.0, 0.0]])], 0.5, group_size=8)
    np.testing.assert_array_equal(mask, [[False, True], [False, True]])


@given(WEIGHTS, SPARSITIES, st.integers(2, 4))
def test_masks_equal_the_definition(weights, sparsity, group_size):
    criterion = resolve_criterion("global(empty_layers=True)", group_size)
    masks = criterion.masks(weights, sparsity)
    total = sum(weight.size for weight in weights)
    expected = masks_by_loop(weights, round((1 - sparsity) * total), group_size)
    for mask, wanted in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)


@given(WEIGHTS, SPARSITIES, SPARSITIES, st.integers(2, 4))
def test_masks_shrink_stay_whole_and_fall_short_by_less_than_a_group(weights, a, b, group_size):
    low, high = sorted([a, b])
    criterion = resolve_criterion("global(empty_layers=True)", group_size)
    previous = criterion.masks(weights, low)
    later = [weight[..., ::-1] if weight.ndim else weight for weight in weights]
    masks = criterion.masks(later, high, previous)
    for mask, earlier in zip(masks, previous, strict=True):
        assert not (mask & ~earlier).any()
    for number, members in groups_by_loop(weights, group_size):
        assert len({bool(np.atleast_1d(masks[number])[index]) for index in members}) == 1
    wanted = round((1 - high) * sum(weight.size for weight in weights))
    kept = sum(np.count_nonzero(mask) for mask in masks)
    assert wanted - group_size < kept <= wanted


def test_groups_broken_by_earlier_masks_are_refused_when_too_few_are_whole():
    broken = [np.arange(8) % 2 == 0]
    with pytest.raises(InputError, match="4 weights would be kept, and whole units of 0 are left"):
        global_masks([np.ones(8)], 0.5, group_size=2, previous=broken)


class Numbered(TensorStructure):
    def __init__(self, numbers):
        self.numbers = numbers

    def unit_numbers(self, shape):
        return self.numbers


@pytest.mark.parametrize(
    "numbers", [[0, 1], [[0, 1, 2]], [0.0, 1.0, 2.0], [-1, 0, 1], [0, 1, 3], None]
)
def test_unit_numbers_that_do_not_fit_are_refused(numbers):
    expected = "Numbered.unit_numbers((3,))="
    with pytest.raises(InputError, match=re.escape(expected)) as refused:
        Numbered(numbers).units({"a": np.ones(3)})
    sentence = "expected integers of shape (3,), from 0 on, each of which occurs."
    assert str(refused.value).endswith(sentence)


def test_units_may_be_numbered_in_any_way():
    structure = Numbered(np.array([1, 0, 1], np.uint8))
    units, sizes = structure.units({"a": np.array([2.0, 3.0, 4.0])})
    assert units.tolist() == [3.0, 3.0] and sizes.tolist() == [1, 2]


@pytest.mark.parametrize("size", [0, 1.5, True])
def test_group_sizes_out_of_range_are_refused(size):
    with pytest.raises(InputError, match=f"^size={size}: expected an integer of at least 1.$"):
        InputGroups(size)


def test_a_pattern_keeps_the_best_of_each_group_in_any_scope():
    column = np.array([[4.0], [1.0], [-3.0], [2.0], [9.0], [8.0], [7.0], [6.0]])
    kept = [[1], [0], [1], [0], [1], [1], [0], [0]]
    for ranking in ("global", "layerwise"):
        mask = resolve_criterion(ranking, structure="2:4").masks({"k": column}, 0.5)["k"]
        assert mask.astype(int).tolist() == kept
    # The same, along the second last axis of a convolution.
    kernel = np.tile(column.T[..., None], (1, 1, 1, 3))
    mask = resolve_criterion(structure=NofM(2, 4)).masks([kernel], 0.5)[0]
    assert mask[0, 0].astype(int).tolist() == [row * 3 for row in kept]


def test_weights_that_a_pattern_prunes_go_by_the_ranking_until_all_are_gone():
    weights = {"a": np.array([[4.0], [1.0], [2.0]]), "b": np.array([[30.0], [10.0], [20.0]])}
    criterion = resolve_criterion(structure="1:3")
    masks = criterion.masks(weights, 1 / 6)
    assert masks["a"].ravel().tolist() == [True, False, True] and masks["b"].all()
    # 2.0 of "a" is the best nowhere, 10.0 neither; 4.0 is less than both and stays.
    masks = criterion.masks(weights, 0.5, masks)
    assert masks["a"].ravel().tolist() == [True, False, False]
    assert masks["b"].ravel().tolist() == [True, False, True]
    masks = criterion.masks(weights, 0.667, masks)
    assert masks["b"].ravel().tolist() == [True, False, False]


def test_a_short_group_of_a_pattern_keeps_as_many_as_others_may():
    columns = np.array([[1.0], [2.0], [3.0], [4.0], [1.0], [3.0], [2.0]])
    (mask,) = resolve_criterion(structure="2:4").masks([columns], 0.5)
    assert mask.ravel().tolist() == [False, False, True, True, False, True, True]
    short = [np.ones((1, 2)), np.ones(3), np.float64(0), np.ones((2, 2))]
    masks = resolve_criterion(structure="2:4").masks(short, 0.5)
    assert [mask.tolist() for mask in masks] == [
        [[True, True]],
        [True, True, False],
        True,
        [[True, True]] * 2,
    ]


@given(WEIGHTS, st.lists(SPARSITIES, max_size=3), st.integers(1, 4), st.integers(1, 4))
def test_a_pattern_is_exact_in_every_group_after_any_ramp(weights, sparsities, n, more):
    structure = NofM(n, n + more)
    criterion, masks = resolve_criterion(structure=structure), None
    total = sum(weight.size for weight in weights)
    for step in sorted(sparsity * structure.fixed_sparsity for sparsity in sparsities):
        masks = criterion.masks(weights, step, masks)
        least = sum(min(n, len(members)) for _, members in groups_by_loop(weights, n + more))
        wanted = max(round((1 - step) * total), least)
        if step < structure.fixed_sparsity - 1e-3:
            assert sum(np.count_nonzero(mask) for mask in masks) == wanted
    final = criterion.masks(weights, structure.fixed_sparsity, masks)
    for mask, earlier in zip(final, masks or final, strict=True):
        assert not (mask & ~earlier).any()
    for number, members in groups_by_loop(weights, n + more):
        values = [float(np.atleast_1d(weights[number])[index]) for index in members]
        order = sorted(range(len(members)), key=lambda place: (-abs(values[place]), place))
        found = [bool(np.atleast_1d(final[number])[index]) for index in members]
        assert sum(found) == min(n, len(members))
        assert [place in order[:n] for place in range(len(members))] == found


def test_a_pattern_refuses_other_sparsities():
    criterion = resolve_criterion(structure="2:4")
    expected = "sparsity=0.6: expected at most 0.5, the sparsity of structure='2:4'."
    with pytest.raises(InputError, match=f"^{expected}$"):
        criterion.masks([np.ones(8)], 0.6)
    expected = "final_sparsity=0.4: expected 0.5, the sparsity of structure='2:4'."
    with pytest.raises(InputError, match=f"^{expected}$"):
        criterion.check_sparsity("final_sparsity", 0.4, final=True)
    criterion.check_sparsity("final_sparsity", 0.5, final=True)
    resolve_criterion(structure="1:3").check_sparsity("final_sparsity", 0.667, final=True)
    resolve_criterion().check_sparsity("final_sparsity", 0.4, final=True)


@pytest.mark.parametrize("text", ["0:4", "4:4", "5:4"])
def test_patterns_that_keep_all_or_nothing_are_refused(text):
    with pytest.raises(InputError, match=f"^structure='{text}': expected n:m with 0 < n < m"):
        resolve_criterion(structure=text)
    for wrong in ("1x0", "2x4", "2:4:8", ":4"):
        with pytest.raises(InputError, match=f"^structure='{wrong}': expected "):
            resolve_criterion(structure=wrong)


def test_blocks_lie_along_the_output_channels():
    kernel = np.array([[1.0, 3.0, 4.0, 4.0, 9.0], [5.0, 5.0, 0.0, 0.0, 1.0]])
    units, sizes = OutputGroups(2).units({"k": kernel, "v": kernel[0]})
    assert units.tolist() == [2, 4, 9, 5, 0, 1, 2, 4, 9] and sizes.tolist() == [2, 2, 1] * 3
    assert OutputGroups(2).unit_numbers(()).tolist() == 0
    for ranking in ("global", "layerwise"):
        mask = resolve_criterion(ranking, structure="1x2").masks([kernel], 0.5)[0]
        assert mask.astype(int).tolist() == [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]
    mask = resolve_criterion(structure="1x4").masks([kernel[:, :4]], 0.5)[0]
    assert mask.astype(int).tolist() == [[1] * 4, [0] * 4]
    assert resolve_criterion(structure="1x4").structure == OutputGroups(4)
    assert resolve_criterion(structure=OutputGroups(4)).names["structure"] == (
        "output_groups(size=4)"
    )


@pytest.mark.parametrize("inner", [InputGroups(2), OutputGroups(4), NofM(2, 4)])
def test_kernels_of_attention_are_masked_as_matrices(inner):
    random = np.random.default_rng(0)
    query, other = random.normal(size=(8, 2, 4)), random.normal(size=(3, 3, 4, 4))
    # Of a transposed convolution: outputs before inputs.
    up = random.normal(size=(2, 6, 4))
    structure = InMatrices(inner, {"query": (8, 8)}, {"up"})
    criterion = Criterion(magnitude, structure)
    of_matrices = Criterion(magnitude, inner)
    previous = None
    for sparsity in (0.25, 0.5):
        weights = {"query": query, "other": other, "up": up}
        found = criterion.masks(weights, sparsity, previous)
        weights |= {"query": query.reshape(8, 8), "up": up.swapaxes(1, 2)}
        expected = of_matrices.masks(weights, sparsity)
        np.testing.assert_array_equal(found["query"].reshape(8, 8), expected["query"])
        np.testing.assert_array_equal(found["other"], expected["other"])
        np.testing.assert_array_equal(found["up"].swapaxes(1, 2), expected["up"])
        previous = found
    assert str(structure) == str(inner)
