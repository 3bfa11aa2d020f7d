"""A family of tickets: each is what its own run makes, wherever the family was interrupted."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from compare_runs import differences
from jobs import family_config, tiny_config

import tf_earlyticket as et
from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.job.build import family_of
from tf_earlyticket.job.checkpoint import NoCheckpoint
from tf_earlyticket.job.family import _train_all
from tf_earlyticket.job.preflight import check_config, check_run
from tf_earlyticket.job.workdir import RunPaths

JOBS = Path(__file__).parents[1] / "helpers" / "jobs.py"


def _do(folder, *jobs, backend="tensorflow"):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(et.__file__).parents[1]),
        "KERAS_BACKEND": backend,
    }
    command = [sys.executable, str(JOBS), str(folder), *jobs]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def _of(keras):
    """Returns how jobs of a Keras end, and its backend."""
    return ("", "tensorflow") if keras == "tf_keras" else ("_keras", keras.partition("_")[2])


def _assert_members_are_single_runs(family, singles):
    report = json.loads((family / "report.json").read_text())
    starts = []
    for member in report["family"]:
        single = singles[member["goal"]]
        assert differences(single, (family / member["ticket"]).parent) == []
        alone = json.loads((single / "report.json").read_text())
        assert member["test_accuracy"] == alone["ticket"]["test_accuracy"]
        assert report["dense"] == alone["dense"]
        starts.append(member["start_epoch"])
    assert len(set(starts)) == 2, starts
    cost = report["cost"]
    assert cost["dense_epochs"] == 8
    assert cost["total_epochs"] == 8 + sum(8 - (start - 1) for start in starts)
    assert cost["single_runs_epochs"] == sum(8 + (8 - start) for start in starts)
    for name in ("report.html", "figures/family.png"):
        assert (family / name).stat().st_size > 2000


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    single = ["family_0.9"] if request.config.option.markexpr != "not slow" else []
    _do(folder, "family_interrupted", *single)
    return folder


def test_an_interrupted_family_ends_with_both_tickets(runs):
    family = runs / "family_interrupted"
    for goal in ("0.5", "0.9"):
        ticket = et.Ticket.load(family / "tickets" / goal / "ticket")
        assert ticket.sparsity == pytest.approx(float(goal), abs=1e-3)
    report = json.loads((family / "report.json").read_text())
    assert [member["goal"] for member in report["family"]] == ["0.5", "0.9"]
    assert (family / "report.html").stat().st_size > 2000


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["tickets/0.9", "checkpoints", "report.json"])
def test_what_is_lost_is_made_again(runs, tmp_path, lost):
    family = tmp_path / "family_whole"
    shutil.copytree(runs / "family_interrupted", family)
    before = json.loads((family / "report.json").read_text())
    there = family / lost
    shutil.rmtree(there) if there.is_dir() else there.unlink()
    _do(tmp_path, "family_whole")
    assert differences(runs / "family_0.9", family / "tickets" / "0.9") == []
    after = json.loads((family / "report.json").read_text())
    for member in (*before["family"], *after["family"]):
        # A SavedModel has names in it that Keras numbers anew.
        del member["bytes"]
    assert after["family"] == before["family"] and after["cost"] == before["cost"]


@pytest.mark.slow
@pytest.mark.parametrize("keras", ["tf_keras", "keras_tensorflow", "keras_jax"])
def test_every_ticket_is_that_of_its_own_run(tmp_path, keras):
    ending, backend = _of(keras)
    jobs = (f"{ending}_interrupted", f"{ending}_whole", f"_0.5{ending}", f"_0.9{ending}")
    _do(tmp_path, *(f"family{job}" for job in jobs), backend=backend)
    singles = {goal: tmp_path / f"family_{goal}{ending}" for goal in ("0.5", "0.9")}
    for way in ("interrupted", "whole"):
        _assert_members_are_single_runs(tmp_path / f"family{ending}_{way}", singles)


def test_a_ticket_that_cannot_go_on_costs_no_other(tmp_path, caplog):
    runs = {goal: SimpleNamespace(paths=RunPaths(tmp_path / goal)) for goal in ("0.5", "0.8")}

    def train(goal):
        if goal in lost:
            raise NoCheckpoint(f"none of {goal}")
        return {"goal": goal}

    lost = ["0.5"]
    with pytest.raises(RunError, match=f"^{tmp_path / '0.5'}: expected checkpoints that .*anew"):
        _train_all(runs, train)
    assert "none of 0.5" in caplog.text
    lost.clear()
    assert _train_all(runs, train) == {goal: {"goal": goal} for goal in runs}


@pytest.mark.slow
@pytest.mark.parametrize("keras", ["tf_keras", "keras_tensorflow", "keras_jax"])
def test_tickets_are_trained_until_one_meets_the_goal(tmp_path, keras):
    ending, backend = _of(keras)
    easy, impossible = (f"{goal}{ending}" for goal in ("accuracy>=dense-100", "size<=1B"))
    _do(tmp_path, *(f"family_{goal}" for goal in (easy, impossible)), backend=backend)
    report = json.loads((tmp_path / f"family_{easy}/report.json").read_text())
    # The sparsest that should meet it, and no other.
    assert [member["goal"] for member in report["family"]] == ["0.9"]
    assert report["goal"]["met"] and report["goal"]["ticket"] == "tickets/0.9/ticket"
    assert report["goal"]["candidates"][0]["validation_accuracy"] is None
    report = json.loads((tmp_path / f"family_{impossible}/report.json").read_text())
    assert [member["goal"] for member in report["family"]] == ["0.5", "0.9"]
    assert not report["goal"]["met"] and report["goal"]["missed"][0].startswith("size ")


def test_goals_of_channels_are_parts_of_the_multiply_adds():
    config = tiny_config(pruning__structure="channels", pruning__target="macs:0.5,0.25")
    assert {goal: each.pruning.target for goal, each in family_of(config).items()} == {
        "macs-0.5": "macs:0.5",
        "macs-0.25": "macs:0.25",
    }
    check_config(config)
    assert family_of(Config()) == {}


def test_a_goal_of_few_multiply_adds_has_one_candidate():
    config = Config()
    config.pruning.structure, config.pruning.goal = "channels", "macs<=0.25"
    assert list(family_of(config)) == ["macs-0.25"]
    check_config(config)


def test_a_family_of_targets_has_their_sparsities():
    config = Config()
    config.pruning.structure, config.pruning.target = "channels", "macs:0.7,0.6"
    found = [member.pruning.final_sparsity for member in family_of(config).values()]
    assert found == [0.3, 0.4]


def test_a_goal_has_candidates():
    config = tiny_config(pruning__goal="accuracy>=dense-1")
    assert [*family_of(config)] == ["0.5", "0.7", "0.8", "0.9", "0.95"]
    config.pruning.family = (0.6, 0.85)
    assert [*family_of(config)] == ["0.6", "0.85"]
    config = tiny_config(pruning__goal="macs<=0.4", pruning__structure="channels")
    assert [*family_of(config)] == ["macs-0.4", "macs-0.35", "macs-0.25"]
    check_config(config)


BAD = {
    "twice": ({"pruning__family": (0.5, 0.5)}, "config.pruning.final_sparsity="),
    "one": ({"pruning__family": (0.5,)}, "at least two goals"),
    "beside one": ({"pruning__family": (0.5, 0.9), "pruning__final_sparsity": 0.7}, "family="),
    "no goal": ({"pruning__goal": "accuracy>=dense+1"}, "config.pruning.goal="),
    "macs of weights": ({"pruning__goal": "macs<=0.5"}, "structure='channels'"),
    "no dense network": (
        {"pruning__goal": "accuracy>=dense-1", "train__dense_baseline": False},
        "dense_baseline",
    ),
    "unknown runtime": ({"pruning__goal": "latency<=2ms@abacus"}, "runtime="),
    "contradiction": (
        {
            "pruning__goal": "macs<=0.1",
            "pruning__structure": "channels",
            "pruning__target": "macs:0.5,0.25",
        },
        "a target of at most 0.1",
    ),
    "one target beside a goal": (
        {
            "pruning__goal": "accuracy>=dense-1",
            "pruning__structure": "channels",
            "pruning__target": "macs:0.15",
        },
        "config.pruning.target='macs:0.15': expected several",
    ),
    "macs of sparsities": (
        {
            "pruning__goal": "macs<=0.5",
            "pruning__structure": "channels",
            "pruning__family": (0.5, 0.8),
        },
        "in place of final_sparsity",
    ),
    "out of range": ({"pruning__family": (0.5, 1.0)}, "config.pruning.final_sparsity=1.0"),
    "no part": ({"pruning__structure": "channels", "pruning__target": "macs:0.5,x"}, "macs:PART"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_goals_are_told_in_a_line(name):
    fields, words = BAD[name]
    with pytest.raises(InputError, match=words) as error:
        check_config(tiny_config(**fields))
    assert "\n" not in str(error.value)


def test_a_family_is_of_one_process_and_of_no_ticket():
    with pytest.raises(InputError, match="--strategy"):
        check_run(family_config(), None, "multi_worker")
    config = family_config()
    config.ticket = "somewhere"
    with pytest.raises(InputError, match="config.ticket"):
        check_config(config)


def test_an_old_field_of_the_config_is_told_of_a_family_too(tmp_path):
    config = tiny_config(pruning__family=(0.5, 0.8), probe__tolerance=0.02)
    check_config(config)
    assert config.probe.detector == "ppr_saturation(tolerance=0.02)"
    RunPaths(tmp_path).claim(config)
