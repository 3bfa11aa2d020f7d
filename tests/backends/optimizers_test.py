"""What tf_keras alone has: optimizers of before 2.11, a schedule that is saved, slots by name."""

import pytest
import tensorflow as tf
import tf_keras as keras
from optimizing import prune_while_training

from tf_earlyticket.backends import wrap_for_pruning
from tf_earlyticket.backends.tf_keras import optimizers

schedules = keras.optimizers.schedules


@pytest.fixture
def model():
    layers = [keras.Input((6,)), keras.layers.Dense(5, name="hidden"), keras.layers.Dense(3)]
    return wrap_for_pruning(keras.Sequential(layers))


def decay():
    return schedules.ExponentialDecay(0.1, 10, 0.5)


OPTIMIZERS = {
    "legacy": lambda: keras.optimizers.legacy.SGD(0.1),
    "legacy_schedule": lambda: keras.optimizers.legacy.SGD(decay(), momentum=0.9),
    "legacy_adam": lambda: keras.optimizers.legacy.Adam(0.01),
    "legacy_adagrad": lambda: keras.optimizers.legacy.Adagrad(0.01),
    "legacy_ftrl": lambda: keras.optimizers.legacy.Ftrl(0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruning_under_an_optimizer_of_before(name, model, compiled):
    compiled(model, OPTIMIZERS[name](), prepare=False)
    batch = tf.random.stateless_normal((4, 6), [1, 2]), tf.range(4) % 3
    prune_while_training(
        model,
        batch,
        tf.data.Dataset.from_tensors(batch).repeat(2),
        divides=name.endswith(("grad", "ftrl")),
    )


def test_an_override_that_the_user_put_in_stays(model, compiled):
    own = optimizers.OverridableSchedule(decay())
    adapter = compiled(model, keras.optimizers.SGD(own))
    adapter.finish()
    assert model.optimizer._learning_rate is own


@pytest.mark.parametrize("temporary", [True, False])
def test_the_overridable_schedule_round_trips(temporary):
    schedule = optimizers.OverridableSchedule(decay(), temporary)
    again = schedules.deserialize(schedules.serialize(schedule))
    assert isinstance(again, optimizers.OverridableSchedule)
    assert again.schedule.get_config() == decay().get_config()
    assert again.temporary == temporary
    assert float(again(10)) == pytest.approx(0.05)
    again.override.assign(0.0)
    assert float(again(10)) == 0.0


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: keras.optimizers.SGD(), 1),
        (lambda: keras.optimizers.SGD(momentum=0.9, use_ema=True), 2),
        (lambda: keras.optimizers.Adam(amsgrad=True), 3),
        (lambda: keras.optimizers.Adagrad(), 0),
        (lambda: keras.optimizers.legacy.Adam(), 2),
        (lambda: keras.mixed_precision.LossScaleOptimizer(keras.optimizers.Adam()), 2),
    ],
)
def test_slots_of_a_weight_are_found_without_divisors(make, count, model, compiled):
    optimizer = make()
    compiled(model, optimizer)
    kernel, bias = model.layers[0].layer.kernel, model.layers[0].layer.bias
    found = list(optimizers.slots(optimizer, kernel))
    assert len(found) == count
    assert all(slot.shape == kernel.shape for slot in found)
    assert not {id(s) for s in found} & {id(s) for s in optimizers.slots(optimizer, bias)}
