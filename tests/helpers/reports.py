"""The report of a run, its metrics, the spread of its weights and what `bench` adds, made up."""

import math

from tf_earlyticket.report.report import Report, Timing


def made_up_report(**changes) -> Report:
    """Returns a report of five layers with other values in it."""
    return Report.from_json(made_up_run()[0].to_json() | changes)


def made_up_run(epochs=12, layers=5, start=4, ramp=4):
    """Returns a report, metrics and weight statistics as a run of `epochs` would leave them."""
    steps_per_epoch, final = 10, 0.8
    updates = [
        [(start + i) * steps_per_epoch, final * (1 - (1 - i / ramp) ** 3)] for i in range(ramp + 1)
    ]
    sparsity = [
        max((s for t, s in updates if t <= e * steps_per_epoch), default=0.0)
        for e in range(1, epochs + 1)
    ]
    accuracy = [0.9 * (1 - math.exp(-e / 3)) for e in range(1, epochs + 1)]
    metrics = [
        {
            "epoch": e,
            "step": e * steps_per_epoch,
            "learning_rate": 0.1 if e <= epochs * 0.6 else 0.01,
            "loss": 1.0,
            "accuracy": accuracy[e - 1],
            "val_loss": 1.0,
            "val_accuracy": accuracy[e - 1],
            "sparsity": sparsity[e - 1],
            "ppr_accuracy": accuracy[e - 1] if e <= start else None,
            "seconds": 1.5,
        }
        for e in range(1, epochs + 1)
    ]
    names = [f"block{i}_conv" for i in range(layers)]
    probed = accuracy[:start]
    report = {
        "schema_version": 1,
        "config": {
            "pruning": {"final_sparsity": final},
            "train": {"weight_decay": 1e-4, "momentum": 0.9},
        },
        "environment": {"python": "3.12", "devices": ["CPU:0"]},
        "dense": {"test_accuracy": 0.9174, "epochs": epochs},
        "probe": {
            "epochs": list(range(1, start + 1)),
            "ppr_accuracy": probed,
            "pruned_accuracy": [value / 2 for value in probed],
            "dense_accuracy": probed,
            "cost_epochs": 0.4,
            "seconds": 3.0,
            "learning_rate": 0.01,
            "fraction": 0.1,
        },
        "signals": {
            "epochs": list(range(1, start + 1)),
            "layers": names,
            "pruning_rates": [
                [final + 0.1 / e * (-1) ** i for i in range(layers)] for e in range(1, start + 1)
            ],
            "mask_distances": [[0.3 / e] * min(e - 1, 4) for e in range(1, start + 1)],
            "similarities": [[0.9] * min(e - 1, 4) for e in range(1, start + 1)],
        },
        "start_epoch": start,
        "start_reason": "the last 3 probes differ by less than 0.5 points",
        "ticket": {
            "test_accuracy": 0.9136,
            "sparsity": final,
            "layers": [
                {"name": name, "shape": [3, 3, 64, 64], "kept": 7373, "sparsity": 1 - 7373 / 36864}
                for name in names
            ],
        },
        "cost": {
            "train_epochs": 12.0,
            "probe_epochs": 0.4,
            "total_epochs": 12.4,
            "iterative_pruning_epochs": 1240.0,
            "iterative_pruning_source": "analytic",
            "ratio": 0.01,
        },
        "seconds": {"train": 3725.0, "probe": 3.0},
        "mode": "continue",
        "decision": {"detected": True, "latest_start_epoch": 8, "detector": "saturation"},
        "schedule": {
            "begin_step": start * steps_per_epoch,
            "end_step": (start + ramp) * steps_per_epoch,
            "frequency": steps_per_epoch,
            "initial_sparsity": 0.0,
            "final_sparsity": final,
            "updates": updates,
            "steps_per_epoch": steps_per_epoch,
        },
        "command": "python -m tf_earlyticket.train --seed=0",
    }
    spread = {name: [0.1 * 0.9**e for e in range(epochs)] for name in names}
    return (
        Report.from_json(report),
        metrics,
        {"epochs": list(range(1, epochs + 1)), "layers": spread},
    )


def made_up_timing(**changes) -> Timing:
    """Returns a timing of a ticket half as slow as the dense network, with other values in it."""
    values = {
        "path": "runs/a",
        "runtime": "litert",
        "precision": "float32",
        "batch": 1,
        "threads": 1,
        "ms": 0.5,
        "dense_ms": 1.0,
        "ratio": 0.5,
        "ratio_low": 0.45,
        "ratio_high": 0.56,
        "control": 1.0,
        "control_low": 0.98,
        "control_high": 1.01,
        "examples_per_second": 2000.0,
        "load_ms": 3.0,
        "dense_load_ms": 4.0,
        "bytes": 3000,
        "compressed_bytes": 2000,
        "dense_bytes": 12000,
        "dense_compressed_bytes": 10000,
        "memory_bytes": 2.5e6,
        "dense_memory_bytes": 3e6,
        "accuracy": 0.9,
        "dense_accuracy": 0.91,
    }
    return Timing(**values | changes)
