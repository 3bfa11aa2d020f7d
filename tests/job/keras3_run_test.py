"""Whole runs under Keras 3: they end with a ticket, interrupted or not, on every backend."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jobs import QUICK_XLA, TWO_DEVICES

import tf_earlyticket as et
from tf_earlyticket import backends, train

ROOT = Path(et.__file__).parents[1]
JOBS = ["keras_whole", "keras_interrupted", "keras_terminated"]
FAST = ["keras_whole", "keras_terminated"]


@pytest.fixture(scope="module", params=[pytest.param("tensorflow", marks=pytest.mark.slow), "jax"])
def runs(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    jobs = FAST if request.config.option.markexpr == "not slow" else JOBS
    _run(request.param, folder, jobs)
    return folder


def _run(backend, folder, jobs, xla_flags=QUICK_XLA):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": backend,
        "XLA_FLAGS": xla_flags,
        # The jobs compile the same network.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, str(ROOT / "tests/helpers/jobs.py"), str(folder), *jobs]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("seconds", "environment")}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _report(workdir):
    return json.loads((workdir / "report.json").read_text())


def _rows(workdir):
    with open(workdir / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_a_run_ends_with_a_ticket_that_tensorflow_loads(runs):
    import tensorflow as tf

    workdir = runs / "keras_whole"
    report = _report(workdir)
    assert report["ticket"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    assert report["dense"]["test_accuracy"] > 0 and len(report["probe"]["epochs"]) == 4
    assert "keras" in report["environment"]["packages"]
    for name in ("report.html", "metrics.csv", "figures/ppr.png"):
        assert (workdir / name).stat().st_size > 0
    ticket = et.Ticket.load(workdir / "ticket")
    assert ticket.rewind_epoch == 1 and ticket.start_epoch == report["start_epoch"]
    loaded = tf.saved_model.load(str(workdir / "ticket/saved_model"))
    assert loaded.serve(np.zeros((3, 16, 16, 1), np.float32)).shape == (3, 10)


@pytest.mark.parametrize(
    "job", [pytest.param("keras_interrupted", marks=pytest.mark.slow), "keras_terminated"]
)
def test_an_interrupted_run_ends_as_if_it_was_not(runs, job):
    _assert_same(runs / "keras_whole", runs / job)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_an_interrupted_run_on_two_devices_ends_as_if_it_was_not(backend, tmp_path):
    _run(backend, tmp_path, ["keras_mirrored", "keras_mirrored_interrupted"], TWO_DEVICES)
    assert _report(tmp_path / "keras_mirrored")["environment"]["replicas"] == 2
    _assert_same(tmp_path / "keras_mirrored", tmp_path / "keras_mirrored_interrupted")


def _assert_same(whole, other):
    assert _timeless(_report(whole)) == _timeless(_report(other))
    assert _timeless(_rows(whole)) == _timeless(_rows(other))
    tickets = [et.Ticket.load(workdir / "ticket") for workdir in (whole, other)]
    for field in ("masks", "rewind_weights", "final_weights"):
        left, right = (getattr(ticket, field) for ticket in tickets)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    assert len(list((other / "checkpoints/search").glob("ckpt-*.npz"))) == 2


def test_a_keras_that_is_not_installed_is_one_clear_line(call_program, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None if name == "tf_keras" else 1)
    status, _, err = call_program(train, f"--workdir={tmp_path / 'run'}")
    assert (
        status == 2
        and "config.model.keras='tf_keras': tf_keras not installed; expected 'keras'" in err
    )
    assert err.count("\n") == 1 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--keras=keras", "--strategy=tpu"], "'tpu': expected one of auto, one_device, mirrored"),
        (["--keras=keras", "--strategy=multi_worker"], "with config.model.keras='keras'"),
        (["--keras=torch"], "--keras=torch"),
        (["--config.model.keras=keras2"], "config.model.keras='keras2'"),
    ],
)
def test_what_keras_3_does_not_do_is_refused(call_program, tmp_path, arguments, part):
    status, _, err = call_program(train, f"--workdir={tmp_path / 'run'}", *arguments)
    assert status == 2 and part in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()
