"""The same optimizers under every Keras: exact zeros, a sandbox without a trace, a rate to set."""

import os

import numpy as np
import pytest
from optimizing import prune_while_training

import tf_earlyticket as et
from tf_earlyticket.backends import pruned


@pytest.fixture
def small(keras):
    """Returns a function that makes a network that compiles fast, always the same one."""

    def make():
        keras.utils.set_random_seed(1)
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                layers.Flatten(),
                layers.Dense(8, activation="tanh", name="one"),
                layers.Dense(8, activation="tanh", name="two"),
                layers.Dense(3, name="last"),
            ]
        )

    return make


def _loss_scale(keras, rate=0.05, momentum=0.9):
    # At home in one place or the other.
    home = keras.mixed_precision, keras.optimizers
    scaled = next(h.LossScaleOptimizer for h in home if hasattr(h, "LossScaleOptimizer"))
    return scaled(keras.optimizers.SGD(rate, momentum=momentum))


def _decay(keras):
    return keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.9)


OPTIMIZERS = {
    "momentum": lambda k: k.optimizers.SGD(0.05, momentum=0.9),
    "nesterov_schedule": lambda k: k.optimizers.SGD(_decay(k), momentum=0.9, nesterov=True),
    "average": lambda k: k.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9),
    "overwrite": lambda k: k.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=2),
    "weight_decay": lambda k: k.optimizers.SGD(0.05, weight_decay=0.1),
    "clipped": lambda k: k.optimizers.SGD(0.05, momentum=0.9, clipnorm=0.5),
    "clipped_together": lambda k: k.optimizers.Adam(0.01, global_clipnorm=0.5),
    "adam": lambda k: k.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda k: k.optimizers.AdamW(0.01, weight_decay=0.1),
    "adamax": lambda k: k.optimizers.Adamax(0.01),
    "adadelta": lambda k: k.optimizers.Adadelta(1.0),
    "adagrad": lambda k: k.optimizers.Adagrad(0.05),
    "nadam": lambda k: k.optimizers.Nadam(0.01),
    "rmsprop": lambda k: k.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "ftrl": lambda k: k.optimizers.Ftrl(0.05, l2_shrinkage_regularization_strength=0.01),
    "lion": lambda k: k.optimizers.Lion(0.01),
    "adafactor": lambda k: k.optimizers.Adafactor(0.01),
    "loss_scale": _loss_scale,
}


# An optimizer is the same in both backends of Keras 3, so each is tried on one of them.
ON_JAX = ("momentum", "average", "overwrite", "clipped_together", "adam", "adafactor", "loss_scale")


def _marked(name):
    backend = os.environ.get("FRAMEWORK", "tf_keras").removeprefix("keras_")
    slow = backend == ("tensorflow" if name in ON_JAX else "jax")
    return pytest.param(name, marks=[pytest.mark.slow] * slow)


@pytest.mark.parametrize("name", map(_marked, OPTIMIZERS))
def test_pruning_under_an_optimizer(name, keras, small, compiled, examples, data):
    model = compiled(et.wrap_for_pruning(small()), OPTIMIZERS[name](keras))
    batch = [part[:16] for part in examples]
    prune_while_training(model, batch, data[0], divides=name in ("adagrad", "ftrl"))


RATES = {
    "constant": lambda k: k.optimizers.SGD(0.05),
    "schedule": lambda k: k.optimizers.SGD(_decay(k)),
    "callable": lambda k: k.optimizers.SGD(lambda: 0.05),
    "loss_scale": lambda k: _loss_scale(k, _decay(k), momentum=0.0),
}


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained"])
def test_the_learning_rate_is_settable_and_restored(
    name, trained, keras, small, compiled, examples, data
):
    optimizer = RATES[name](keras)
    own, config = _rate(optimizer), optimizer.get_config()
    model = compiled(et.wrap_for_pruning(small()), optimizer)
    adapter = pruned(model)
    if trained:
        # The step that is traced here has to see what is set later.
        with adapter.sandbox():
            adapter.train(data[0], 1)
    adapter.prepare()
    adapter.prepare()
    assert adapter.learning_rate() == pytest.approx(0.05)
    before = adapter.all_weights()
    with adapter.sandbox():
        adapter.set_learning_rate(0.0)
        assert adapter.learning_rate() == 0.0
        adapter.train(data[0], 1)
        for kernel, weight in adapter.all_weights().items():
            np.testing.assert_array_equal(weight, before[kernel])
    assert adapter.learning_rate() == pytest.approx(0.05)
    with adapter.sandbox():
        adapter.train(data[0], 1)
        assert (adapter.all_weights()["two/kernel"] != before["two/kernel"]).any()
    adapter.finish()
    adapter.finish()
    assert _rate(optimizer) is own
    assert optimizer.get_config() == config


def _rate(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)._learning_rate


def test_an_optimizer_of_another_kind_is_refused(small, compiled):
    model = compiled(et.wrap_for_pruning(small()))
    model.optimizer = object()
    with pytest.raises(et.InputError, match="optimizer=object.*: expected a .* optimizer"):
        pruned(model).prepare()


def test_a_probe_ends_with_the_weights_that_it_trained_not_their_averages(
    keras, small, compiled, examples
):
    import tensorflow as tf

    moved, in_order = [], tf.data.Dataset.from_tensor_slices(examples).batch(16)
    for options in ({}, {"use_ema": True, "ema_momentum": 0.99}):
        keras.utils.set_random_seed(3)
        model = compiled(et.wrap_for_pruning(small()), keras.optimizers.SGD(0.05, **options))
        adapter = pruned(model)
        adapter.prepare()
        before = adapter.weights()
        with adapter.sandbox():
            adapter.train(in_order, 6)
            after = adapter.weights()
        moved.append(max(np.abs(after[name] - before[name]).max() for name in before))
    assert moved[1] == pytest.approx(moved[0], rel=0.1)
