import json

import pytest

from tf_earlyticket.report.build import build_report

CONFIG = {
    "train": {"epochs": 12},
    "pruning": {"mode": "continue", "initial_sparsity": 0.0, "final_sparsity": 0.8},
}


@pytest.fixture
def report():
    """Returns a function that builds a report of two layers from the signals of the search."""

    def build(signals):
        search = {
            "probes": [],
            "probe_learning_rate": 0.01,
            "probe_fraction": 0.1,
            "signals": signals,
            "start_epoch": 2,
            "start_reason": "saturated",
            "detected": True,
            "updates": [[20, 0.8]],
            "latest_start_epoch": 8,
            "detector": "mask_distance",
            "schedule": None,
            "rows": [{"seconds": 1.0}],
        }
        layer = {"shape": [3, 3, 4, 4], "kept": 29, "sparsity": 0.8}
        evaluation = {
            "ticket_accuracy": 0.9,
            "dense_accuracy": None,
            "sparsity": 0.8,
            "layers": [{"name": name, **layer} for name in ("conv1", "conv2")],
            "seconds": 1.0,
        }
        return build_report(
            CONFIG,
            search=search,
            retrain=None,
            dense=None,
            evaluation=evaluation,
            environment={},
            steps_per_epoch=10,
            command="",
            notes=[],
        )

    return build


def test_signals_are_lists_over_epochs(report):
    values = [
        {"pruning_rates": (0.7, 0.9), "mask_distances": (), "similarities": ()},
        {"pruning_rates": (0.75, 0.85), "mask_distances": (0.12,), "similarities": (0.97,)},
    ]
    signals = report(dict(zip(("1", "2"), values, strict=True)))["signals"]
    assert signals == {
        "epochs": [1, 2],
        "layers": ["conv1", "conv2"],
        "pruning_rates": [[0.7, 0.9], [0.75, 0.85]],
        "mask_distances": [[], [0.12]],
        "similarities": [[], [0.97]],
    }
    assert json.loads(json.dumps(signals)) == signals


def test_signals_may_be_of_no_epoch(report):
    signals = report({})["signals"]
    assert signals["epochs"] == signals["pruning_rates"] == signals["mask_distances"] == []
