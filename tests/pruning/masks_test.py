"""Collections of masks: checked, counted, compared."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning import masks as m

SPARSITIES = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.0, 0.5, 0.8, 0.999])


@settings(max_examples=20)
@given(st.integers(0, 40_000_000), SPARSITIES)
def test_kept_count_is_python_rounding(total, sparsity):
    assert m.kept_count(total, sparsity) == round((1 - sparsity) * total)


@settings(max_examples=50)
@given(st.data(), st.integers(1, 40_000_000))
def test_the_sparsity_of_a_mask_asks_for_as_many_again(data, total):
    kept = data.draw(st.integers(1, total))
    assert m.kept_count(total, 1 - kept / total) == kept


def test_kept_count_of_resnet50_is_exact():
    assert m.kept_count(23_454_912, 0.8) == 4_690_982


@pytest.mark.parametrize(
    ("total", "sparsity", "message"),
    [
        (3, 1.0, "sparsity=1.0: expected a number >= 0 and < 1."),
        (3, -0.1, "sparsity=-0.1: expected a number >= 0 and < 1."),
        (-1, 0.5, "total=-1: expected an integer of at least 0."),
        (1.5, 0.5, "total=1.5: expected an integer of at least 0."),
    ],
)
def test_counts_out_of_range_are_refused(total, sparsity, message):
    with pytest.raises(InputError) as refused:
        m.kept_count(total, sparsity)
    assert str(refused.value) == message
    assert m.kept_count(0, 0.5) == 0 and m.kept_count(3, 0) == 3


def test_collections_are_unpacked_and_packed_again():
    assert list(m.unpack("x", {"b": [1.0], "a": [2.0]})) == ["b", "a"]
    assert m.unpack("x", ([1.0], [2.0]))[1].tolist() == [2.0]
    assert m.repack({"b": 0, "a": 0}, {"b": 1, "a": 2}) == {"b": 1, "a": 2}
    assert m.repack((0, 0), {0: 1, 1: 2}) == [1, 2]
    for collection in ({}, []):
        with pytest.raises(InputError, match="^x=.*: expected at least one array.$"):
            m.unpack("x", collection)
    for collection in (np.ones(3), "abc", b"abc", None, iter([np.ones(2)])):
        with pytest.raises(InputError, match="^x=.*: expected a mapping or a sequence of arrays.$"):
            m.unpack("x", collection)


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
        ({"a": np.ones(2)}, "masks=['a']: expected an entry 'kernel', as weights has."),
        (
            {"a": np.ones(2), "kernel": np.ones(1), "kernels": np.ones(1)},
            "masks=['a', 'kernel', 'kernels']: expected no entry 'kernels', which weights lacks. "
            "Did you mean 'kernel'?",
        ),
        (
            {"a": np.ones(3), "kernel": np.ones(1)},
            "masks['a'].shape=(3,): expected (2,), as in weights.",
        ),
        (
            {"a": np.array([0, 2]), "kernel": np.ones(1)},
            "masks['a']=array([0, 2]): expected only 0 and 1 (1 = kept).",
        ),
        (
            {"a": np.array([0, np.nan]), "kernel": np.ones(1)},
            "masks['a']=array([ 0., nan]): expected only 0 and 1 (1 = kept).",
        ),
        (
            [np.ones(2), np.ones(1)],
            "masks=[array([1., 1.]), array([1.])]: expected a mapping, as weights is.",
        ),
        (3, "masks=3: expected a mapping or a sequence of arrays."),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(InputError) as refused:
        m.check_masks(masks, {"a": np.ones(2), "kernel": np.ones(1)})
    assert str(refused.value) == message


def test_a_mapping_is_no_sequence():
    with pytest.raises(InputError) as refused:
        m.check_masks({0: np.ones(1)}, [np.ones(1)])
    assert str(refused.value) == "masks={0: array([1.])}: expected a sequence, as weights is."


@pytest.mark.parametrize("read", [m.mask_sparsity, m.layer_sparsity])
def test_shares_are_of_masks_only(read):
    with pytest.raises(InputError, match=r"^masks\[0\]=array\(\[2\]\): expected only 0 and 1"):
        read([np.array([2])])
    with pytest.raises(InputError, match=r"^masks=\[\]: expected at least one array.$"):
        read([])


def test_mask_distance_names_the_argument_that_does_not_fit():
    with pytest.raises(InputError, match=r"^b\[0\].shape=\(3,\): expected \(2,\), as in a.$"):
        m.mask_distance([np.ones(2)], [np.ones(3)])
    with pytest.raises(InputError, match=r"^b=\[0, 1\]: expected no entry 1, which a lacks.$"):
        m.mask_distance([np.ones(2)], [np.ones(2), np.ones(2)])
    with pytest.raises(InputError, match=r"^a\[0\]=array\(\[3\]\): expected only 0 and 1"):
        m.mask_distance([np.array([3])], [np.array([1])])
