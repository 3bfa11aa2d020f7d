"""A goal in place of a sparsity, in a whole run."""

import os

import pytest

import tf_earlyticket as et

FRAMEWORK = os.environ.get("FRAMEWORK", "tf_keras")

# What JAX makes of it has to be compiled for TensorFlow too.
pytestmark = [pytest.mark.slow] if FRAMEWORK == "keras_jax" else []


@pytest.fixture
def config(keras):
    def make(input_shape, num_classes, weight_decay, framework):
        layers = keras.layers
        return keras.Sequential(
            [
                layers.Input(input_shape),
                layers.Conv2D(4, 3, strides=2, activation="relu", name="first"),
                layers.Conv2D(8, 3, strides=2, activation="relu", name="second"),
                layers.Flatten(),
                layers.Dense(num_classes, name="classifier"),
            ]
        )

    et.register_model("two_convolutions", make)
    config = et.Config()
    config.data.train_examples, config.data.validation_examples = 128, 100
    config.model.name = "two_convolutions"
    config.model.keras = "tf_keras" if FRAMEWORK == "tf_keras" else "keras"
    config.train.epochs, config.train.batch_size, config.train.drop_epochs = 4, 32, (3,)
    config.pruning.rewind_epoch = config.pruning.ramp_epochs = config.pruning.hold_epochs = 1
    config.probe.every_epochs = 1
    config.pruning.family = (0.5, 0.9)
    return config


def test_the_sparsest_ticket_that_should_meet_a_goal_is_trained(config, tmp_path):
    config.pruning.goal = "accuracy>=dense-100"
    report = et.train_family(config, tmp_path)
    goal = report["goal"]
    assert goal["met"] and goal["ticket"] == "tickets/0.9/ticket"
    dense, sparse = goal["candidates"]
    # Each had its probes; one was trained.
    assert 0 <= dense["predicted_accuracy"] <= 1 and 0 <= sparse["predicted_accuracy"] <= 1
    assert dense["validation_accuracy"] is None and 0 < sparse["validation_accuracy"] <= 1
    assert et.Ticket.load(tmp_path / goal["ticket"]).sparsity == pytest.approx(0.9, abs=0.01)
    assert [member["goal"] for member in report["family"]] == ["0.9"]
