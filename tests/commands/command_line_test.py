"""What a program says while it starts, its tables, and files that it reads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reports import made_up_report

from tf_earlyticket.commands import command_line, notices
from tf_earlyticket.commands.bench import dense_of_run
from tf_earlyticket.commands.export import data_of, read_array
from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError

ROOT = Path(__file__).parents[2]
# Stands in for TensorFlow: a package that writes past sys.stderr while it is imported.
PACKAGE = """
import os

os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\\n")
os.write(2, b"I0000 00:00:1 2 port.cc:153] custom operations are on\\n")
os.write(2, b"E0000 00:00:1 2 file.cc:7] something is wrong\\n")
if "FAIL" in os.environ:
    raise ImportError("a library is missing")
if "DIE" in os.environ:
    os.write(2, b"F0000 00:00:1 2 cpu.cc:1] this processor will not do\\n")
    os.abort()


class config:
    list_physical_devices = staticmethod(lambda: os.write(2, b"I0000 00:00:1 2 x.cc:1] none\\n"))
"""
PROGRAM = """
import sys

from absl import flags

from tf_earlyticket.commands import command_line

flags.FLAGS(sys.argv)
command_line.import_tensorflow()
print("after", file=sys.stderr)
"""


def _said(tmp_path, *arguments, **variables):
    (tmp_path / "tensorflow.py").write_text(PACKAGE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", **variables}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stderr


def test_notices_of_the_import_are_hidden_and_errors_are_not(tmp_path):
    assert _said(tmp_path).splitlines() == [
        "E0000 00:00:1 2 file.cc:7] something is wrong",
        "after",
    ]


def test_who_asks_for_more_is_told_everything(tmp_path):
    # The program then imports TensorFlow when it needs it, here never.
    assert _said(tmp_path, "--verbosity=0").splitlines() == ["after"]


def test_a_failed_import_says_why(tmp_path):
    said = _said(tmp_path, FAIL="1")
    assert "something is wrong" in said and "a library is missing" in said


def test_what_an_import_dies_of_is_said(tmp_path):
    assert "this processor will not do" in _said(tmp_path, DIE="1")


@pytest.mark.parametrize("there", [False, True])
def test_that_there_is_no_gpu_is_an_error_only_where_there_is_one(monkeypatch, there):
    monkeypatch.setattr(notices.Path, "exists", lambda path: there)
    line = "E0000 00:00:1 2 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
    assert notices.is_notice(line) is not there


def test_names_in_a_table_are_shown_as_they_are(capsys):
    command_line.print_table(["run", "epochs"], [["runs/[red]a[/]:warning:", "3"]])
    assert "runs/[red]a[/]:warning:" in capsys.readouterr().out


@pytest.mark.parametrize("content", [{"a": np.ones(2)}, np.float32(1)], ids=["npz", "number"])
def test_calibration_is_an_array_of_examples(tmp_path, content):
    path = tmp_path / "images"
    with open(path, "wb") as file:
        (np.savez if isinstance(content, dict) else np.save)(file, content)
    with pytest.raises(InputError, match="--calibration='.*images': expected a .npy file of an"):
        read_array(path)


def test_the_data_of_a_ticket_are_there_whatever_else_it_was_made_by(tmp_path):
    config = Config()
    config.model.name, config.model.file = "file/gone", str(tmp_path / "gone.keras")
    config.pruning.ranking = "budgets(file='gone.json')"
    config.probe.detector = config.pruning.schedule = "of_an_extension"
    config.ticket = str(tmp_path / "gone")
    found = data_of(SimpleNamespace(provenance={"config": config.to_dict()}), None)
    assert found.spec.name == "digits"
    config.data.train_examples = 0
    with pytest.raises(InputError, match="config.data.train_examples=0"):
        data_of(SimpleNamespace(provenance={"config": config.to_dict()}), None)
    assert data_of(SimpleNamespace(provenance={}), None) is None


def test_a_dense_network_is_that_of_the_run_whose_own_ticket_it_is(tmp_path):
    report = tmp_path / "report.json"
    report.write_text(json.dumps(made_up_report().to_json()))
    assert dense_of_run(tmp_path / "ticket").test_accuracy == 0.9174
    assert dense_of_run(tmp_path / "another") is None
    report.write_text("{}")
    assert dense_of_run(tmp_path / "ticket") is None


@pytest.mark.parametrize("sign", ["=", " "])
def test_several_final_sparsities_are_a_family(sign):
    given = f"a --config.pruning.final_sparsity{sign}0.5,0.8 --seed{sign}1".split()
    found = " ".join(command_line._families(given))
    assert found == f"a --config.pruning.family=0.5,0.8 --seed{sign}1"
    single = f"--config.pruning.final_sparsity{sign}0.5 --seed 1".split()
    assert (
        " ".join(command_line._families(single)) == "--config.pruning.final_sparsity=0.5 --seed 1"
    )
