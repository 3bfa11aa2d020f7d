"""Estimates for an Ethos-U: by a stand-in for Vela's command, and by Vela where it is installed."""

import dataclasses
import json
from importlib.util import find_spec

import numpy as np
import pytest
from small_ticket import plain_network, write_ticket

from tf_earlyticket import bench as program
from tf_earlyticket.deploy import bench, vela
from tf_earlyticket.deploy.saved_model import filled_copy
from tf_earlyticket.errors import RunError

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype(np.float32)
# Counts ten cycles for each byte of a file but its zeros.
STAND_IN = """
import pathlib, sys
path, accelerator, output = sys.argv[1:]
content = pathlib.Path(path).read_bytes()
if content == b"no network":
    sys.exit("Error: invalid tflite file")
kept = len(content) - content.count(0)
folder = pathlib.Path(output.removeprefix("--output-dir="))
row = {
    "accelerator_configuration": accelerator.removeprefix("--accelerator-config="),
    "system_config": "Made_Up", "memory_mode": "Shared", "total_npu_encoded_weights": kept,
    "cycles_npu": 500, "cycles_total": 0 if content == b"float" else 10.0 * kept,
}
name = pathlib.Path(path).stem + "_summary_Made_Up.csv"
(folder / name).write_text("\\n".join([",".join(row), ",".join(map(str, row.values()))]))
print("CPU operators = 2 (25.0%)")
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    package = tmp_path / "packages" / "ethosu" / "vela"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").touch()
    (package / "__main__.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(str(package.parents[1]))
    monkeypatch.setenv("PYTHONPATH", str(package.parents[1]))


@pytest.fixture(scope="module")
def ticket(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vela")
    ticket = write_ticket(folder / "ticket", plain_network(), 0.9)
    filled_copy(folder / "ticket" / "saved_model", ticket, folder / "dense")
    return folder


def test_the_table_is_read(stand_in, tmp_path):
    file = tmp_path / "mine.tflite"
    file.write_bytes(b"123\0")
    assert vela.estimate(file, "ethos-u55-128") == {
        "cycles": 30,
        "arithmetic_cycles": 500,
        "weight_bytes": 3,
        "cpu_operators": 2,
        "system": "Made_Up",
        "memory_mode": "Shared",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no network", "vela refuses mine.tflite: Error: invalid tflite file"),
        (b"float", "ethos-u65-256 can take nothing of mine.tflite: expected one of 8 bits"),
    ],
)
def test_a_file_that_cannot_be_estimated_is_refused(stand_in, tmp_path, content, message):
    file = tmp_path / "mine.tflite"
    file.write_bytes(content)
    with pytest.raises(RunError, match=message):
        vela.estimate(file, "ethos-u65-256")


def test_a_network_that_cannot_be_estimated_is_left_out(ticket, monkeypatch):
    def refuses(path, accelerator):
        raise RunError("vela refuses it")

    monkeypatch.setattr(vela, "estimate", refuses)
    options, told = bench.Options(["litert", "vela"], ["int8"]), []
    assert bench.estimates({}, ticket / "dense", IMAGES, options, tell=told.append) == []
    assert told == ["vela, int8 is left out: vela refuses it"]
    options = dataclasses.replace(options, precisions=["float32"])
    assert bench.estimates({}, ticket / "dense", IMAGES, options, tell=told.append) == []
    assert len(told) == 1


def test_the_program_prints_estimates_and_leaves_timings_as_they_are(
    stand_in, ticket, call_program, tmp_path
):
    out = tmp_path / "out.json"
    arguments = ["--runtime=vela", "--accelerator=ethos-u55-64", f"--json={out}", "--output="]
    status, printed, told = call_program(program, str(ticket / "ticket"), *arguments)
    assert status == 0, told
    found = json.loads(out.read_text())
    (row,) = found["estimates"]
    assert found["rows"] == [] and row["accelerator"] == "ethos-u55-64"
    assert row["weight_bytes"] < 0.6 * row["dense_weight_bytes"]
    assert f"{row['cycles']:,}" in printed and "nothing was run" in printed


@pytest.mark.skipif(find_spec("ethosu") is None, reason="needs the extra `vela`")
def test_vela_estimates_fewer_weight_bytes_for_zeros(ticket):
    networks = {"mine": ticket / "ticket" / "saved_model"}
    (row,) = bench.estimates(networks, ticket / "dense", IMAGES, bench.Options(["vela"]))
    # 90 % of 11,520 weights are zero, of 11,971 in all.
    assert row["weight_bytes"] < 0.4 * row["dense_weight_bytes"] < 12_000
    assert 0 < row["arithmetic_cycles"] < row["cycles"] < row["dense_cycles"]
    # Numbers become integers on the way in, and no longer are on the way out.
    assert row["cpu_operators"] == row["dense_cpu_operators"] == 2
    assert row["system"] == "Ethos_U55_High_End_Embedded"
