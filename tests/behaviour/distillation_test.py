"""Distillation from the dense phase: the soft loss, when it counts, and restarts."""

import os

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.errors import InputError

EPOCHS = 4


def _softmax(logits):
    parts = np.exp(logits - logits.max(axis=1, keepdims=True))
    return parts / parts.sum(axis=1, keepdims=True)


def test_the_gradient_of_a_step_is_that_of_both_losses(keras):
    random = np.random.RandomState(0)
    inputs = random.normal(size=(8, 5)).astype(np.float32)
    labels = random.randint(0, 3, 8).astype(np.int32)
    layers = keras.layers
    plain = keras.Sequential([layers.Input((5,)), layers.Dense(3, use_bias=False, name="logits")])
    model = et.wrap_for_pruning(plain, prunable=["logits"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss)
    adapter = pruned(model)
    adapter.prepare()
    before = adapter.weights()["logits/kernel"]
    alone = model.evaluate(inputs, labels, verbose=0)
    teaching = et.Distillation(0.5, temperature=3)
    teaching.weights = {"logits/kernel": random.normal(size=(5, 3)).astype(np.float32)}
    teaching.resume(adapter)
    # Evaluation is without it.
    assert model.evaluate(inputs, labels, verbose=0) == pytest.approx(alone)
    model.train_on_batch(inputs, labels)
    hard = _softmax(inputs @ before) - np.eye(3)[labels]
    taught = inputs @ teaching.weights["logits/kernel"]
    soft = 0.5 * 9 / 3 * (_softmax(inputs @ before / 3) - _softmax(taught / 3))
    wanted = before - 0.1 * inputs.T @ (hard + soft) / 8
    np.testing.assert_allclose(adapter.weights()["logits/kernel"], wanted, rtol=1e-4, atol=1e-5)
    teaching.end(adapter)
    before = adapter.weights()["logits/kernel"]
    model.train_on_batch(inputs, labels)
    hard = _softmax(inputs @ before) - np.eye(3)[labels]
    wanted = before - 0.1 * inputs.T @ hard / 8
    np.testing.assert_allclose(adapter.weights()["logits/kernel"], wanted, rtol=1e-4, atol=1e-5)


def test_no_gradient_passes_into_the_teacher(network, compiled, examples, monkeypatch):
    if os.environ.get("FRAMEWORK") == "keras_jax":
        # It asks for none by name.
        return
    import tensorflow as tf

    adapter, added = pruned(compiled(et.wrap_for_pruning(network()))), []
    monkeypatch.setattr(adapter, "add_to_loss", added.append)
    et.Distillation().begin(adapter)
    inputs = tf.constant(examples[0][:8])
    with tf.GradientTape(persistent=True) as tape:
        logits = adapter.model(inputs)
        loss = added[0](0.0, inputs, logits, None)
    own = {id(variable) for variable in adapter.model.trainable_variables}
    own |= {id(getattr(variable, "value", None)) for variable in adapter.model.trainable_variables}
    others = [variable for variable in tape.watched_variables() if id(variable) not in own]
    assert tape.gradient(loss, logits) is not None
    assert not [g for g in tape.gradient(loss, others) if g is not None]


@pytest.fixture
def batches(examples):
    """Four batches in one order."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(tuple(e[:64] for e in examples)).batch(16)


def _ticket(batches, teaching=None, **options):
    detector = et.FixedEpoch(2)
    lengths = {"ramp_epochs": 0, "hold_epochs": 1, "verbose": 0, "detector": detector}
    return et.EarlyTicket(batches, batches, distillation=teaching, **lengths, **options)


def _fit(model, batches, callbacks, first=0, epochs=EPOCHS):
    options = {"initial_epoch": first, "epochs": epochs, "shuffle": False, "verbose": 0}
    return model.fit(batches, callbacks=callbacks, **options)


def test_the_network_of_the_start_epoch_teaches_from_then_on_and_a_restart_goes_on(
    keras, compiled, batches, tmp_path
):
    def make():
        keras.utils.set_random_seed(1)
        layers = keras.layers
        inner = [
            layers.Flatten(),
            layers.Dense(12, name="first"),
            layers.BatchNormalization(name="norm"),
        ]
        ends = [layers.ReLU(), layers.Dense(3, name="logits")]
        plain = keras.Sequential([layers.Input((8, 8, 1)), *inner, *ends])
        return compiled(et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.75)))

    backend, states, at_start = backend_of(make()), [], {}

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                backend.write_state(self.model, tmp_path / "state")
                states.append(ticket.get_state())

    def started(epoch):
        at_start.update(pruned(model).all_weights())

    model, teaching = make(), et.Distillation(2.0)
    ticket = _ticket(batches, teaching, before_start=started)
    _fit(model, batches, [ticket, Keep()])
    whole = pruned(model).all_weights()
    assert ticket.start_epoch == 2 and pruned(model).violations() == 0
    assert et.mask_sparsity(pruned(model).masks()) == 0.75
    for name, weight in teaching.weights.items():
        # One-shot: the network itself was pruned at once.
        np.testing.assert_array_equal(weight, at_start[name])
    assert "train_step" not in vars(model) and "compute_loss" not in vars(model)

    untaught = make()
    _fit(untaught, batches, [other := _ticket(batches)])
    assert other.start_epoch == 2
    assert any(np.any(w != whole[n]) for n, w in pruned(untaught).all_weights().items())

    went_on = make()
    pruned(went_on).prepare()
    backend.read_state(went_on, tmp_path / "state")
    ticket = _ticket(batches, et.Distillation(2.0))
    ticket.set_state(states[0])
    with pytest.raises(et.InputError, match="distillation.weights=None: expected those of the"):
        _fit(went_on, batches, [ticket], first=3)
    again = et.Distillation(2.0)
    again.weights = teaching.weights
    ticket = _ticket(batches, again)
    ticket.set_state(states[0])
    _fit(went_on, batches, [ticket], first=3)
    for name, weight in pruned(went_on).all_weights().items():
        np.testing.assert_array_equal(weight, whole[name])


def test_logits_of_16_bits_are_taught_beside_penalties_of_32(bfloat16, keras, compiled, examples):
    layers = keras.layers
    logits = layers.Dense(3, kernel_regularizer="l2", name="logits")
    plain = keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), logits])
    model = compiled(et.wrap_for_pruning(plain, prunable=["logits"]))
    adapter = pruned(model)
    adapter.prepare()
    before = adapter.weights()["logits/kernel"]
    et.Distillation().begin(adapter)
    model.train_on_batch(*examples)
    assert np.any(adapter.weights()["logits/kernel"] != before) and adapter.finite()


def test_what_cannot_be_taught_is_refused(keras, network, compiled, batches):
    with pytest.raises(et.InputError, match=r"temperature=0: expected a number > 0"):
        et.Distillation(temperature=0)
    schedule = et.EarlyTicketPolynomialDecay(0.75, shape="one_cycle")
    model = compiled(et.wrap_for_pruning(network(), schedule))
    ticket = et.EarlyTicket(batches, batches, distillation=et.Distillation())
    with pytest.raises(et.InputError, match="expected none where there is no start epoch"):
        _fit(model, batches, [ticket])
    layers = keras.layers
    ends = [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(4, name="first")]
    for name in ("softmax", "sigmoid"):
        plain = keras.Sequential([*ends, layers.Dense(3, name)])
        for whole in (plain, keras.Sequential([layers.Input((8, 8, 1)), plain])):
            with pytest.raises(et.InputError, match=f"distillation='{name}': expected a model th"):
                et.Distillation().check(et.wrap_for_pruning(whole))


def test_networks_that_cannot_be_taught_are_told_in_a_line(keras, compiled):
    layers = keras.layers
    model = keras.Sequential([layers.Input((5,)), layers.Dense(1, name="logit")])
    with pytest.raises(InputError, match="distillation='one logit': expected a logit for each"):
        et.Distillation().check(model)

    class Own(keras.Model):
        pass

    with pytest.raises(InputError, match="distillation=0: expected a model with one output"):
        et.Distillation().check(Own())
