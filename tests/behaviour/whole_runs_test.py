"""Whole runs whose plans leave a phase little to do, or data that it would ask for in vain."""

import os

import pytest

import tf_earlyticket as et
from tf_earlyticket.errors import InputError
from tf_earlyticket.job import job

# Whole runs are the same code under every Keras.
pytestmark = [pytest.mark.slow] if os.environ.get("FRAMEWORK", "tf_keras") != "tf_keras" else []


def test_updates_that_look_at_gradients_need_none_in_the_dense_training(
    run_config, tmp_path, monkeypatch
):
    run_config.pruning.update = "swap"
    run_config.probe.detector = "fixed_epoch(epoch=2)"
    finished = job.train_dense

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "train_dense", killed)
    with pytest.raises(KeyboardInterrupt):
        et.train_and_evaluate(run_config, tmp_path)
    monkeypatch.setattr(job, "train_dense", finished)
    report = et.train_and_evaluate(run_config, tmp_path)
    assert report["ticket"]["sparsity"] == pytest.approx(0.8, abs=1e-2)
    assert report["dense"]["test_accuracy"] > 0


@pytest.mark.slow
def test_they_need_none_without_a_start_either(run_config, tmp_path):
    run_config.pruning.update, run_config.pruning.schedule = "swap", "one_cycle"
    report = et.train_and_evaluate(run_config, tmp_path)
    assert report["start_epoch"] == 0 and report["dense"]["test_accuracy"] > 0


def test_pruning_may_start_at_the_very_end(run_config, tmp_path):
    run_config.train.epochs = 3
    run_config.pruning.ramp_epochs = run_config.pruning.hold_epochs = 0
    run_config.probe.detector = "fixed_epoch"
    report = et.train_and_evaluate(run_config, tmp_path)
    assert report["start_epoch"] == 3
    assert report["ticket"]["sparsity"] == pytest.approx(0.8, abs=1e-2)
    # The dense network is the one that was pruned: more of it is left than of the ticket.
    assert report["dense"]["test_accuracy"] > 0


def test_one_ticket_and_several_are_asked_for_in_two_ways(run_config, tmp_path):
    with pytest.raises(InputError, match=r"config.pruning.family=\(\): expected several goals"):
        et.train_family(run_config, tmp_path / "run")
    run_config.pruning.family = (0.5, 0.8)
    with pytest.raises(InputError, match=r"family=\(0.5, 0.8\): expected one ticket; et.train_fam"):
        et.train_and_evaluate(run_config, tmp_path / "run")
    run_config.pruning.family, run_config.pruning.goal = (), "accuracy>=dense-1"
    with pytest.raises(InputError, match="goal='accuracy>=dense-1': expected one ticket"):
        et.train_and_evaluate(run_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_ticket_of_a_family_is_checked_before_training(run_config, tmp_path):
    run_config.pruning.structure = "2:4"
    run_config.pruning.family = (0.5, 0.8)
    with pytest.raises(InputError, match=r"config.pruning.final_sparsity=0.8: expected 0.5"):
        et.train_family(run_config, tmp_path / "run")
    run_config.pruning.structure, run_config.pruning.family = "channels", ()
    run_config.pruning.channel_multiple, run_config.pruning.target = 1, "macs:0.9,0.01"
    with pytest.raises(InputError, match=r"target='macs:0.01': final_sparsity=0.99: expected at m"):
        et.train_family(run_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
