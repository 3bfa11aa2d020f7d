"""The same optimizers under every Keras: exact zeros, a sandbox without a trace, a rate to set."""

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.pruning.select import global_masks


def _loss_scale(keras):
    # At home in one place or the other.
    home = keras.mixed_precision, keras.optimizers
    scaled = next(h.LossScaleOptimizer for h in home if hasattr(h, "LossScaleOptimizer"))
    return scaled(keras.optimizers.SGD(0.05, momentum=0.9))


def _decay(keras):
    return keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.9)


OPTIMIZERS = {
    "momentum": lambda k: k.optimizers.SGD(0.05, momentum=0.9),
    "nesterov_schedule": lambda k: k.optimizers.SGD(_decay(k), momentum=0.9, nesterov=True),
    "average": lambda k: k.optimizers.SGD(0.05, use_ema=True, ema_overwrite_frequency=2),
    "weight_decay": lambda k: k.optimizers.SGD(0.05, weight_decay=0.1),
    "clipped": lambda k: k.optimizers.Adam(0.01, global_clipnorm=0.5),
    "adamw": lambda k: k.optimizers.AdamW(0.01, weight_decay=0.1),
    "adagrad": lambda k: k.optimizers.Adagrad(0.05),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "ftrl": lambda k: k.optimizers.Ftrl(0.05),
    "lion": lambda k: k.optimizers.Lion(0.01),
    "adafactor": lambda k: k.optimizers.Adafactor(0.01),
    "loss_scale": _loss_scale,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruning_under_an_optimizer(name, keras, network, compiled, examples, data):
    model = compiled(et.wrap_for_pruning(network()), OPTIMIZERS[name](keras))
    adapter = pruned(model)
    adapter.prepare()
    rate = adapter.learning_rate()
    # Slots that are not zero where masks will prune.
    model.train_on_batch(*(part[:16] for part in examples))
    masks = global_masks(adapter.weights(), 0.7)
    adapter.set_masks(masks)
    for first in (16, 32):
        before = adapter.weights()
        model.train_on_batch(*(part[first : first + 16] for part in examples))
        for kernel, mask in masks.items():
            after = adapter.weights()[kernel]
            assert not after[~mask].any()
            assert np.isfinite(after).all() and (after[mask] != before[kernel][mask]).any()
    if not name.endswith("schedule"):
        assert adapter.learning_rate() == pytest.approx(rate)

    before, step, rate = adapter.all_weights(), adapter.step(), adapter.learning_rate()
    slots = [np.array(variable) for variable in _variables(model)]
    with adapter.sandbox():
        adapter.set_masks(global_masks(adapter.weights(), 0.9, previous=masks))
        adapter.set_learning_rate(1e-3)
        assert adapter.learning_rate() == pytest.approx(1e-3)
        assert adapter.train(data[0], 2) == 2
    for old, new in zip(slots, _variables(model), strict=True):
        np.testing.assert_array_equal(np.array(new), old)
    for key, value in adapter.all_weights().items():
        np.testing.assert_array_equal(value, before[key])
    assert (adapter.step(), adapter.learning_rate()) == (step, rate)
    for kernel, mask in adapter.masks().items():
        np.testing.assert_array_equal(mask, masks[kernel])


def _variables(model):
    variables = model.optimizer.variables
    return variables() if callable(variables) else variables
