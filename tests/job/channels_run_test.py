"""Whole runs that prune channels: to half of the multiply-adds, interrupted or not."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jobs import tiny_config

import tf_earlyticket as et
from tf_earlyticket.job.build import describe_run

ROOT = Path(et.__file__).parents[1]
_SLOW = pytest.mark.slow
JOBS = [
    *(pytest.param(job, marks=_SLOW) for job in ("channels", "channels_rewind")),
    "channels_shrunk",
]
WAYS = [
    pytest.param("channels", "interrupted", marks=_SLOW),
    pytest.param("channels_rewind", "interrupted", marks=_SLOW),
    pytest.param("channels_shrunk", "interrupted", marks=_SLOW),
    ("channels_shrunk", "terminated"),
]


@pytest.fixture(scope="module", params=["tf_keras", pytest.param("keras", marks=pytest.mark.slow)])
def runs(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    ending = "" if request.param == "tf_keras" else "_keras"
    jobs = ["channels_shrunk", "channels_shrunk_terminated"]
    if request.config.option.markexpr != "not slow":
        names = ("channels", "channels_rewind", "channels_shrunk")
        jobs = [f"{name}{ending}{way}" for name in names for way in ("", "_interrupted")]
        jobs += ["channels_shrunk_terminated"] * (request.param == "tf_keras")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, str(ROOT / "tests/helpers/jobs.py"), str(folder), *jobs]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    for job in jobs:
        (folder / job).rename(folder / job.replace("_keras", ""))
    return folder


def _timeless(value):
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("seconds", "environment")}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _report(workdir):
    return json.loads((workdir / "report.json").read_text())


def _rows(workdir):
    with open(workdir / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("job", JOBS)
def test_half_of_the_multiply_adds_stay_in_whole_channels(runs, job):
    ticket = et.Ticket.load(runs / job / "ticket")
    plain = et.models.resnet8((16, 16, 1))
    graph = et.channel_graph(plain)
    kept = et.structures.Channels(graph=graph).whole(ticket.masks)
    for name, mask in ticket.masks.items():
        np.testing.assert_array_equal(mask, graph.mask(name, kept))
    left = graph.multiply_adds(kept) / graph.multiply_adds()
    assert 0.45 < left <= 0.5
    report = _report(runs / job)
    for key, amount in (("macs", graph.multiply_adds), ("parameters", graph.parameters)):
        # As the small network has them.
        assert report[key]["ticket"] == report[key]["removed"] == amount(kept)
        assert report[key]["dense"] == amount() > report[key]["masked"] >= amount(kept)
    counts = [np.count_nonzero(kept[family.channels]) for family in graph.removable]
    assert all(count % 4 == 0 for count in counts)


@pytest.mark.parametrize(("job", "way"), WAYS)
def test_an_interrupted_run_ends_as_if_it_was_not(runs, job, way):
    whole, other = runs / job, runs / f"{job}_{way}"
    if not other.exists():
        pytest.skip("Keras 3 begins at epochs only")
    assert _timeless(_report(whole)) == _timeless(_report(other))
    assert _timeless(_rows(whole)) == _timeless(_rows(other))
    tickets = [et.Ticket.load(workdir / "ticket") for workdir in (whole, other)]
    for field in ("masks", "rewind_weights", "final_weights"):
        left, right = (getattr(ticket, field) for ticket in tickets)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_after_the_ramp_a_small_network_trains(runs):
    shrunk = runs / "channels_shrunk"
    rows = _rows(shrunk)
    assert [row["phase"] for row in rows] == ["search"] * 4 + ["shrunk"] * 2
    assert [int(row["step"]) for row in rows] == [4, 8, 12, 16, 20, 24]
    assert rows[3]["sparsity"] == rows[5]["sparsity"] != "0.0"
    weight_std = json.loads((shrunk / "weight_statistics.json").read_text())
    assert weight_std["epochs"] == [1, 2, 3, 4, 5, 6]

    def size(phase):
        files = (shrunk / "checkpoints" / phase).glob("ckpt-*")
        return max(file.stat().st_size for file in files)

    # Half of the multiply-adds, and so of weights and momenta; masks go as well.
    assert size("shrunk") < 0.75 * size("search")
    # What it ended with was put back into the whole network, and is what was exported.
    ticket = et.Ticket.load(shrunk / "ticket")
    small = ticket.small()
    assert sum(w.size for w in small.final_weights.values()) < 0.75 * sum(
        w.size for w in ticket.final_weights.values()
    )
    assert all(w.all() for w in small.masks.values())
    name = "classifier/bias"
    assert (ticket.final_weights[name] != ticket.rewind_weights[name]).all()
    assert _report(shrunk)["cost"]["train_epochs"] == 6


@pytest.mark.slow
def test_a_run_that_will_shrink_begins_as_one_that_will_not(runs):
    tickets = [et.Ticket.load(runs / job / "ticket") for job in ("channels", "channels_shrunk")]
    whole, shrunk = (ticket.rewind_weights for ticket in tickets)
    assert whole.keys() == shrunk.keys()
    for name, weight in shrunk.items():
        np.testing.assert_array_equal(weight, whole[name])


@pytest.mark.parametrize(
    "fields",
    [
        {"pruning__structure": None},
        {"pruning__mode": "rewind"},
        {"pruning__structure": "2:4", "pruning__final_sparsity": 0.5},
    ],
)
def test_only_a_ramp_of_channels_can_shrink_a_network(tmp_path, fields):
    config = _config(pruning__shrink_after_ramp=True)
    for name, value in fields.items():
        setattr(config.pruning, name.partition("__")[2], value)
    message = "config.pruning.shrink_after_ramp=True: expected structure='channels' with it"
    with pytest.raises(et.InputError, match=message):
        et.train_and_evaluate(config, tmp_path / "run")


def test_probes_and_signals_are_of_channels(runs):
    report = _report(runs / "channels_shrunk")
    assert len(report["probe"]["epochs"]) == 3 == report["start_epoch"]
    assert report["probe"]["ppr_accuracy"] != report["probe"]["dense_accuracy"]
    assert report["signals"]["layers"][0] == "stem_conv/kernel"
    assert report["schedule"]["final_sparsity"] == 0.5
    assert (runs / "channels_shrunk" / "report.html").stat().st_size > 0


def _config(**fields):
    return tiny_config(pruning__structure="channels", **fields)


def test_the_dry_run_tells_families_and_what_stays():
    text = describe_run(_config(pruning__target="macs:0.4", pruning__final_sparsity=0.6))
    assert "so that at most" in text and "multiply-adds are left" in text
    assert "  stem_conv/kernel                16, made by 4 weights, read by 4 weights" in text
    assert "classifier/kernel               10, an output of the model" in text


def test_floors_that_forbid_the_goal_are_told_before_the_start(tmp_path):
    message = (
        r"config.pruning.target='macs:0.01': final_sparsity=0.99: expected at most 0\.\d+, where"
    )
    with pytest.raises(et.InputError, match=message):
        et.train_and_evaluate(_config(pruning__target="macs:0.01"), tmp_path / "run")
    with pytest.raises(et.InputError, match=message):
        describe_run(_config(pruning__target="macs:0.01", pruning__final_sparsity=0.99))
    assert not (tmp_path / "run").exists()
