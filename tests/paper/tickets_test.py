from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.config import Config
from tf_earlyticket.paper import tickets
from tf_earlyticket.paper.tickets import random_masks, shuffled_masks
from tf_earlyticket.pruning.select import resolve_criterion

shapes = st.lists(
    st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple), min_size=1, max_size=4
)


@given(shapes, st.integers(0, 2**31 - 1))
def test_controls_keep_as_many_weights_of_each_tensor(shapes, seed):
    draw = np.random.default_rng(seed)
    masks = {f"w{n}": draw.random(shape) < 0.4 for n, shape in enumerate(shapes)}
    for control in (random_masks, shuffled_masks):
        changed = control(masks, seed)
        assert list(changed) == list(masks)
        for name, mask in masks.items():
            assert changed[name].shape == mask.shape and changed[name].dtype == bool
            assert changed[name].sum() == mask.sum()


@given(st.integers(0, 1000))
def test_shuffled_masks_keep_as_many_weights_of_each_output_channel(seed):
    mask = np.zeros((3, 3, 4, 3), bool)
    mask[..., 0] = True
    mask[0, 0, :2, 1] = True
    (changed,) = shuffled_masks([mask], seed)
    np.testing.assert_array_equal(changed.sum(axis=(0, 1, 2)), [36, 2, 0])


def test_random_masks_move_weights_between_channels_and_shuffled_ones_do_not():
    mask = np.zeros((50, 2), bool)
    mask[:, 0] = True
    assert random_masks([mask], 1)[0][:, 1].any()
    assert not shuffled_masks([mask], 1)[0][:, 1].any()


def test_the_seed_decides_and_the_masks_stay_as_they_were():
    mask = np.arange(100) < 30
    before = mask.copy()
    assert (random_masks([mask], 1)[0] == random_masks([mask], 1)[0]).all()
    assert (random_masks([mask], 1)[0] != random_masks([mask], 2)[0]).any()
    np.testing.assert_array_equal(mask, before)


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="expected only 0 and 1"):
        random_masks([np.array([0.5, 1.0])], 0)


def test_one_shot_masks_have_the_structure_of_the_config(monkeypatch):
    config, weights = Config(), {"w": np.arange(1.0, 9.0).reshape(8, 1)}
    config.pruning.structure = "2:4"
    network = SimpleNamespace(criterion=resolve_criterion(structure="2:4"), masks=lambda: weights)
    monkeypatch.setattr(tickets, "pruned", lambda model: network)
    run = SimpleNamespace(config=config, model=None)
    # As the cells of the paper's tables have it: the config's group size.
    mask = tickets.masks_of(run, weights, 0.5, group_size=config.pruning.group_size)["w"]
    np.testing.assert_array_equal(mask.ravel(), [0, 0, 1, 1, 0, 0, 1, 1])
