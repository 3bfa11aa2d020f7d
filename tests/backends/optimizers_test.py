"""What pruning does with an optimizer: finds its slots, sets its learning rate, leaves no trace."""

import pytest
import tensorflow as tf
import tf_keras as keras

from tf_earlyticket.backends import wrap_for_pruning
from tf_earlyticket.backends.tf_keras import optimizers
from tf_earlyticket.errors import InputError

schedules = keras.optimizers.schedules


@pytest.fixture
def model():
    layers = [keras.Input((6,)), keras.layers.Dense(5, name="hidden"), keras.layers.Dense(3)]
    return wrap_for_pruning(keras.Sequential(layers))


def decay():
    return schedules.ExponentialDecay(0.1, 10, 0.5)


OPTIMIZERS = {
    "constant": lambda: keras.optimizers.SGD(0.1),
    "schedule": lambda: keras.optimizers.SGD(decay()),
    "callable": lambda: keras.optimizers.SGD(lambda: 0.1),
    "legacy": lambda: keras.optimizers.legacy.SGD(0.1),
    "legacy_schedule": lambda: keras.optimizers.legacy.SGD(decay()),
    "loss_scale": lambda: keras.mixed_precision.LossScaleOptimizer(keras.optimizers.SGD(decay())),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_learning_rate_is_settable_and_restored(name, model, compiled):
    optimizer = OPTIMIZERS[name]()
    adapter = compiled(model, optimizer)
    assert adapter.learning_rate() == pytest.approx(0.1)
    data = tf.data.Dataset.from_tensors((tf.ones((2, 6)), tf.zeros(2)))
    kernel = model.layers[0].layer.kernel
    with adapter.sandbox():
        adapter.set_learning_rate(0.0)
        assert adapter.learning_rate() == 0.0
        before = kernel.numpy()
        adapter.train(data, 1)
        assert (kernel.numpy() == before).all()
    assert adapter.learning_rate() == pytest.approx(0.1)
    with adapter.sandbox():
        before = kernel.numpy()
        adapter.train(data, 1)
        assert (kernel.numpy() != before).any()


@pytest.mark.parametrize("name", ["schedule", "legacy_schedule", "loss_scale"])
def test_install_and_remove_leave_the_optimizer_as_it_was(name, model, compiled):
    optimizer = OPTIMIZERS[name]()
    config = optimizer.get_config()
    adapter = compiled(model, optimizer, prepare=False)
    own = optimizers._schedule(optimizers.inner_optimizer(optimizer))
    adapter.prepare()
    adapter.prepare()
    override = optimizers._schedule(optimizers.inner_optimizer(optimizer))
    assert isinstance(override, optimizers.OverridableSchedule)
    assert override.schedule is own
    adapter.finish()
    adapter.finish()
    assert optimizers._schedule(optimizers.inner_optimizer(optimizer)) is own
    assert optimizer.get_config() == config
    assert model.train_function is None


def test_a_step_traced_before_sees_the_override(model, compiled):
    adapter = compiled(model, keras.optimizers.SGD(decay()), prepare=False)
    x, y = tf.ones((2, 6)), tf.zeros(2)
    model.fit(x, y, verbose=0)
    adapter.prepare()
    kernel = model.layers[0].layer.kernel
    before = kernel.numpy()
    with adapter.sandbox():
        adapter.set_learning_rate(0.0)
        model.fit(x, y, verbose=0)
        assert (kernel.numpy() == before).all()


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


def test_an_optimizer_of_another_kind_is_refused(model):
    model.compile("sgd")
    model.optimizer = object()
    with pytest.raises(InputError, match="expected a tf_keras optimizer"):
        optimizers.build_optimizer(model)
