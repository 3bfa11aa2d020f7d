"""The page of channels: made of the kept studies, and says what their intervals do."""

import json
from pathlib import Path

import collect_channels as tool
import pytest

ROOT = Path(__file__).parents[2]


def study(low=0.006, high=0.014):
    seeds = {
        str(seed): {
            "dense": 0.83 + shift,
            "ticket": 0.82 + shift,
            "scratch": 0.81 + shift,
            "start_epoch": 6,
            "macs": {"dense": 1000, "ticket": 480},
            "parameters": {"dense": 500, "ticket": 300},
            "families": [{"name": "stem_conv/kernel", "size": 16, "kept": 8}],
        }
        for seed, shift in ((0, 0.0), (1, 0.01))
    }
    difference = {"mean": 0.01, "low": low, "high": high}
    return {
        "command": "tools/study_channels.py --data_dir=/here/data --workdir=/there/a --seeds=0",
        "config": {
            "data": {"name": "cifar10"},
            "model": {"name": "resnet20"},
            "train": {
                "epochs": 24,
                "learning_rate": 0.1,
                "drop_epochs": [14, 19],
                "batch_size": 128,
                "dtype_policy": "float32",
            },
            "pruning": {"ranking": "global", "channel_multiple": 8},
        },
        "environment": {"cpu_count": 2, "machine": "x86_64"},
        "planned_seeds": [0, 1, 2],
        "seeds": seeds,
        "differences": {"ticket-scratch": difference, "ticket-dense": difference},
    }


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "runs" / "cifar10_resnet20"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(study()))
    tool.collect(folder, tmp_path / "results")
    return tmp_path / "results"


def test_what_is_kept_names_no_path_of_the_machine(results):
    kept = (results / "cifar10_resnet20" / "study.json").read_text()
    assert "/here" not in kept and "/there" not in kept
    command = "study_channels.py --data_dir=DIR --workdir=runs/channels/cifar10_resnet20 --seeds=0"
    assert command in json.loads(kept)["command"]
    assert (results / "cifar10_resnet20" / "accuracies.png").stat().st_size > 5000


def test_the_page_has_a_row_per_seed_and_the_differences(results):
    lines = tool.page(results).splitlines()
    assert "| 1 | 6 | 48.0 % | 60.0 % | 84.00 | 83.00 | 82.00 |" in lines
    assert "| mean | | | | 83.50 | 82.50 | 81.50 |" in lines
    assert any("+1.00 [+0.60, +1.40] | at least +0.5 points: yes" in line for line in lines)
    assert "2 of 3 planned seeds finished" in tool.page(results)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.0051, 0.02, "yes, the whole interval"),
        (-0.02, 0.004, "no, the whole interval is below"),
        (0.004, 0.02, "not decided"),
        (None, None, "one seed does not tell"),
    ],
)
def test_an_interval_says_what_it_says(low, high, said):
    assert said in tool.verdict({"mean": 0.01, "low": low, "high": high}, "ticket-scratch")


def test_a_directory_without_a_study_is_refused(tmp_path):
    with pytest.raises(tool.InputError, match="expected the directory of a study"):
        tool.collect(tmp_path, tmp_path / "results")


def test_a_single_run_is_a_row_of_the_rankings(tmp_path):
    def run(seed, accuracy):
        report = {
            "config": {
                "data": {"name": "digits"},
                "model": {"name": "resnet8"},
                "pruning": {
                    "structure": "channels(multiple=8)",
                    "target": "macs:0.5",
                    "ranking": "layerwise",
                },
                "seed": seed,
            },
            "start_epoch": 7,
            "macs": {"dense": 100, "ticket": 48},
            "parameters": {"dense": 10, "ticket": 4},
            "ticket": {"test_accuracy": accuracy},
            "command": f"python -m tf_earlyticket.train --seed={seed} --workdir=/there/a",
            "environment": {"packages": {"numpy": "2"}},
        }
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "report.json").write_text(json.dumps(report))
        tool.collect(tmp_path / "run", tmp_path)

    run(1, 0.5)
    run(0, 0.9)
    run(1, 0.8)
    text = tool.page(tmp_path)
    row = "| resnet8 on digits | macs:0.5 | 8 | layerwise | {} | 7 | 48.0 % | 40.0 % | {} |"
    assert row.format(0, "90.00") in text and row.format(1, "80.00") in text
    assert "50.00" not in text and "/there" not in (tmp_path / tool.RANKINGS).read_text()


def test_the_page_in_the_repository_is_made_of_the_kept_results():
    assert (ROOT / "docs" / "channels.md").read_text() == tool.page()
