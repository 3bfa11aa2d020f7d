"""Puts the results of a run's phases together: the content of `report.json`."""

import os
import platform

from tf_earlyticket.pruning.plan import iterative_pruning_epochs
from tf_earlyticket.version import installed_versions

SCHEMA_VERSION = 1


def environment(strategy: str, replicas: int) -> dict:
    """Returns what the run ran on: versions, machine, devices."""
    return {
        "python": platform.python_version(),
        "packages": installed_versions(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_count": os.cpu_count(),
        "strategy": strategy,
        "replicas": replicas,
    }


def build_report(
    config: dict,
    *,
    search: dict,
    retrain: dict | None,
    dense: dict | None,
    evaluation: dict,
    environment: dict,
    steps_per_epoch: int,
    command: str,
    notes: list[str],
) -> dict:
    """Returns the report as plain JSON values; see INTERFACE in the README for its keys.

    Args:
        config: The resolved config, nested.
        search: Result of the search phase; its `signals` are `WeightSignals` by epoch.
        retrain: Result of the retraining in mode `rewind`, else None.
        dense: Result of the dense baseline, None if it was not trained.
        evaluation: {"ticket_accuracy", "dense_accuracy" or None, "sparsity", "layers",
            "seconds"} measured on the test set.
        environment: From `environment`.
        steps_per_epoch: Optimizer steps of an epoch.
        command: Command line that repeats the run.
        notes: Sentences that a reader of the numbers has to know.
    """
    epochs = config["train"]["epochs"]
    # A ticket that was trained instead of searched for has a sparsity of its own.
    given = config.get("ticket") is not None
    final_sparsity = evaluation["sparsity"] if given else config["pruning"]["final_sparsity"]
    start_epoch = search["start_epoch"]
    probes = search["probes"]
    observed = [probe["observation"] for probe in probes]
    probe_epochs = sum(probe["cost_epochs"] for probe in probes)
    # The epochs up to the start were trained for the mask alone where the weights were rewound.
    before_start = start_epoch or 0
    train_epochs = before_start + epochs if retrain is not None else epochs
    iterative = iterative_pruning_epochs(final_sparsity, epochs)
    probe_seconds = sum(probe["seconds"] for probe in probes)
    seconds = {
        "train": _seconds(search) + _seconds(retrain) - probe_seconds,
        "probe": probe_seconds,
        "dense_baseline": _seconds(dense),
        "evaluate_and_export": evaluation["seconds"],
    }
    # In mode `rewind` the mask is there from the first step of the retraining on.
    updates = search["updates"] if retrain is None else [[0, evaluation["sparsity"]]]
    return {
        "schema_version": SCHEMA_VERSION,
        "mode": "ticket" if given else config["pruning"]["mode"],
        "config": config,
        "environment": environment,
        "command": command,
        "notes": notes,
        "dense": None
        if dense is None
        else {"test_accuracy": evaluation["dense_accuracy"], "epochs": epochs},
        "probe": {
            "epochs": [probe["epoch"] for probe in probes],
            **{
                name: [observation[name] for observation in observed]
                for name in ("ppr_accuracy", "pruned_accuracy", "dense_accuracy")
            },
            "cost_epochs": probe_epochs,
            "seconds": probe_seconds,
            "learning_rate": search["probe_learning_rate"],
            # Measured: a probe makes a least number of steps, whatever fraction was asked for.
            "fraction": probe_epochs / len(probes) if probes else search["probe_fraction"],
        },
        "signals": _signals(search["signals"], evaluation["layers"]),
        "start_epoch": start_epoch,
        "start_reason": search["start_reason"],
        "decision": {
            "detected": search["detected"],
            "latest_start_epoch": search["latest_start_epoch"],
            "detector": search["detector"],
        },
        "schedule": {
            **(search["schedule"] or {"begin_step": 0, "end_step": 0, "frequency": 1}),
            "initial_sparsity": config["pruning"]["initial_sparsity"],
            "final_sparsity": final_sparsity,
            "steps_per_epoch": steps_per_epoch,
            "updates": updates,
        },
        "ticket": {
            "test_accuracy": evaluation["ticket_accuracy"],
            "sparsity": evaluation["sparsity"],
            "layers": evaluation["layers"],
        },
        "cost": {
            "train_epochs": float(train_epochs),
            "probe_epochs": probe_epochs,
            "total_epochs": train_epochs + probe_epochs,
            # Spent for comparison only, not to find or train the ticket.
            "baseline_epochs": float(epochs - before_start) if dense is not None else 0.0,
            "iterative_pruning_epochs": float(iterative),
            "iterative_pruning_source": "analytic",
            "ratio": (train_epochs + probe_epochs) / iterative,
        },
        "seconds": {**seconds, "total": sum(seconds.values())},
    }


def _signals(found: dict, layers: list[dict]) -> dict:
    """Returns each signal as a list over epochs; the rates of an epoch are in `layers`' order."""
    names = ("pruning_rates", "mask_distances", "similarities")
    return {
        "epochs": [int(epoch) for epoch in found],
        "layers": [layer["name"] for layer in layers],
        **{name: [list(values[name]) for values in found.values()] for name in names},
    }


def _seconds(phase: dict | None) -> float:
    return sum(row["seconds"] for row in phase["rows"]) if phase else 0.0
