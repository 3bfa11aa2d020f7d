"""Optimizers, learning rates and losses of the command, under every Keras."""

import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket.backends import backend_of
from tf_earlyticket.config import Config, TrainConfig
from tf_earlyticket.errors import InputError
from tf_earlyticket.job import recipe
from tf_earlyticket.job.recipe import OPTIMIZERS, check_training, learning_rate_schedule


def rates(framework, steps, **fields):
    """Returns the learning rates of steps, 10 an epoch, under the optimizer that uses them."""
    found = learning_rate_schedule(TrainConfig(**fields), 10, framework)
    return [float(found(step)) if callable(found) else found for step in steps]


def test_learning_rates(network):
    framework = backend_of(network()).framework
    steps = (0, 4, 9, 19, 20, 39)
    assert rates(framework, steps, epochs=4, drop_epochs=(2,)) == pytest.approx(
        [0.1] * 4 + [0.01] * 2
    )
    constant = rates(framework, steps, epochs=4, schedule="constant", warmup_epochs=1)
    assert constant == pytest.approx([0.01, 0.05, 0.1, 0.1, 0.1, 0.1])
    cosine = rates(framework, steps, epochs=4, schedule="cosine")
    assert cosine == pytest.approx(
        [0.05 * (1 + np.cos(np.pi * step / 40)) for step in steps], abs=1e-7
    )
    warmed = rates(framework, steps, epochs=4, schedule="cosine", warmup_epochs=1)
    parts = [min((step + 1) / 10, 1) for step in steps]
    assert warmed == pytest.approx([part * rate for part, rate in zip(parts, cosine, strict=True)])
    assert rates(framework, steps, epochs=4, schedule="constant") == [0.1] * 6


def test_an_epoch_has_as_many_steps_as_planned(network, run_config):
    run_config.train.steps_per_execution, steps = 3, 4
    model, backend = network(), backend_of(network())
    if not backend.shortens_calls:
        expected = "steps_per_execution=3: expected a divisor of the 4 steps of an epoch"
        with pytest.raises(InputError, match=expected):
            recipe.compile_model(model, run_config, steps)
        run_config.train.steps_per_execution = 2
    recipe.compile_model(model, run_config, steps)
    batch = np.zeros((2, 8, 8, 1), np.float32), np.zeros(2, np.int32)
    stream = tf.data.Dataset.from_tensors(batch).repeat()
    model.fit(stream, epochs=2, steps_per_epoch=steps, verbose=0)
    assert int(model.optimizer.iterations.numpy()) == 2 * steps


def test_a_rising_learning_rate_comes_back_from_its_config(keras, network):
    framework = backend_of(network()).framework
    fields = TrainConfig(epochs=4, drop_epochs=(2,), warmup_epochs=1)
    schedule = learning_rate_schedule(fields, 10, framework)
    again = type(schedule).from_config(schedule.get_config())
    assert [float(again(step)) for step in (0, 25)] == pytest.approx([0.01, 0.01])
    warm = backend_of(network()).warmed_up(0.1, 5)
    assert float(type(warm).from_config(warm.get_config())(1)) == pytest.approx(0.04)


def test_smoothed_labels_are_those_of_keras(keras, network):
    backend, random = backend_of(network()), np.random.RandomState(0)
    labels, logits = random.randint(0, 3, 8), random.normal(size=(8, 3)).astype(np.float32)
    wanted = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    found = np.mean(backend.classification_loss(0.2)(labels, keras.ops.convert_to_tensor(logits)
                    if hasattr(keras, "ops") else logits))  # fmt: skip
    assert found == pytest.approx(
        float(wanted(np.eye(3, dtype=np.float32)[labels], logits)), rel=1e-5
    )


def test_optimizers_are_compiled_as_they_are_named(network, examples, monkeypatch):
    model, config = network(), Config()
    monkeypatch.setattr(recipe, "backend_named", lambda framework: backend_of(model))
    config.train.learning_rate, config.train.clip_norm = 1e-3, 1.0
    config.train.schedule, config.train.warmup_epochs = "cosine", 2
    config.train.label_smoothing = 0.1
    for name in ("sgd", *OPTIMIZERS, "sgd(nesterov=True, momentum=0.5)"):
        config.train.optimizer = name
        recipe.compile_model(model, config, 6)
        assert type(model.optimizer).__name__.lower() == name.partition("(")[0]
        assert model.optimizer.global_clipnorm == 1.0
        if name == "sgd":
            assert model.optimizer.momentum == config.train.momentum
    assert model.optimizer.momentum == 0.5 and model.optimizer.nesterov
    model.fit(*examples, epochs=1, batch_size=32, verbose=0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("optimizer", "adam(beta_3=1)", "expected parameters of adam among beta_1"),
        ("optimizer", "adan", "config.train.optimizer='adan': expected one of sgd"),
        ("optimizer", "adam(beta_1=-1)", "beta_1=-1: expected"),
        ("schedule", "linear", "config.train.schedule='linear': expected one of steps"),
        ("warmup_epochs", 60, "config.train.warmup_epochs=60: expected"),
        ("clip_norm", 0.0, "config.train.clip_norm=0.0: expected"),
        ("label_smoothing", 1.0, "config.train.label_smoothing=1.0: expected"),
    ],
)
def test_what_cannot_train_is_refused(field, value, words):
    train = TrainConfig()
    setattr(train, field, value)
    with pytest.raises(InputError, match="^" + "(?s:.*)" + words.replace("(", r"\(")):
        check_training(train)
