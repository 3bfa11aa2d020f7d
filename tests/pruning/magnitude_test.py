import tracemalloc
from unittest import mock

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.pruning import magnitude
from tf_earlyticket.pruning.magnitude import element_masks


def by_sorting(weights, kept, previous=None):
    """Returns what `element_masks` promises, by sorting everything."""
    flat = np.concatenate([np.abs(w.astype(np.float64)).ravel() for w in weights])
    if previous is not None:
        flat[~np.concatenate([mask.ravel() for mask in previous])] = -1
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(-flat, kind="stable")[:kept]] = True
    ends = np.cumsum([w.size for w in weights])[:-1]
    return [m.reshape(w.shape) for m, w in zip(np.split(mask, ends), weights, strict=True)]


def assert_same(masks, wanted):
    for mask, other in zip(masks, wanted, strict=True):
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, other)


def in_small_pieces(deviations=5):
    """Takes the path of large networks: samples, pieces and threads, at any size."""
    return mock.patch.multiple(
        magnitude, _PIECE=5, _SAMPLE=8, _DEVIATIONS=deviations, _cores=lambda: 3
    )


@given(st.data(), st.sampled_from([0, 0.2, 5]))
def test_samples_pieces_and_threads_give_what_sorting_gives(data, deviations):
    sizes = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=4))
    # Few different values: many ties, and zeros among them.
    values = data.draw(st.sampled_from([[0, 1], [0, 1, -1, 2, 3], list(range(-50, 50))]))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    kind = data.draw(st.sampled_from([np.float32, np.float16, np.float64, ml_dtypes.bfloat16]))
    weights = [random.choice(values, size).astype(kind) for size in sizes]
    total = sum(sizes)
    before = data.draw(st.integers(0, total))
    previous = by_sorting([random.normal(size=size) for size in sizes], before)
    kept = data.draw(st.integers(0, total))
    # A bracket of no width misses often.
    with in_small_pieces(deviations):
        assert_same(element_masks(weights, kept), by_sorting(weights, kept))
        kept = min(kept, before)
        assert_same(element_masks(weights, kept, previous), by_sorting(weights, kept, previous))


@pytest.mark.parametrize("kept", [0, 1, 300_001, 1_499_999, 1_500_000])
def test_as_many_weights_as_take_a_sample(kept):
    random = np.random.default_rng(0)
    # On a coarse grid, so that the threshold has many ties.
    weights = [
        random.normal(size=(1000, 1000)).astype(np.float16).astype(np.float32),
        random.normal(size=500_000).astype(np.float16).astype(np.float32),
    ]
    assert_same(element_masks(weights, kept), by_sorting(weights, kept))


def test_weights_of_different_types_and_layouts():
    weights = [
        np.array([[1.0, -4.0], [0.5, 3.0]], np.float16).T,
        np.array([2.0, -3.5], ">f4"),
        np.array(-5.0),
    ]
    masks = element_masks(weights, 4)
    np.testing.assert_array_equal(masks[0], [[False, False], [True, True]])
    np.testing.assert_array_equal(masks[1], [False, True])
    assert masks[2].shape == () and masks[2]


def test_memory_is_little_more_than_the_masks():
    weights = [np.random.default_rng(0).normal(size=4_000_000).astype(np.float32)]
    element_masks(weights, 800_000)
    tracemalloc.start()
    element_masks(weights, 800_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The weights take 16 MB.
    assert peak < 8e6
