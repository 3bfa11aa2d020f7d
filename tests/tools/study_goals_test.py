"""The page of the study of goals, on literals."""

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
        "loss": 0.005,
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
