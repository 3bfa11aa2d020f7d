"""Several devices, several processes and XLA do what one device does with the same batch."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from jobs import TWO_DEVICES

import tf_earlyticket as et
from tf_earlyticket.config import config_from_dict
from tf_earlyticket.job.devices import config_for_replicas

FOLDER = Path(__file__).parents[1] / "helpers"
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(et.__file__).parents[1]),
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
TINY = (
    "--config.data.train_examples=128",
    "--config.data.validation_examples=100",
    "--config.model.name=resnet8",
    "--config.train.epochs=6",
    "--config.train.drop_epochs=(3,)",
    "--config.train.deterministic=true",
    "--config.train.dense_baseline=false",
)


def _free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _workers(command, **options):
    """Starts two workers of one job over loopback and returns their processes."""
    workers = [f"localhost:{port}" for port in _free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        environment = {**ENVIRONMENT, "TF_CONFIG": config}
        log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, env=environment, **{**log, **options}))
    return processes


def _finish(processes):
    try:
        for process in processes:
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors[-2000:]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    """Returns what 50 steps on one device end with."""
    folder = tmp_path_factory.mktemp("one_device")
    return _same_steps("one_device", folder)["one_device0"]


def _same_steps(name, folder, *framework, **environment):
    command = [sys.executable, str(FOLDER / "same_steps.py"), name, str(folder), *framework]
    if name == "multi_worker":
        _finish(_workers(command))
    else:
        environment = ENVIRONMENT | environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}


def _assert_same(values, wanted):
    assert set(values) == set(wanted)
    kept = [mask for name, mask in values.items() if name.startswith("mask:")]
    assert sum(map(np.sum, kept)) == round(0.25 * sum(mask.size for mask in kept))
    for name, value in values.items():
        if name.startswith("mask:"):
            np.testing.assert_array_equal(value, wanted[name])
        else:
            np.testing.assert_allclose(value, wanted[name], rtol=0, atol=1e-5, err_msg=name)
    assert len(values["probes"]) == 3


def test_two_devices_do_what_one_does(one_device, tmp_path):
    _assert_same(_same_steps("mirrored", tmp_path)["mirrored0"], one_device)


@pytest.mark.parametrize("backend", [pytest.param("tensorflow", marks=pytest.mark.slow), "jax"])
def test_two_devices_do_what_one_does_under_keras_3(backend, tmp_path):
    environment = {"KERAS_BACKEND": backend, "XLA_FLAGS": TWO_DEVICES}
    ends = _same_steps("one_device,mirrored", tmp_path, "keras", **environment)
    _assert_same(ends["mirrored0"], ends["one_device0"])


# Its fast sibling is that of two devices, in one process.
@pytest.mark.slow
def test_two_processes_do_what_one_does(one_device, tmp_path):
    ends = _same_steps("multi_worker", tmp_path)
    for name in ("multi_worker0", "multi_worker1"):
        _assert_same(ends[name], one_device)


def test_xla_does_what_the_plain_graph_does(one_device, tmp_path):
    _assert_same(_same_steps("xla", tmp_path)["xla0"], one_device)


# Its fast sibling is in behaviour/pruned_model_test.py.
@pytest.mark.slow
def test_several_steps_per_execution_are_the_same_bit_for_bit(one_device, tmp_path):
    ends = _same_steps("several_steps", tmp_path)["several_steps0"]
    for name, value in one_device.items():
        np.testing.assert_array_equal(ends[name], value, err_msg=name)


@pytest.mark.slow
def test_a_report_of_scaled_training_repeats_it_and_scales_no_more(tmp_path):
    command = [sys.executable, str(FOLDER / "jobs.py"), str(tmp_path), "scaled"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "scaled/report.json").read_text())
    given = json.loads((tmp_path / "scaled/config.json").read_text())
    provenance = et.Ticket.load(tmp_path / "scaled/ticket").provenance["config"]
    assert (given["train"]["batch_size"], given["train"]["scale_with_replicas"]) == (16, True)
    assert report["environment"]["replicas"] == 2
    for repeated in (report["config"], provenance):
        config = config_from_dict(repeated)
        assert (config.train.batch_size, config.train.learning_rate) == (32, 0.1)
        assert config_for_replicas(config, types.SimpleNamespace(num_replicas_in_sync=2)) == config


def _train(workdir):
    return [
        *(sys.executable, "-m", "tf_earlyticket.train", "--strategy=multi_worker"),
        *(*TINY, f"--workdir={workdir}"),
    ]


def _outcome(workdir):
    report = json.loads((workdir / "report.json").read_text())
    ticket = et.Ticket.load(workdir / "ticket")
    probes = {name: v for name, v in report["probe"].items() if name != "seconds"}
    return report["ticket"], probes, report["start_epoch"], report["cost"], ticket


@pytest.mark.slow
def test_a_killed_worker_s_job_continues_from_the_last_checkpoint(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(_workers(_train(whole)))
    chief, other = _workers(_train(killed))
    checkpoints = killed / "checkpoints" / "search"
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("ckpt-3.index")) and time.monotonic() < deadline:
        time.sleep(0.05)
    other.send_signal(signal.SIGKILL)
    other.wait()
    # The chief cannot go on alone.
    assert chief.wait(timeout=200) not in (0, 2)
    assert not (killed / "report.json").exists()
    _finish(_workers(_train(killed)))
    *numbers, ticket = _outcome(killed)
    *wanted_numbers, wanted = _outcome(whole)
    assert numbers == wanted_numbers
    for name, mask in wanted.masks.items():
        np.testing.assert_array_equal(ticket.masks[name], mask)
    # Whatever a worker that is not the chief wrote is gone.
    assert sorted(path.name for path in killed.iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )
