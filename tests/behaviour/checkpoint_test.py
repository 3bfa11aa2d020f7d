"""The state of a run goes back into the network that it is of, and into no other."""

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.config import Config
from tf_earlyticket.errors import RunError
from tf_earlyticket.job.build import build_plain_model
from tf_earlyticket.job.checkpoint import RunCheckpoint, _check_names
from tf_earlyticket.job.log import MetricsLog


@pytest.fixture
def named(keras, compiled):
    """Returns a function that makes a wrapped network of three layers of one shape."""

    def make(*names, rate=0.05):
        keras.utils.set_random_seed(len(names[0] or ""))
        layers = [keras.layers.Dense(4, **({"name": name} if name else {})) for name in names]
        plain = keras.Sequential([keras.layers.Input((4,)), *layers])
        return compiled(et.wrap_for_pruning(plain), keras.optimizers.Adam(rate))

    return make


@pytest.fixture
def saved(named, tmp_path):
    """Returns a function that saves a trained network of layers of these names: its weights."""

    def save(*names):
        model = named(*names)
        model.train_on_batch(np.eye(4, dtype=np.float32), np.arange(4))
        checkpoint = RunCheckpoint(tmp_path, MetricsLog("search"))
        checkpoint.set_model(model)
        checkpoint.save(1)
        return list(pruned(model).all_weights().values())

    return save


def _restored(model, folder):
    assert RunCheckpoint(folder, MetricsLog("search")).restore(model) == 1
    assert pruned(model).step() == 1
    return list(pruned(model).all_weights().values())


def _assert_equal(left, right):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_that_changed_places_are_told_and_nothing_is_read(named, saved, tmp_path):
    saved("block_1", "block_2", "last")
    for names in (("block_2", "block_1", "last"), ("block_1", "block_2", "end")):
        other = named(*names)
        before = list(pruned(other).all_weights().values())
        wanted = rf"No checkpoint in \S+ can be used \(it is of another network: .*'{names[0]}/|end"
        with pytest.raises(RunError, match=wanted):
            RunCheckpoint(tmp_path, MetricsLog("search")).restore(other)
        _assert_equal(pruned(other).all_weights().values(), before)


def test_all_models_of_a_run_have_the_same_names(keras, named):
    def unnamed(input_shape, num_classes, weight_decay, framework):
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input(input_shape),
                layers.Conv2D(2, 3),
                layers.Conv2D(2, 3),
                layers.Flatten(),
                layers.Dense(num_classes),
            ]
        )

    et.register_model("unnamed", unnamed)
    config = Config()
    config.model.name = "unnamed"
    config.model.keras = backend_of(named("a", "b", "c")).framework
    found = []
    for _ in range(2):
        model = build_plain_model(config)
        found.append(list(backend_of(model).named_weights(model)))
        # As between the phases of a run.
        named(None, None, None)
    assert found[0] == found[1]
    assert found[0][:4] == ["conv2d/kernel", "conv2d/bias", "conv2d_1/kernel", "conv2d_1/bias"]


def test_the_state_of_another_optimizer_is_refused(named, saved, keras, compiled, tmp_path):
    saved("one", "two", "last")
    model = named("one", "two", "last")
    # As many slots of the same shapes.
    compiled(model, keras.optimizers.Adamax(0.05))
    with pytest.raises(RunError, match="it has 'Adam' in place of 'Adamax'"):
        RunCheckpoint(tmp_path, MetricsLog("search")).restore(model)


@pytest.mark.parametrize(
    ("saved", "present", "wrong"),
    [
        (["a/kernel"], ["a/kernel"], None),
        (["a/kernel"], ["a/kernel", "a/bias"], "None in place of 'a/bias'"),
        (["a/kernel"], ["a/bias"], "'a/kernel' in place of 'a/bias'"),
    ],
)
def test_names_are_compared(saved, present, wrong):
    if wrong is None:
        _check_names(saved, present)
    else:
        with pytest.raises(ValueError, match=wrong):
            _check_names(saved, present)
