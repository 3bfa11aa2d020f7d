"""The benchmarks' arithmetic, that they run, and that the pages show their kept results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import benchmark_all
import benchmark_scaling
import benchmark_startup
import benchmarking
import pytest
from reports import made_up_timing

from tf_earlyticket.deploy import bench
from tf_earlyticket.pruning.updates import UPDATES

ROOT = Path(__file__).parents[2]


def test_a_failed_process_says_why(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit('no such network')")
    with pytest.raises(RuntimeError, match="no such network"):
        benchmarking.in_own_process(str(script))


def test_the_projection_is_in_proportion_to_the_largest_on_one_device():
    def row(parameters, replicas, value):
        return {
            "network": f"net{parameters}",
            "parameters": parameters,
            "replicas": replicas,
            "seconds": dict.fromkeys(benchmark_scaling.EVENTS, value),
            **dict.fromkeys(benchmark_scaling.BYTES, 4 * parameters),
        }

    found = benchmark_scaling.project([row(10, 1, 3.0), row(20, 1, 4.0), row(20, 2, 9.0)], 200)
    assert found["from"] == "net20"
    assert found["seconds"] == {"mask_update": 40.0, "snapshot": 40.0, "checkpoint": 40.0}
    assert found["state_bytes"] == 800


def test_probes_of_a_run_of_the_paper_stay_within_their_budget():
    found = benchmark_scaling.events(200)
    assert found["probes_at_most"] <= 20
    assert found["probe_epochs_at_most"] == pytest.approx(10)


@pytest.mark.parametrize("page", ["scaling.md", "performance.md"])
def test_the_pages_show_the_kept_results(page):
    assert benchmark_all.page(page) == (ROOT / "docs" / page).read_text()


def test_the_curves_are_those_of_the_kept_results():
    figures = benchmark_all.figures()
    masks, probe = (
        json.loads((ROOT / f"results/benchmarks/{name}.json").read_text())
        for name in ("masks", "probe")
    )
    time, memory = figures["masks"].axes
    assert list(time.lines[0].get_xdata()) == [row["weights"] for row in masks["ranking"]]
    assert time.lines[1].get_ydata()[-1] == 1e3 * masks["ranking"][-1]["seconds"]["restricted"]
    assert memory.lines[0].get_ydata()[0] == masks["ranking"][0]["peak_bytes"] / 1e6
    (axes,) = figures["probes"].axes
    assert list(axes.lines[0].get_ydata()) == [row["seconds"]["probe"] for row in probe["probe"]]


def test_a_target_is_met_by_its_median():
    def found(ratio):
        return {"ratio": ratio, "low": 0.9, "high": 1.2}

    against = {"against_dense": {"tf_earlyticket": found(1.03)}}
    updates = {
        "seconds": {"dense": 0.03},
        "against_dense": {"shrink": found(1.0), "swap": found(1.06), "distillation": found(1.3)},
        "update_seconds": {"shrink": 0.1, "swap": 0.2},
    }
    memory = {"against_dense_and_masks": {"tf_earlyticket": found(1.05)}}
    rows = benchmark_all.targets(
        input={"cifar10_step": [{"batch_size": 16, **found(1.06)}]},
        masks={"update": found(0.2)},
        probe={
            "probe": [{"fraction": 0.2, **found(1.0)}],
            "state": {"network": "resnet50", "seconds": 0.2},
        },
        overhead={
            "step_graph16": against,
            "step_mirrored32": against,
            "updates_graph16": updates,
            "memory": memory,
            "import": found(1.0),
        },
    )
    assert [(row["target"], row["met"]) for row in rows] == [
        ("<= 1.02", False),
        ("<= 1.03", True),
        ("<= 1.05", False),
        ("<= 0.15", False),
        ("<= 1.05", True),
        ("<= 1.05", True),
        ("<= 1.05", False),
        ("<= 1.05", True),
        ("<= 0.15 s", False),
    ]
    assert rows[0]["measured"] == "1.030 (0.900 to 1.200)"
    assert rows[2]["what"].endswith("batch 16, under the costliest update, swap / dense")


def test_a_latency_has_its_target_and_is_met_by_its_upper_bound():
    def rows(network, runtime="litert", **changes):
        both = (("0.5", changes), ("0.25", {"ratio": 0.3}))
        for share, values in both:
            item = made_up_timing(path=f"{network} {share}", runtime=runtime, **values)
            yield vars(item)

    found = benchmark_all.latencies(
        [
            *rows("resnet50", ratio_high=0.65),
            *rows("resnet50", "openvino", ratio_high=0.66),
            *rows("resnet20", control_low=1.01, control_high=1.02, ratio_high=0.5),
            *rows("resnet20", "tensorflow"),
        ]
    )
    assert [line["names"][:2] for line in found] == [
        *(("resnet50", "litert"), ("resnet50", "openvino")),
        *(("resnet20", "litert"), ("resnet20", "tensorflow")),
    ]
    assert [(line.get("target"), line.get("met")) for line in found] == [
        *(("<= 0.65", True), ("<= 0.65", False), ("<= 0.90", None), (None, None))
    ]
    missing = benchmark_all.left_out(found)
    assert "resnet50, tensorflow, float32" in missing and len(missing) == 3 * 7 - 4
    assert found[0]["0.25"].startswith("0.30") and found[2]["0.5"].startswith("–")


def test_a_tiny_network_has_a_line_for_dense_and_for_each_ticket():
    costs = {"parameters": 1000, "multiply_adds": 2_500_000}
    variants = {bench.DENSE: costs | {"accuracy": 0.9}, "weights": costs, "channels": costs}
    doubtful = {"control_low": 1.01, "control_high": 1.02}
    estimate = {"cycles": 50, "arithmetic_cycles": 40, "weight_bytes": 300}
    estimate |= {f"dense_{what}": 2 * number for what, number in estimate.items()}
    found = benchmark_all.tiny_lines(
        {
            "networks": {"resnet8": {"variants": variants}, "ds_cnn": {"variants": variants}},
            "rows": [
                vars(made_up_timing(path="resnet8 weights", precision="int8")),
                vars(made_up_timing(path="resnet8 channels", precision="int8", **doubtful)),
            ],
            "estimates": [{"path": "resnet8 weights", **estimate}],
        }
    )
    assert [line["names"] for line in found[:3]] == [
        *(["ResNet8", "dense"], ["ResNet8", "ticket of weights"]),
        ["ResNet8", "ticket of channels"],
    ]
    assert found[0]["files"] == ["1,000", "2.50", "12,000", "10,000", "90.00", "91.00"]
    assert found[0]["costs"] == ["1.000", "", "100", "80", "600"]
    assert found[1]["costs"] == ["0.500", "0.50 (0.45 to 0.56)", "50", "40", "300"]
    # What is not told, not estimated, not measured.
    assert found[2]["costs"][1:] == ["– (dense / dense: 1.010 to 1.020)", "–", "–", "–"]
    assert found[3]["costs"] == ["–", "", "–", "–", "–"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["input", "scaling", "masks", "probe", "overhead", "streams", "startup"]
)
def test_the_benchmark_runs(name, tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, ROOT / "tools" / f"benchmark_{name}.py", "--quick", "--rounds=2"]
    if name == "overhead":
        command.append("--only=step_graph16,updates_graph16")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run(
        [*command, f"--output={output}"], check=True, env=environment, stdout=subprocess.DEVNULL
    )
    results = json.loads(output.read_text())
    assert results["command"].startswith(f"python tools/benchmark_{name}.py --quick")
    assert results["machine"]["cpu_count"] == os.cpu_count()
    CHECKS[name](results)


@pytest.mark.slow
def test_tickets_of_channels_are_timed(tmp_path):
    output = tmp_path / "latency.json"
    command = [sys.executable, ROOT / "tools" / "benchmark_latency.py", "--networks=resnet20"]
    command += ["--runtimes=tensorflow", "--batches=1", "--processes=1", "--rounds=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    for _ in range(2):
        # The second time, what is measured again replaces what was there.
        subprocess.run(
            [*command, f"--output={output}", *(["--keep"] if output.exists() else [])],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )
    results = json.loads(output.read_text())
    assert [row["path"] for row in results["rows"]] == ["resnet20 0.5", "resnet20 0.25"]
    about = results["networks"]["resnet20"]
    assert about["dense"]["multiply_adds"] == 40_551_040
    for share in (0.5, 0.25):
        reached = about[f"resnet20 {share}"]["multiply_adds"] / about["dense"]["multiply_adds"]
        assert 0.9 * share < reached <= share
    assert len(benchmark_all.latencies(results["rows"])) == 1


@pytest.mark.slow
def test_tickets_of_a_tiny_network_are_measured_and_estimated(tmp_path):
    output = tmp_path / "tiny.json"
    command = [sys.executable, ROOT / "tools" / "benchmark_tiny.py", "--networks=autoencoder"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run(
        [*command, "--processes=1", "--rounds=2", f"--output={output}"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    results = json.loads(output.read_text())
    variants = results["networks"]["autoencoder"]["variants"]
    dense, weights, channels = (variants[name] for name in ("dense", "weights", "channels"))
    assert weights["multiply_adds"] == dense["multiply_adds"]
    assert weights["parameters"] < 0.23 * dense["parameters"]
    assert 0.4 * dense["multiply_adds"] < channels["multiply_adds"] <= 0.5 * dense["multiply_adds"]
    kept = [row for row in results["estimates"] if row["path"] == "autoencoder weights"]
    assert all(row["weight_bytes"] < 0.7 * row["dense_weight_bytes"] for row in kept)
    assert len(kept) == ("vela" in results["options"]["runtimes"])


def _check_ratio(found):
    assert 0 < found["low"] <= found["ratio"] <= found["high"]


def _check_input(results):
    assert {row["batch_size"] for row in results["cifar10_step"]} == {16, 128}
    for row in results["cifar10_step"]:
        _check_ratio(row)
    speeds = results["imagenet"]["images_per_second"]
    assert set(speeds) > {"train", "evaluation"} and min(speeds.values()) > 0


def _check_scaling(results):
    assert [row["replicas"] for row in results["rows"]] == [1, 2]
    assert all(0 < row["prunable"] < row["parameters"] for row in results["rows"])
    assert all(value > 0 for row in results["rows"] for value in row["seconds"].values())


def _check_masks(results):
    _check_ratio(results["update"])
    assert results["update"]["kept_exactly"]
    for row in results["ranking"]:
        _check_ratio(row["against_sort"])
        assert row["peak_bytes"] > row["weights"] / 8


def _check_probe(results):
    for row in results["probe"]:
        _check_ratio(row)
        assert row["steps"] >= 20
    assert results["state"]["parameters"] > 0


def _check_overhead(results):
    assert set(results) == {"step_graph16", "updates_graph16", "command", "machine"}
    found = results["step_graph16"]
    assert set(found["seconds"]) == {"dense", "tf_earlyticket", "tfmot"}
    for ratio in found["against_dense"].values():
        _check_ratio(ratio)
    found = results["updates_graph16"]
    assert set(found["against_dense"]) > {*UPDATES, "distillation"}
    assert set(found["update_seconds"]) > set(UPDATES)


def _check_streams(results):
    (row,) = results["streams"]
    assert row["data"] == "digits" and row["steps"] > 0
    assert all(row[each]["ratio"] > 0 for each in ("epoch", "probe"))


def _check_startup(results):
    assert [row["stage"] for row in results["stages"]] == [*benchmark_startup.STAGES.values()]
    assert all(0 < row["least"] <= row["seconds"] <= row["most"] for row in results["stages"])


CHECKS = {
    "input": _check_input,
    "scaling": _check_scaling,
    "masks": _check_masks,
    "probe": _check_probe,
    "overhead": _check_overhead,
    "streams": _check_streams,
    "startup": _check_startup,
}
