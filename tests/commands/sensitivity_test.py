"""The program `sensitivity` on a run that stopped before its ticket."""

import importlib
import json

import pytest
from matplotlib.image import imread

import tf_earlyticket as et
from tf_earlyticket.commands import sensitivity as program
from tf_earlyticket.config import Config
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.select import resolve_criterion


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of a small network."""
    config = Config()
    config.model.name, config.train.epochs, config.train.batch_size = "resnet8", 3, 64
    config.train.drop_epochs, config.data.train_examples = (), 256
    config.train.dense_baseline = False
    config.probe.detector = "fixed_epoch(epoch=1)"
    workdir = tmp_path_factory.mktemp("sensitivity") / "run"
    et.train_and_evaluate(config, workdir)
    return workdir


def test_layers_of_a_run_are_pruned_alone(run, tmp_path, monkeypatch, call_program):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    status, out, err = call_program(
        program, run, "--sparsities=0.5,0.9", "--sparsity=0.8", "--batches=1"
    )
    assert status == 0, err
    assert "stage1_block1_conv1/kernel" in out and "50 %" in out and "budget" in out
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    found = json.loads((tmp_path / "sensitivity.json").read_text())
    assert len(found["layers"]) == 6 and found["monitor"] == "accuracy"
    sizes = {layer["name"]: layer["size"] for layer in found["layers"]}
    gone = sum(found["budgets"][name] * size for name, size in sizes.items())
    assert gone == pytest.approx(0.8 * sum(sizes.values()))
    assert resolve_criterion("budgets(file='sensitivity.json')").budgets == found["budgets"]
    assert imread(tmp_path / "sensitivity.png").shape[1] == 900


def test_a_family_s_dense_network_has_the_goals_of_a_member(tmp_path, call_program):
    config = Config()
    config.model.name, config.pruning.structure = "resnet8", "channels"
    config.pruning.target, config.pruning.channel_floor = "macs:0.8,0.7", 0.5
    paths = RunPaths(tmp_path / "family")
    paths.claim(config)
    paths.result("dense").parent.mkdir(parents=True)
    paths.result("dense").write_text("{}")
    status, _, err = call_program(program, paths.workdir)
    assert status == 1 and "holds no checkpoint" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "RUN: expected the directory of one run"),
        (["nowhere"], "RUN='nowhere': expected the directory of a run"),
        (["nowhere", "--sparsities=1.5"], "--sparsities=1.5: expected"),
        (["nowhere", "--sparsities=x"], "--sparsities=['x']: expected numbers"),
        (["nowhere", "--sparsities="], "--sparsities=[]: expected numbers"),
        (["nowhere", "--batches=0"], "--batches=0: expected an integer of at least 1"),
        (["nowhere", "--sparsities=0.5", "--sparsity=0.8"], "--sparsity=0.8: expected"),
        (["nowhere", "--json=/"], "--json='/': expected a file, got a directory"),
        (["nowhere", "--output=a.pdf"], "--output='a.pdf': expected a file that ends in .png"),
    ],
)
def test_wrong_input_is_one_line(call_program, arguments, words):
    status, _, err = call_program(program, *arguments)
    assert status == 2 and words in err and len(err.strip().splitlines()) == 1


def test_the_function_is_there_when_the_program_is_imported_too():
    importlib.import_module("tf_earlyticket.sensitivity")
    with pytest.raises(et.InputError, match="sparsities=2"):
        et.sensitivity(None, None, (2,))
