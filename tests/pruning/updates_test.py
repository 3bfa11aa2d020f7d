"""Mask updates: what becomes of masks at the steps of a schedule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import kept_count
from tf_earlyticket.pruning.schedule import PolynomialSparsity
from tf_earlyticket.pruning.scores import ScoreContext
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.pruning.updates import progress, resolve_update, seen

RAMP = PolynomialSparsity(0.0, 0.8, begin_step=10, end_step=110, frequency=10)
CRITERION = resolve_criterion()


def _bools(text):
    return np.array([mark == "1" for mark in text])


def _next(update, weights, sparsity, present, part, gradients=None, criterion=CRITERION):
    context = ScoreContext({"w": np.asarray(weights)}, gradients=lambda _: {"w": gradients})
    return update.masks(criterion, context, sparsity, {"w": present}, part)["w"]


def test_progress_is_that_of_the_ramp():
    assert [progress(RAMP, step) for step in (0, 10, 35, 110, 500)] == [0, 0, 0.25, 1, 1]
    assert progress(PolynomialSparsity(0, 0.8, 10, 10), 10) == 1


def test_shrink_never_brings_a_weight_back():
    update = resolve_update()
    mask = _next(update, [4.0, 3.0, 2.0, 1.0], 0.5, _bools("0111"), 0.5)
    np.testing.assert_array_equal(mask, _bools("0110"))
    assert update.is_done(CRITERION, 0.5, {"w": mask}, 0.5, again=False)
    assert not update.is_done(CRITERION, 0.75, {"w": mask}, 0.5, again=False)


def test_alternate_is_sparse_and_dense_by_turns():
    update = resolve_update("alternate(turns=2)")
    due = {step: update.sparsity_at(RAMP, step) for step in (10, 40, 50, 70, 80, 100, 110, 200)}
    wanted = {step: RAMP.sparsity_at(step) for step in due} | {50: 0.0, 70: 0.0}
    assert due == wanted and due[110] == 0.8
    assert resolve_update("alternate(turns=1)").sparsity_at(RAMP, 60) == RAMP.sparsity_at(60)


def test_alternate_ranks_all_weights_anew_after_a_dense_phase():
    update, sparse = resolve_update("alternate"), _bools("0011")
    dense = _next(update, [0.0, 0.0, 2.0, 1.0], 0.0, sparse, 0.3)
    assert dense.all()
    assert not update.is_done(CRITERION, 0.0, {"w": sparse}, 0.3, again=False)
    assert update.is_done(CRITERION, 0.0, {"w": dense}, 0.3, again=False)
    np.testing.assert_array_equal(
        _next(update, [4.0, 0.5, 2.0, 1.0], 0.5, dense, 0.5), _bools("1010")
    )


def test_swap_exchanges_weak_weights_for_large_gradients():
    update = resolve_update("swap(fraction=0.5)")
    weights, gradients = np.array([3.0, 1.0, 0.0, 0.0]), np.array([9.0, 0.0, 0.5, -2.0])
    # At a third of the ramp the part has fallen to 3/4 of the fraction.
    mask = _next(update, weights, 0.5, _bools("1100"), 1 / 3, gradients)
    np.testing.assert_array_equal(mask, _bools("1100"))
    mask = _next(update, weights, 0.5, _bools("1100"), 0.01, gradients)
    np.testing.assert_array_equal(mask, _bools("1100"))
    update = resolve_update("swap(fraction=0.6)")
    mask = _next(update, weights, 0.5, _bools("1100"), 0.01, gradients)
    np.testing.assert_array_equal(mask, _bools("1001"))
    # What went may be what has the largest gradient.
    mask = _next(update, weights, 0.5, _bools("1100"), 0.01, gradients[::-1])
    np.testing.assert_array_equal(mask, _bools("1001"))
    # A ramp's ends exchange nothing.
    mask = _next(update, weights, 0.5, _bools("1100"), 1.0, gradients)
    np.testing.assert_array_equal(mask, _bools("1100"))


def test_swap_is_not_made_twice_by_a_run_that_goes_on():
    update, masks = resolve_update("swap"), {"w": _bools("1100")}
    assert update.is_done(CRITERION, 0.5, masks, 0.5, again=True)
    assert not update.is_done(CRITERION, 0.5, masks, 0.5, again=False)
    assert update.is_done(CRITERION, 0.5, masks, 1.0, again=False)
    assert not update.is_done(CRITERION, 0.75, masks, 0.5, again=True)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(
        ["shrink", "alternate", "alternate(turns=1)", "swap", "swap(fraction=0.9)", "regrow"]
    ),
    st.integers(0, 2**16),
    st.sampled_from([1, 4]),
    st.floats(0, 0.9),
)
def test_whatever_the_update_masks_have_the_sparsity_due_and_end_at_the_final_one(
    name, seed, group_size, initial
):
    update, random = resolve_update(name), np.random.RandomState(seed)
    criterion = resolve_criterion(group_size=group_size)
    ramp = PolynomialSparsity(initial, 0.9, 0, 100, 7)
    shapes = {"a": (3, 8, 4), "b": (8, 6)}
    masks = {key: np.ones(shape, bool) for key, shape in shapes.items()}
    total = sum(mask.size for mask in masks.values())
    for step in ramp.update_steps():
        sparsity, part = update.sparsity_at(ramp, step), progress(ramp, step)
        weights = {key: random.normal(size=mask.shape) * mask for key, mask in masks.items()}
        gradients = {key: random.normal(size=mask.shape) for key, mask in masks.items()}
        context = ScoreContext(weights, gradients=lambda _, found=gradients: found)
        if not update.is_done(criterion, sparsity, masks, part, again=False):
            masks = update.masks(criterion, context, sparsity, masks, part)
        kept = sum(int(mask.sum()) for mask in masks.values())
        assert 0 <= kept_count(total, sparsity) - kept < group_size
        assert all(mask.any() for mask in masks.values())
        assert update.is_done(criterion, sparsity, masks, part, again=True)
    assert sparsity == 0.9


@pytest.mark.parametrize(
    ("name", "structure", "message"),
    [
        ("grow", None, "update='grow': expected one of"),
        ("swap(fraction=1)", None, "fraction=1: expected a number"),
        ("alternate(turns=0)", None, "turns=0: expected an integer of at least 1"),
        ("swap", "2:4", "update='swap': expected 'shrink'"),
        ("alternate", "channels", "update='alternate': expected 'shrink' with whole channels"),
    ],
)
def test_what_cannot_be_is_refused(name, structure, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        resolve_update(name).check(resolve_criterion(structure=structure))


def test_regrow_ranks_all_latent_weights_at_each_update():
    update, mask = resolve_update("regrow"), _bools("1100")
    found = _next(update, [1.0, 2.0, -3.0, 0.5], 0.5, mask, 0.5)
    np.testing.assert_array_equal(found, _bools("0110"))
    assert not update.is_done(CRITERION, 0.5, {"w": mask}, 0.5, again=False)
    assert update.is_done(CRITERION, 0.5, {"w": mask}, 0.5, again=True)
    with pytest.raises(InputError, match="threshold='feather': expected 'hard'"):
        resolve_update("regrow(threshold='feather')").check(resolve_criterion(group_size=4))


def test_what_the_network_sees_of_latent_weights():
    latent, mask = np.array([4.0, -2.0, 1.0, 0.5], np.float32), _bools("1100")
    weight, threshold = seen(latent, mask, None)
    np.testing.assert_array_equal(weight, np.array([4, -2, 0, 0], np.float32))
    assert threshold == 0 and weight.dtype == np.float32
    weight, threshold = seen(latent, mask, 3)
    np.testing.assert_allclose(weight, [4 * (1 - 1 / 64), -2 * (1 - 1 / 8), 0, 0])
    assert threshold == 1
    weight, threshold = seen(latent, mask | True, 3)
    np.testing.assert_array_equal(weight, latent)
    # By another score, or two of four.
    weight, threshold = seen(latent, _bools("0110"), 3)
    np.testing.assert_allclose(weight, [0, -2 * (1 - 1 / 8), 0, 0])
    assert threshold == 1
