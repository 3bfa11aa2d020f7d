"""What holds under every optimizer: exact zeros after each step, a sandbox without a trace."""

import numpy as np
import pytest

from tf_earlyticket.backends import pruned
from tf_earlyticket.pruning.select import global_masks


def variables(model) -> list:
    """Returns the variables of a model's optimizer, of whatever Keras."""
    found = model.optimizer.variables
    return found() if callable(found) else found


def slots(model, shape) -> list[np.ndarray]:
    """Returns the optimizer's numbers of a weight's shape; Keras 3 has masks among them."""
    arrays = [np.array(each) for each in variables(model) if tuple(each.shape) == tuple(shape)]
    return [array for array in arrays if array.dtype == np.float32]


def prune_while_training(model, batch, data, *, divides=False) -> None:
    """Prunes a compiled model between steps and in a sandbox; asserts what has to hold.

    Args:
        model: A wrapped model without a layer of random numbers.
        batch: (inputs, labels) of a step.
        data: A data set of two steps or more.
        divides: Whether the optimizer divides by a running sum that starts above zero.
    """
    adapter = pruned(model)
    adapter.prepare()
    # Slots that are not zero where masks will prune.
    model.train_on_batch(*batch)
    masks = global_masks(adapter.weights(), 0.7)
    adapter.set_masks(masks)
    for mask in masks.values():
        kept = [slot for slot in slots(model, mask.shape) if slot[~mask].any()]
        assert len(kept) == divides and all((slot > 0).all() for slot in kept)
    for _ in range(2):
        before = adapter.weights()
        model.train_on_batch(*batch)
        for name, mask in masks.items():
            after = adapter.weights()[name]
            assert not after[~mask].any()
            assert np.isfinite(after).all() and (after[mask] != before[name][mask]).any()

    before, step, rate = adapter.all_weights(), adapter.step(), adapter.learning_rate()
    values = [np.array(variable) for variable in variables(model)]
    with adapter.sandbox():
        adapter.set_masks(global_masks(adapter.weights(), 0.9, previous=masks))
        adapter.set_learning_rate(1e-3)
        assert adapter.learning_rate() == pytest.approx(1e-3)
        assert adapter.train(data, 2) == 2
        assert adapter.violations() == 0
    for old, new in zip(values, variables(model), strict=True):
        np.testing.assert_array_equal(np.array(new), old)
    for name, value in adapter.all_weights().items():
        np.testing.assert_array_equal(value, before[name])
    assert (adapter.step(), adapter.learning_rate()) == (step, rate)
    for name, mask in adapter.masks().items():
        np.testing.assert_array_equal(mask, masks[name])
    # Keras writes weights once more at the end of `fit` under `use_ema`.
    model.fit(data, epochs=1, verbose=0)
    assert adapter.violations() == 0
