"""Masks: exact counts, deterministic ties, monotone updates, checked collections."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning import masks as m
from tf_earlyticket.pruning import rankings
from tf_earlyticket.pruning.schedule import PolynomialSparsity

# Few values, so that ties, both zeros and denormals are the rule.
VALUES = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 6e-8, 0.5, -0.5, 0.25, 1.0, -3.0])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
SPARSITIES = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 0.5, 0.8, 0.999])
DTYPES = st.sampled_from([np.float16, np.float32, np.float64, ml_dtypes.bfloat16])


@st.composite
def weight_lists(draw, dtype=None):
    shapes = draw(st.lists(SHAPES, min_size=1, max_size=4))
    chosen = [dtype or draw(DTYPES) for _ in shapes]
    floats = VALUES | st.floats(-4, 4, width=32)
    return [
        draw(hnp.arrays(np.float64, shape, elements=floats)).astype(kind)
        for shape, kind in zip(shapes, chosen, strict=True)
    ]


def flat(arrays):
    return np.concatenate([np.asarray(array).ravel() for array in arrays])


def by_stable_sort(weights, kept, previous=None):
    """The definition: a stable sort by falling magnitude, pruned weights last."""
    magnitudes = np.abs(flat([weight.astype(np.float64) for weight in weights]))
    if previous is not None:
        magnitudes[~flat(previous)] = -1
    mask = np.zeros(magnitudes.size, dtype=bool)
    mask[np.argsort(-magnitudes, kind="stable")[:kept]] = True
    return mask


def test_global_masks_rank_all_tensors_together():
    weights = {"a": np.array([[0.1, -0.9], [0.2, 0.0]]), "b": np.array([-0.5, 0.3])}
    masks = m.global_masks(weights, 0.5)
    np.testing.assert_array_equal(masks["a"], [[False, True], [False, False]])
    np.testing.assert_array_equal(masks["b"], [True, True])
    assert masks["a"].dtype == bool


def test_layerwise_masks_rank_each_tensor_alone():
    weights = [np.array([0.1, -0.9, 0.2, 0.0]), np.array([-5.0, 3.0])]
    masks = m.layerwise_masks(weights, 0.5)
    np.testing.assert_array_equal(masks[0], [False, True, True, False])
    np.testing.assert_array_equal(masks[1], [True, False])


def test_ties_keep_the_earlier_tensor_and_the_earlier_flat_position():
    weights = [np.full((2, 2), -1.0, np.float32), np.full(3, 1.0, np.float32)]
    masks = m.global_masks(weights, 2 / 7)
    np.testing.assert_array_equal(masks[0], np.ones((2, 2), bool))
    np.testing.assert_array_equal(masks[1], [True, False, False])


def test_result_is_of_the_same_kind_and_order_as_the_weights():
    assert list(m.global_masks({"z": np.ones(1), "a": np.ones(1)}, 0.5)) == ["z", "a"]
    assert isinstance(m.global_masks((np.ones(2),), 0.5), list)


@given(weight_lists(), SPARSITIES)
def test_global_masks_equal_a_stable_sort(weights, sparsity):
    masks = m.global_masks(weights, sparsity)
    kept = round((1 - sparsity) * sum(weight.size for weight in weights))
    np.testing.assert_array_equal(flat(masks), by_stable_sort(weights, kept))
    assert [mask.shape for mask in masks] == [weight.shape for weight in weights]
    assert np.count_nonzero(flat(masks)) == kept


@given(weight_lists(np.float32), SPARSITIES)
def test_no_pruned_weight_is_larger_than_a_kept_one(weights, sparsity):
    mask = flat(m.global_masks(weights, sparsity))
    magnitudes = np.abs(flat(weights))
    if mask.any() and not mask.all():
        assert magnitudes[mask].min() >= magnitudes[~mask].max()


@given(weight_lists(), SPARSITIES)
def test_layerwise_masks_keep_the_exact_count_of_each_tensor(weights, sparsity):
    for weight, mask in zip(weights, m.layerwise_masks(weights, sparsity), strict=True):
        kept = round((1 - sparsity) * weight.size)
        np.testing.assert_array_equal(mask.ravel(), by_stable_sort([weight], kept))


@given(weight_lists(), SPARSITIES, SPARSITIES, st.randoms(use_true_random=False))
def test_pruned_weights_never_return(weights, first, second, random):
    first, second = sorted([first, second])
    previous = m.global_masks(weights, first)
    later = list(weights)
    random.shuffle(later)
    later = [np.resize(a, w.shape).astype(w.dtype) for a, w in zip(later, weights, strict=True)]
    masks = m.global_masks(later, second, previous=previous)
    kept = round((1 - second) * flat(previous).size)
    np.testing.assert_array_equal(flat(masks), by_stable_sort(later, kept, previous))
    assert not (flat(masks) & ~flat(previous)).any()


def test_a_kept_zero_outranks_a_large_pruned_weight():
    masks = m.global_masks([np.array([9.0, 0.0])], 0.5, previous=[np.array([False, True])])
    np.testing.assert_array_equal(masks[0], [False, True])


@pytest.mark.parametrize("ranking", ["global", "layerwise"])
@pytest.mark.parametrize("group_size", [1, 3])
def test_masks_shrink_along_a_schedule_and_end_at_the_exact_count(ranking, group_size):
    rng = np.random.default_rng(0)
    schedule = PolynomialSparsity(0.1, 0.8, 5, 47, frequency=10)
    masks = None
    for step in schedule.update_steps():
        weights = {"a": rng.normal(size=(3, 3, 8, 5)), "b": rng.normal(size=(11, 4))}
        sparsity = schedule.sparsity_at(step)
        new = rankings.compute_masks(
            weights, sparsity, ranking=ranking, group_size=group_size, previous=masks
        )
        if masks is not None:
            assert all(not (new[name] & ~masks[name]).any() for name in masks)
        masks = new
    sizes = [404] if ranking == "global" else [360, 44]
    wanted = sum(round((1 - 0.8) * size) for size in sizes)
    assert wanted - (group_size - 1) * len(sizes) <= np.count_nonzero(flat(masks.values()))
    assert np.count_nonzero(flat(masks.values())) <= wanted


@pytest.mark.parametrize("group_size", [1, 4])
def test_the_same_sparsity_again_keeps_the_masks(group_size):
    weights = [np.random.default_rng(1).normal(size=(6, 5))]
    masks = m.global_masks(weights, 0.55, group_size=group_size)
    again = m.global_masks([-weights[0]], 0.55, group_size=group_size, previous=masks)
    np.testing.assert_array_equal(masks[0], again[0])


def test_non_native_byte_order_and_strided_arrays_are_ranked_by_value():
    weights = np.arange(12, dtype=">f4").reshape(3, 4)
    np.testing.assert_array_equal(
        m.global_masks([weights.T], 0.5)[0], np.arange(12).reshape(3, 4).T >= 6
    )


@settings(max_examples=20)
@given(st.integers(0, 40_000_000), SPARSITIES)
def test_kept_count_is_python_rounding(total, sparsity):
    assert m.kept_count(total, sparsity) == round((1 - sparsity) * total)


def test_kept_count_of_resnet50_is_exact():
    assert m.kept_count(23_454_912, 0.8) == 4_690_982


@pytest.mark.parametrize("sparsity", [1, 1.0, -0.1, 80, float("nan"), True, "0.8", None])
def test_sparsity_outside_its_interval_is_refused(sparsity):
    with pytest.raises(InputError, match=r"sparsity must be a number in \[0, 1\), got"):
        m.global_masks([np.ones(3)], sparsity)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_weights_that_are_not_finite_are_refused_by_name(value, dtype):
    with pytest.raises(InputError, match=r"weights\['conv/kernel'\] must be finite"):
        m.global_masks({"ok": np.ones(2), "conv/kernel": np.array([1, value], dtype)}, 0.5)
    with pytest.raises(InputError, match=r"weights\[1\] must be finite"):
        m.layerwise_masks([np.ones(2), np.array([1, value], dtype)], 0.5, group_size=2)


def test_unusable_collections_are_refused():
    for weights in ({}, [], np.ones(3), "abc", 3, (w for w in [np.ones(2)])):
        with pytest.raises(InputError, match="weights must"):
            m.global_masks(weights, 0.5)
    with pytest.raises(InputError, match=r"weights\[0\] must be one of float16.*got int64"):
        m.global_masks([np.ones(3, np.int64)], 0.5)


def test_bad_options_are_refused():
    with pytest.raises(InputError, match="group_size must be an integer >= 1, got 0"):
        m.global_masks([np.ones(3)], 0.5, group_size=0)
    with pytest.raises(InputError, match="ranking='local': expected one of 'global', 'layerwise'"):
        rankings.compute_masks([np.ones(3)], 0.5, ranking="local")


@pytest.mark.parametrize("group_size", [1, 2])
def test_a_sparsity_below_the_present_one_is_refused(group_size):
    weights = {"a": np.arange(8.0)}
    previous = m.global_masks(weights, 0.75, group_size=group_size)
    with pytest.raises(InputError, match="sparsity must not be below the present one .* got 0.25"):
        m.global_masks(weights, 0.25, group_size=group_size, previous=previous)
    with pytest.raises(InputError, match=r"below the present one of weights\['a'\]"):
        m.layerwise_masks(weights, 0.25, group_size=group_size, previous=previous)


def test_one_weight_more_than_is_left_is_refused():
    previous = [np.arange(8) >= 6]
    assert np.count_nonzero(m.global_masks([np.ones(8)], 6 / 8, previous=previous)[0]) == 2
    with pytest.raises(InputError, match="3 weights to keep, 2 left in previous"):
        m.global_masks([np.ones(8)], 5 / 8, previous=previous)


def test_mask_sparsity_counts_over_all_tensors():
    masks = {"a": np.array([True, False]), "b": np.array([[0, 0], [0, 1]])}
    assert m.mask_sparsity(masks) == 4 / 6
    assert m.layer_sparsity(masks) == {"a": 0.5, "b": 0.75}
    assert m.layer_sparsity([np.zeros(0, bool), np.ones(2)]) == [0.0, 0.0]
    assert m.mask_sparsity([np.zeros(0, bool)]) == 0.0


def test_mask_distance_is_the_share_of_positions_that_differ():
    a = {"x": np.array([1, 1, 0, 0]), "y": np.array([True])}
    b = {"y": np.array([False]), "x": np.array([1, 0, 1, 0])}
    assert m.mask_distance(a, b) == 3 / 5
    assert m.mask_distance(a, a) == 0.0
    assert m.mask_distance([np.zeros(0)], [np.zeros(0)]) == 0.0


def test_check_masks_returns_bool_masks_in_the_order_of_the_weights():
    weights = {"a": np.ones((2, 1)), "b": np.ones(2)}
    masks = m.check_masks({"b": [1, 0], "a": np.array([[0.0], [1.0]])}, weights)
    assert list(masks) == ["a", "b"]
    assert all(mask.dtype == bool for mask in masks.values())
    np.testing.assert_array_equal(masks["b"], [True, False])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"a": np.ones(2)}, "masks must have an entry 'kernel'"),
        ({"a": np.ones(2), "kernel": np.ones(1), "kernels": np.ones(1)}, "Did you mean 'kernel'"),
        ({"a": np.ones(3), "kernel": np.ones(1)}, r"masks\['a'\] must have the shape \(2,\)"),
        ({"a": np.array([0, 2]), "kernel": np.ones(1)}, r"masks\['a'\] must hold only 0 and 1"),
        ({"a": np.array([0, np.nan]), "kernel": np.ones(1)}, "must hold only 0 and 1"),
        ([np.ones(2), np.ones(1)], "masks must be of the same kind as weights, a dict"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(InputError, match=message):
        m.check_masks(masks, {"a": np.ones(2), "kernel": np.ones(1)})


def test_mask_distance_names_the_argument_that_does_not_fit():
    with pytest.raises(InputError, match=r"b\[0\] must have the shape \(2,\) it has in a"):
        m.mask_distance([np.ones(2)], [np.ones(3)])
    with pytest.raises(InputError, match="b has an entry 1 that a lacks"):
        m.mask_distance([np.ones(2)], [np.ones(2), np.ones(2)])
