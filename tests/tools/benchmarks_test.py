"""The benchmarks' arithmetic, that they run, and that the pages show their kept results."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module


def test_candidates_take_turns(tool):
    calls = []

    def candidate(name):
        def measure():
            calls.append(name)
            return len(calls)

        return measure

    candidates = {name: candidate(name) for name in "ab"}
    values = tool("benchmarking").alternate(candidates, rounds=2, warmup=1)
    assert "".join(calls) == "ba" + "ab" + "ba"
    assert values == {"a": [3, 6], "b": [4, 5]}


def test_a_ratio_is_the_median_of_the_rounds_with_an_interval(tool):
    benchmarking = tool("benchmarking")
    found = benchmarking.ratio([2, 3, 8], [2, 2, 2])
    assert found == {"ratio": 1.5, "low": 1.0, "high": 4.0, "rounds": 3}
    # A machine that becomes three times as slow changes no ratio.
    assert benchmarking.ratio([2, 6, 2], [1, 3, 1])["high"] == 2.0


def test_a_failed_process_says_why(tool, tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit('no such network')")
    with pytest.raises(RuntimeError, match="no such network"):
        tool("benchmarking").in_own_process(str(script))


def test_the_projection_is_in_proportion_to_the_largest_on_one_device(tool):
    scaling = tool("benchmark_scaling")

    def row(parameters, replicas, value):
        return {
            "network": f"net{parameters}",
            "parameters": parameters,
            "replicas": replicas,
            "seconds": dict.fromkeys(scaling.EVENTS, value),
            **dict.fromkeys(scaling.BYTES, 4 * parameters),
        }

    found = scaling.project([row(10, 1, 3.0), row(20, 1, 4.0), row(20, 2, 9.0)], 200)
    assert found["from"] == "net20"
    assert found["seconds"] == {"mask_update": 40.0, "snapshot": 40.0, "checkpoint": 40.0}
    assert found["state_bytes"] == 800


def test_probes_of_a_run_of_the_paper_stay_within_their_budget(tool):
    found = tool("benchmark_scaling").events(200)
    assert found["probes_at_most"] <= 20
    assert found["probe_epochs_at_most"] == pytest.approx(10)


@pytest.mark.parametrize("page", ["scaling.md"])
def test_the_pages_show_the_kept_results(tool, page):
    assert tool("benchmark_all").page(page) == (ROOT / "docs" / page).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["input", "scaling"])
def test_the_benchmark_runs(name, tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, ROOT / "tools" / f"benchmark_{name}.py", "--quick", "--rounds=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run(
        [*command, f"--output={output}"], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    results = json.loads(output.read_text())
    assert results["command"].startswith(f"python tools/benchmark_{name}.py --quick")
    assert results["machine"]["cpu_count"] == os.cpu_count()
    if name == "input":
        assert {row["batch_size"] for row in results["cifar10_step"]} == {16, 128}
        assert all(0 < row["low"] <= row["ratio"] <= row["high"] for row in results["cifar10_step"])
        speeds = results["imagenet"]["images_per_second"]
        assert set(speeds) > {"train", "evaluation"} and min(speeds.values()) > 0
    else:
        assert [row["replicas"] for row in results["rows"]] == [1, 2]
        assert all(0 < row["prunable"] < row["parameters"] for row in results["rows"])
        assert all(value > 0 for row in results["rows"] for value in row["seconds"].values())
