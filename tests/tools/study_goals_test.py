"""The page of the study of goals, on literals."""

import json
import subprocess
import sys

import study_goals


def _seed(ticket, dense, accuracy, **trained):
    member = {"start_epoch": 3, "test_accuracy": accuracy, "sparsity": 0.8, "bytes": 9}
    return {
        "met": True,
        "ticket": ticket,
        "dense_test_accuracy": dense,
        "test_accuracy": accuracy,
        "total_epochs": 100.4,
        "dense_validation_accuracy": 0.99,
        "candidates": [
            {"goal": name, "predicted_accuracy": predicted, "validation_accuracy": reached}
            for name, (predicted, reached) in trained.items()
        ],
        "trained": {ticket: member},
    }


def test_the_page_counts_what_holds_and_how_far_predictions_are_off():
    study = {
        "goal": "accuracy>=dense-0.5",
        "data": "digits",
        "model": "resnet20",
        "command": "python tools/study_goals.py",
        "seeds": {
            "0": _seed("0.8", 0.99, 0.985, a=(0.97, 0.99), b=(0.5, None)),
            "1": _seed("0.5", 0.99, 0.98, a=(0.98, 0.97)),
        },
    }
    page = study_goals.page(study)
    assert "| 0 | yes | 0.8 | 0.8 | 99.00 | 98.50 | yes | 100 |" in page
    assert "| 1 | yes | 0.5 | 0.5 | 99.00 | 98.00 | no | 100 |" in page
    assert "holds in 1 of 2 runs" in page
    assert "2 tickets that were trained was off by 1.50 points" in page
    assert "2.00 at most; tickets were better than predicted by 0.50 points" in page
    # Twenty of a thousand examples, as float32 has them.
    study["goal"] = "accuracy>=dense-2"
    study["seeds"] = {"0": _seed("0.8", 0.9900000095, 0.9700000286, a=(None, 0.97))}
    page = study_goals.page(study)
    assert "holds in 1 of 1 runs.\n" in page and "predicted of" not in page


def test_seeds_are_added_to_those_of_the_same_goal_alone(tmp_path):
    path, about = tmp_path / "study.json", {"goal": "accuracy>=97", "data": "digits"}
    assert study_goals.kept(path, about) == {"seeds": {}}
    study = {**about, "command": "python", "seeds": {"0": _seed("0.8", 0.99, 0.98)}}
    path.write_text(json.dumps(study))
    assert study_goals.kept(path, about) == study
    assert study_goals.kept(path, about | {"goal": "accuracy>=98"}) == {"seeds": {}}


def test_a_goal_without_an_accuracy_is_no_study(tmp_path):
    command = [sys.executable, study_goals.__file__, "--config.pruning.goal=size<=100kB"]
    command.append(f"--workdir={tmp_path / 'runs'}")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "expected one of accuracy" in done.stderr
    assert not (tmp_path / "runs").exists()
