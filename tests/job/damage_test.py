"""A run directory tells the truth: what is damaged or gone is made again, or the run says so."""

import json
import logging
import os
import pickle
import shutil
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
import tensorflow as tf
from jobs import tiny_config

import tf_earlyticket as et
from tf_earlyticket.errors import RunError
from tf_earlyticket.files import write_arrays


@pytest.fixture
def again(runs, tmp_path, monkeypatch):
    """Returns a function that damages a copy of a run and continues it: (before, after)."""
    # Would be switched on for all tests that follow.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)

    def do(damage, run="whole"):
        workdir = tmp_path / run
        shutil.copytree(runs / run, workdir)
        (workdir / "report.json").unlink()
        damage(workdir)
        fields = {"pruning__mode": "rewind", "train__dense_baseline": False}
        config = tiny_config(**(fields if run == "rewind" else {}))
        after = et.train_and_evaluate(config, workdir)
        return json.loads((runs / run / "report.json").read_text()), after

    return do


def _flip(path):
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :])


def _without_outcome(workdir):
    shutil.rmtree(workdir / "ticket")
    shutil.rmtree(workdir / "checkpoints/evaluation")


def _assert_same(before, after):
    assert after["start_epoch"] == before["start_epoch"]
    # Without op determinism the last epoch is made again up to rounding.
    for part in ("ticket", "dense"):
        if before[part] is not None:
            expected = before[part]["test_accuracy"]
            assert after[part]["test_accuracy"] == pytest.approx(expected, abs=0.02)


_DATA = "ckpt-6.data-00000-of-00001"
_SLOW = [
    (Path.unlink, "state-6.json"),
    (_flip, _DATA),
    (_flip, "state-6.json"),
    (Path.unlink, _DATA),
    (Path.unlink, "ckpt-6.index"),
]


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (_flip, "ckpt-6.index"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in _SLOW),
    ],
)
def test_the_epoch_before_never_passes_for_the_end_of_a_search(again, caplog, name, damage):
    def act(workdir):
        _without_outcome(workdir)
        damage(workdir / "checkpoints/search" / name)

    with caplog.at_level(logging.WARNING):
        before, after = again(act)
    assert f"search/{name} is damaged or gone; the phase search ends anew" in caplog.text
    _assert_same(before, after)


def test_a_search_without_checkpoints_is_made_again_before_its_ticket_is_trained(again):
    def act(workdir):
        _without_outcome(workdir)
        for path in (workdir / "checkpoints/search").glob("*-*"):
            path.unlink()

    _assert_same(*again(act, "rewind"))


@pytest.mark.parametrize("gone", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_dense_network_that_is_gone_is_trained_again_from_the_branch(again, tmp_path, gone):
    dense = tmp_path / "whole" / "checkpoints" / "dense"

    def act(workdir):
        _without_outcome(workdir)
        if gone:
            shutil.rmtree(dense)
            return
        # Stopped after its first epoch, the only one that there is a checkpoint of.
        for path in dense.glob("*"):
            if path.name == "result.json" or "-5" in path.name:
                path.unlink()
        _flip(dense / "ckpt-6.index")

    branch = tmp_path / "whole" / "checkpoints" / "branch"
    _assert_same(*again(act))
    assert list(branch.glob("state-*.json"))


def test_without_the_branch_the_dense_network_is_trained_from_its_beginning(again):
    def act(workdir):
        _without_outcome(workdir)
        shutil.rmtree(workdir / "checkpoints/dense")
        shutil.rmtree(workdir / "checkpoints/branch")

    _assert_same(*again(act))


@pytest.mark.parametrize("part", ["", "masks.safetensors", "saved_model/saved_model.pb"])
def test_a_ticket_that_is_gone_is_exported_again(runs, tmp_path, monkeypatch, part):
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    workdir = tmp_path / "run"
    shutil.copytree(runs / "whole", workdir)
    path = workdir / "ticket" / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = json.loads((workdir / "report.json").read_text())
    after = et.train_and_evaluate(tiny_config(), workdir)
    assert after["ticket"]["layers"] == before["ticket"]["layers"]
    et.Ticket.load(workdir / "ticket")
    assert (workdir / "ticket/saved_model/saved_model.pb").exists()


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _foreign(path):
    write_arrays(path, {"stem_conv/kernel": np.zeros(3, np.float32)})


def _pickled(path):
    path.write_bytes(pickle.dumps({"stem_conv/kernel": 1}))


@pytest.mark.parametrize("damage", [_flip, _cut, _foreign, _pickled, Path.unlink])
@pytest.mark.parametrize("run", ["whole", "rewind"])
def test_damaged_rewind_weights_are_told_in_one_line(again, run, damage):
    def act(workdir):
        _without_outcome(workdir)
        if run == "rewind":
            shutil.rmtree(workdir / "checkpoints/retrain")
        damage(workdir / "checkpoints/rewind_weights.safetensors")

    with pytest.raises(RunError, match=r"^\S+/rewind_weights.safetensors [^\n]*new --workdir.$"):
        again(act, run)


def test_rows_of_finished_phases_come_back(again, runs, tmp_path):
    again(lambda workdir: (workdir / "metrics.csv").unlink())
    after = (tmp_path / "whole/metrics.csv").read_text()
    assert after == (runs / "whole/metrics.csv").read_text()


def test_all_that_a_run_writes_is_brought_to_the_disk(again, tmp_path, monkeypatch):
    synced, real = set(), os.fsync

    def fsync(descriptor):
        found = os.fstat(descriptor)
        synced.add((found.st_ino, found.st_size, found.st_mtime_ns))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    started = time.time()

    def act(workdir):
        _without_outcome(workdir)
        (workdir / "checkpoints/search/ckpt-6.index").unlink()

    again(act)
    written = {
        path: path.stat()
        for path in (tmp_path / "whole").rglob("*")
        # Summaries are not promised.
        if path.is_file() and "tensorboard" not in path.parts and path.name != ".lock"
    }
    written = {path: found for path, found in written.items() if found.st_mtime >= started}
    names = {path.name for path in written}
    assert {"saved_model.pb", "ckpt-6.index", "checkpoint", "ppr.png", "metrics.csv"} <= names
    assert not [
        path
        for path, found in written.items()
        if (found.st_ino, found.st_size, found.st_mtime_ns) not in synced
    ]


def test_another_process_in_the_directory_is_told_of_and_changes_nothing(runs, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(runs / "whole", workdir)
    (workdir / "report.json").unlink()
    with (
        filelock.FileLock(workdir / ".lock"),
        pytest.raises(et.InputError, match=f"--workdir={workdir}: another process is at work"),
    ):
        et.train_and_evaluate(tiny_config(), workdir)
    assert not (workdir / "report.json").exists()


def test_a_directory_with_files_but_no_config_is_refused(runs, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(runs / "whole", workdir)
    (workdir / "config.json").unlink()
    with pytest.raises(et.InputError, match="it holds files but no config.json"):
        et.train_and_evaluate(tiny_config(), workdir)
    assert not (workdir / "config.json").exists()
