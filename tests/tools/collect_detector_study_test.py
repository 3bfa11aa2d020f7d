import json
from pathlib import Path

import collect_detector_study as tool
import pages
import pytest

ROOT = Path(__file__).parents[2]


def seed_result(shift):
    cell = {"validation_accuracy": 0.8}
    return {
        "dense_test_accuracy": 0.8 + shift,
        "dense_seconds": 200.0,
        "probe": {
            "epochs": [1, 2, 3],
            "cost_epochs": [0.1, 0.1, 0.1],
            "seconds": [5.0, 3.0, 2.0],
        },
        "tickets": {
            "gradual": {
                "2": {"test_accuracy": 0.75 + shift, **cell},
                "3": {"test_accuracy": 0.79 + shift, **cell},
            },
            "one_shot": {"3": {"test_accuracy": 0.70 + shift, **cell}},
        },
        "choices": {"PPRSaturation": {"probed_epochs": [1, 2], "probe_cost_epochs": 0.2}},
    }


def study():
    row = {
        "detector": "PPRSaturation",
        "start_epochs": [2, 2],
        "detected": 2,
        "probe_cost_epochs": 0.2,
        "gradual_accuracy": 0.76,
        "gradual_distance": 0.04,
        "gradual_distance_std": 0.001,
        "one_shot_accuracy": None,
        "one_shot_distance": None,
        "one_shot_distance_std": None,
    }
    return {
        "command": "python -m tf_earlyticket.study_detectors --seeds=0,1",
        "config": {
            "data": {"name": "cifar10"},
            "model": {"name": "resnet8"},
            "train": {
                "epochs": 5,
                "learning_rate": 0.1,
                "drop_epochs": [3, 4],
                "batch_size": 128,
                "dtype_policy": "float32",
            },
            "pruning": {"final_sparsity": 0.8},
        },
        "environment": {"cpu_count": 2, "machine": "x86_64"},
        "latest_start_epoch": 3,
        "seeds": {"0": seed_result(0.0), "1": seed_result(0.02)},
        "summary": [row, {**row, "detector": "MaskDistance", "gradual_distance": 0.05}],
    }


@pytest.fixture
def kept(tmp_path):
    """Returns a folder of results with the studies that the page speaks of, and a simulation."""
    results = tmp_path / "results"
    digits = "digits_resnet8", "digits_resnet8_channels"
    for name in ("cifar10_resnet8", "cifar10_resnet20", *digits):
        run = tmp_path / "runs" / name
        (run / "figures").mkdir(parents=True)
        (run / "figures" / "probes.png").write_bytes(b"picture")
        (run / "study.json").write_text(json.dumps(study()))
        (run / "study.csv").write_text("detector\n")
        pages.keep_study(run, results)
    simulated = json.loads((ROOT / "results" / "detectors" / "simulated.json").read_text())
    (results / "simulated.json").write_text(json.dumps(simulated))
    return results


def test_collecting_keeps_the_small_files(kept):
    assert (kept / "cifar10_resnet8" / "figures" / "probes.png").read_bytes() == b"picture"
    assert (kept / "cifar10_resnet8" / "study.csv").read_text() == "detector\n"


def test_the_page_shows_the_numbers_of_the_study(kept):
    text = tool.page(kept)
    assert "| PPRSaturation | 2 2 | 2 of 2 | 0.20 | 76.00 | 4.00 ± 0.10 | - | - |" in text
    assert "| 2 | 76.00, 75.00 to 77.00 | - |" in text
    assert "| 3 | 80.00, 79.00 to 81.00 | 71.00, 70.00 to 72.00 |" in text
    assert "The dense networks reach 80.00, 82.00 %." in text
    # 0.2 of 5 epochs, and 5 + 3 of 200 seconds.
    assert "took 4.0 % of the dense run's epochs and 4.0 % of its time" in text
    assert "chose epochs 2, 2 for ResNet8, 4.00 points below the best start" in text
    assert "at no cost: 5.00 and 5.00 points below" in text
    assert "JPEG" in text and "after epochs 3 and 4" in text


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(ValueError, match="study.json"):
        pages.keep_study(tmp_path, tmp_path / "results")


def test_the_committed_page_is_what_the_committed_results_give():
    assert tool.PAGE.read_text() == tool.page()
