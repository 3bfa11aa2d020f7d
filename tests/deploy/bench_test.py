"""Networks timed in several runtimes: the arithmetic, what is refused, one real process."""

import contextlib
import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest
from small_ticket import plain_network, write_ticket

import tf_earlyticket as et
from tf_earlyticket.deploy import artefacts, bench, timing, vela
from tf_earlyticket.deploy import formats as forms
from tf_earlyticket.deploy.saved_model import filled_copy
from tf_earlyticket.errors import RunError


def test_the_interval_holds_what_differs_between_processes():
    found = timing.ratio_over_processes([[1, 3], [2, 4]], [[1, 1], [2, 2]])
    assert found["ratio"] == 1.5 and found["low"] == 1.0 and found["high"] == 3.0
    # Two processes that are sure of themselves, and disagree.
    found = timing.ratio_over_processes([[1] * 9, [2] * 9], [[1] * 9, [1] * 9])
    assert found == {"ratio": 1.5, "low": 1.0, "high": 2.0}
    assert timing.ratio_over_processes([[2, 2]], [[1, 1]])["high"] == 2.0


def test_a_summary_is_the_median_over_all_processes():
    def process(small, dense, again, memory=4e6):
        times = {"small": small, bench.DENSE: dense, bench.AGAIN: again}
        return {
            "seconds": {"1": {key: [value] for key, value in times.items()}},
            "load_ms": {"small": 1e3 * small, bench.DENSE: 1e3 * dense},
            "memory_bytes": {"small": memory, bench.DENSE: 2 * memory},
        }

    three = [process(0.1, 0.2, 0.2), process(0.1, 0.2, 0.22), process(0.3, 0.6, 0.6)]
    found = bench.summary(three, "small", 1)
    assert found["ms"] == 100 and found["dense_ms"] == 200 and found["ratio"] == 0.5
    assert found["control"] == 1.0 and found["control_high"] == pytest.approx(1.1)
    assert found["examples_per_second"] == 10
    assert (found["load_ms"], found["dense_load_ms"]) == (100, 200)
    assert (found["memory_bytes"], found["dense_memory_bytes"]) == (4e6, 8e6)
    three[0]["memory_bytes"]["small"] = None
    assert bench.summary(three, "small", 1)["memory_bytes"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtimes": ["torch"]}, "runtime='torch': expected one of tensorflow"),
        ({"runtimes": []}, "runtime=.*at least one of"),
        ({"precisions": ["int4"]}, "precision='int4': expected one of float32"),
        ({"batches": [0]}, "batch=0: expected an integer of at least 1"),
        ({"batches": []}, "batch=.*at least one number"),
        ({"threads": [-1]}, "threads=-1: expected"),
        ({"processes": 0}, "processes=0: expected"),
        ({"rounds": 0}, "rounds=0: expected"),
        ({"accelerator": "npu"}, "accelerator='npu': expected one of ethos-u55-32"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, message):
    with pytest.raises(et.InputError, match=message):
        bench.Options(**options)


def test_a_runtime_that_is_not_installed_is_left_out_with_how_to_get_it(monkeypatch):
    monkeypatch.setattr(forms, "find_spec", lambda name: None if name == "openvino" else object())
    told = []
    found = bench.with_runtimes(bench.Options(), told.append)
    assert found.runtimes == ["tensorflow", "litert", "onnxruntime"]
    assert told == ["openvino is left out, openvino not installed: pip install -e '.[bench]'"]
    with pytest.raises(et.InputError, match="runtime='openvino': expected an installed one: pip"):
        bench.with_runtimes(bench.Options(runtimes=["openvino"]), told.append)
    monkeypatch.setattr(forms, "find_spec", lambda name: None)
    with pytest.raises(et.InputError, match=r"pip install -e '\.\[vela\]'"):
        bench.with_runtimes(bench.Options(runtimes=["vela"]), told.append)
    assert told[-1] == "vela is left out, ethosu not installed: pip install -e '.[vela]'"


def test_every_round_times_every_network_once_in_its_own_order(monkeypatch, tmp_path):
    calls = []

    def opened(name, path, threads):
        calls.append(path.name)
        return lambda inputs: calls.append((path.name, len(inputs)))

    monkeypatch.setattr(artefacts, "opened", opened)
    monkeypatch.setattr(timing, "seconds", lambda work: (work(), 0.05)[1])
    np.save(tmp_path / "inputs.npy", np.zeros((4, 2)))
    order = {"format": "onnx", "files": {"small": "s", bench.DENSE: "d"}, "threads": 1}
    order |= {"inputs": str(tmp_path / "inputs.npy"), "batches": [1, 4], "rounds": 6, "seed": 0}
    found = bench.timed(order)
    assert found["seconds"]["4"] == {key: [0.05] * 6 for key in ("small", "dense", "dense again")}
    assert found["load_ms"] == dict.fromkeys(found["load_ms"], 50)
    rounds = [calls[-18:][start : start + 3] for start in range(0, 18, 3)]
    assert all(sorted(turn) == [("d", 4), ("d", 4), ("s", 4)] for turn in rounds)
    assert len({tuple(turn) for turn in rounds}) > 1
    # What is set up once is loaded once more than the networks.
    assert [call for call in calls if isinstance(call, str)][0] == "d"
    assert [call for call in calls if isinstance(call, str)].count("d") == 3


@pytest.fixture(scope="module")
def ticket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    ticket = write_ticket(folder / "ticket", plain_network(), 0.9)
    filled_copy(folder / "ticket" / "saved_model", ticket, folder / "dense")
    return folder


def test_a_fresh_process_measures(ticket):
    networks = {"mine": ticket / "ticket" / "saved_model"}
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
    options = bench.Options(["tensorflow"], ("float32", "int8"), (1, 3), (1,), 1, 2)
    told, outputs = [], []

    def accuracy(run):
        outputs.append(run(images))
        return 0.25

    rows = bench.measure(
        networks, ticket / "dense", images, options, accuracy=accuracy, tell=told.append
    )
    assert told == ["tensorflow, float32, 1 threads"]
    assert [(row["path"], row["batch"]) for row in rows] == [("mine", 1), ("mine", 3)]
    for row in rows:
        assert 0 < row["ms"] < 1e4 and 0 < row["dense_ms"] < 1e4 and row["load_ms"] > 0
        assert row["compressed_bytes"] < 0.6 * row["dense_compressed_bytes"]
        assert row["accuracy"] == 0.25
    reference = artefacts.opened("saved_model", networks["mine"])(images)
    np.testing.assert_allclose(outputs[0], reference, rtol=1e-5)


def test_a_runtime_that_cannot_take_a_network_is_left_out(ticket, monkeypatch):
    def fails(*arguments):
        raise RunError("no such operation")

    monkeypatch.setattr(artefacts, "made", fails)
    told = []
    options = dataclasses.replace(bench.Options(), runtimes=["tensorflow"])
    images = np.zeros((8, 8, 8, 1), np.float32)
    assert bench.measure({}, ticket / "dense", images, options, tell=told.append) == []
    assert told == ["tensorflow, float32 is left out: no such operation"]


def test_eight_bits_of_random_weights_may_differ_more(ticket, monkeypatch):
    def off_by_half(source, file, form, inputs):
        file.write_bytes(b"made")
        run = artefacts.opened("saved_model", source)
        return lambda inputs: 1.5 * run(inputs)

    monkeypatch.setattr(artefacts, "made", off_by_half)
    monkeypatch.setattr(bench, "_processes", lambda *arguments: [])
    monkeypatch.setattr(bench, "summary", lambda *arguments: {"ms": 1.0})
    images = np.ones((8, 8, 8, 1), np.float32)
    networks = {"mine": ticket / "ticket" / "saved_model"}
    options = bench.Options(["litert"], bench.PRECISIONS, (1,))
    told = []
    assert bench.measure(networks, ticket / "dense", images, options, tell=told.append) == []
    assert ["int8 is left out" in line for line in told] == [False, True]
    options, told = dataclasses.replace(options, int8_tolerance=1.0), []
    (row,) = bench.measure(networks, ticket / "dense", images, options, tell=told.append)
    assert row["precision"] == "int8"
    assert told[0].startswith("litert, float32 is left out: tflite: outputs differ")


def test_a_process_that_fails_costs_no_other(monkeypatch):
    @contextlib.contextmanager
    def files(*arguments):
        yield {key: (Path(key), None) for key in (bench.DENSE, "mine")}

    def processes(name, written, inputs, threads, options):
        if threads == 2:
            raise RunError("it was killed")
        return []

    monkeypatch.setattr(bench, "_files", files)
    monkeypatch.setattr(bench, "_processes", processes)
    monkeypatch.setattr(bench, "summary", lambda found, key, batch: {})
    monkeypatch.setattr(bench.artefacts, "sizes", lambda file: {"bytes": 1})
    options = bench.Options(["litert"], ["float32"], [1], [1, 2, 3], 1, 1)
    arguments = ({"mine": Path("mine")}, Path("dense"), np.zeros((1, 2)), options)
    failures = []
    rows = bench.measure(*arguments, tell=lambda text: None, failures=failures)
    assert [row["threads"] for row in rows] == [1, 3]
    assert failures == ["litert, float32, 2 threads: it was killed"]
    with pytest.raises(RunError, match="it was killed"):
        bench.measure(*arguments, tell=lambda text: None)


def test_a_process_that_takes_too_long_has_failed(monkeypatch):
    def run(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired("python", timeout)

    monkeypatch.setattr(subprocess, "run", run)
    options = bench.Options(["litert"], ["float32"], [1], [1], 1, 1)
    with pytest.raises(RunError, match="tflite: a process took over 3600 s"):
        bench._processes("tflite", {}, np.zeros((1, 2)), 1, options)
    with pytest.raises(RunError, match="vela took over 600 s for mine.tflite"):
        vela.estimate(Path("mine.tflite"), "ethos-u55-128")
