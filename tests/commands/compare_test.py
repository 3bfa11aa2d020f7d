"""Several runs side by side."""

import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread
from reports import made_up_report, made_up_timing

from tf_earlyticket import compare
from tf_earlyticket.report.comparison import cells, draw, read_run

ROOT = str(Path(__file__).parents[2])
REPORT = made_up_report(
    config={
        "data": {"name": "digits"},
        "model": {"name": "resnet20"},
        "seed": 3,
        "train": {"epochs": 60},
    },
    dense={"test_accuracy": 0.99, "epochs": 60},
    start_epoch=22,
).to_json()
REPORT["ticket"] |= {"sparsity": 0.8, "network_sparsity": 0.7654, "test_accuracy": 0.9876}
REPORT["cost"] |= {"total_epochs": 67.1, "probe_epochs": 7.1}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two finished runs, the second without a dense network or a search."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        report = copy.deepcopy(REPORT)
        if name == "b":
            report |= {"dense": None, "start_epoch": None}
            # As reports of before.
            del report["ticket"]["network_sparsity"], report["layers"]
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    return tmp_path


def test_the_table_and_the_figure_show_each_run(folder, call_program):
    status, out, err = call_program(compare, "a", "b", "--output=figures/both.png")
    assert status == 0, err
    for text in ("digits", "resnet20", "80.00", "98.76", "99.00", "22", "67.1", "7.1", "–"):
        assert text in out
    assert imread(folder / "figures" / "both.png").shape[1] == 900
    rows = cells([read_run(folder / name) for name in "ab"])
    assert rows[0][3:] == ["3", "80.00", "76.54", "98.76", "99.00", "22", "67.1", "7.1"]
    assert rows[1][5] == "–" and rows[1][7:9] == ["–", "–"]
    assert len(draw([read_run(folder / "a")]).axes) == 2


def test_latency_and_size_are_drawn_where_they_were_measured(folder):
    report = REPORT | {"bench": [vars(made_up_timing(path="elsewhere"))]}
    (folder / "a" / "report.json").write_text(json.dumps(report))
    figure = draw([read_run(folder / name) for name in "ab"])
    assert [axes.get_xlabel() for axes in figure.axes][2] == "Latency (ms), batch 1, 1 thread"
    assert [text.get_text() for text in figure.axes[2].texts] == ["1"]
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3


def test_a_run_that_is_named_twice_has_two_numbers_in_both_parts(folder):
    for name in "ab":
        report = REPORT | {"bench": [vars(made_up_timing())]}
        (folder / name / "report.json").write_text(json.dumps(report))
    figure = draw([read_run(folder / name) for name in "aab"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3"]
    assert [text.get_text() for text in figure.axes[2].texts] == ["1", "1", "3"]


def test_nothing_is_said_of_fonts_where_home_cannot_be_written(folder):
    # Matplotlib then looks for fonts again each time.
    command = [sys.executable, "-m", "tf_earlyticket.compare", "a", "b", "--output=both.png"]
    environment = {**os.environ, "HOME": "/nowhere", "MPLCONFIGDIR": "", "PYTHONPATH": ROOT}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_json_is_for_programs(folder, call_program):
    status, out, _ = call_program(compare, "a", "--json", "--output=")
    assert status == 0 and json.loads(out) == [
        dataclasses.asdict(read_run(folder / "a")) | {"name": "a"}
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("report", "message"),
    [
        (None, "expected the directory of a finished run"),
        ("{", "report.json must be JSON"),
        ("{}", "report.json is damaged: Object missing required field"),
    ],
)
def test_what_is_no_finished_run_is_refused(folder, call_program, report, message):
    (folder / "c").mkdir()
    if report is not None:
        (folder / "c" / "report.json").write_text(report)
    status, _, err = call_program(compare, "a", "c")
    assert status == 2 and message in err and err.count("\n") == 1
    assert not (folder / "comparison.png").exists()


def test_no_run_is_refused(folder, call_program):
    status, _, err = call_program(compare)
    assert status == 2 and "RUN: expected" in err
