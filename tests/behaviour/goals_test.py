"""A goal in place of a sparsity, in a whole run."""

import os

import pytest

import tf_earlyticket as et

FRAMEWORK = os.environ.get("FRAMEWORK", "tf_keras")

# What JAX makes of it has to be compiled for TensorFlow too.
pytestmark = [pytest.mark.slow] if FRAMEWORK == "keras_jax" else []


def test_the_sparsest_ticket_that_should_meet_a_goal_is_trained(run_config, tmp_path):
    config = run_config
    config.pruning.family = (0.5, 0.9)
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
