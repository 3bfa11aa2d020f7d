"""What a run reports: the content of `report.json`, typed. Reports of older runs can be read.

Accuracies and sparsities are fractions in [0, 1], costs are epochs, times are seconds. Epochs are
counted from 1, and a value at epoch e was measured at the end of that epoch.
"""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tf_earlyticket import files
from tf_earlyticket.pruning.plan import iterative_pruning_epochs
from tf_earlyticket.tickets.storage import Layer
from tf_earlyticket.version import installed_versions

SCHEMA_VERSION = 1


@dataclass
class Dense:
    """The dense network that was trained to the end, for comparison."""

    test_accuracy: float | None
    epochs: int


@dataclass
class Probe:
    """What the probes saw, as lists over their epochs, and what they cost."""

    epochs: list[int] = field(default_factory=list)
    ppr_accuracy: list[float | None] = field(default_factory=list)
    pruned_accuracy: list[float | None] = field(default_factory=list)
    dense_accuracy: list[float | None] = field(default_factory=list)
    cost_epochs: float = 0.0
    seconds: float = 0.0
    learning_rate: float | None = None
    fraction: float | None = None


@dataclass
class Signals:
    """The `WeightSignals` of the search, as lists over its epochs; rates are in layers' order."""

    epochs: list[int] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    pruning_rates: list[list[float]] = field(default_factory=list)
    mask_distances: list[list[float]] = field(default_factory=list)
    similarities: list[list[float]] = field(default_factory=list)


@dataclass
class Decision:
    """Who decided when to start; `detected` is None where nobody was asked."""

    detected: bool | None = None
    latest_start_epoch: int | None = None
    detector: str = ""


@dataclass
class Schedule:
    """The ramp in optimizer steps, and the updates that were made: (step, sparsity reached)."""

    begin_step: int | None = None
    end_step: int | None = None
    frequency: int | None = None
    initial_sparsity: float | None = None
    final_sparsity: float | None = None
    steps_per_epoch: int | None = None
    updates: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class TicketOutcome:
    """What the ticket came to."""

    test_accuracy: float
    sparsity: float
    layers: list[Layer]


@dataclass
class Cost:
    """In epochs: one is one pass over the training set, whoever made it."""

    train_epochs: float
    probe_epochs: float
    total_epochs: float
    iterative_pruning_epochs: float
    iterative_pruning_source: str
    ratio: float
    # Spent for comparison only, not to find or train the ticket.
    baseline_epochs: float = 0.0


@dataclass
class Latency:
    """Of an artefact and of the dense network; their ratio with its 95 % interval."""

    seconds: float
    dense_seconds: float
    ratio: float
    low: float
    high: float
    rounds: int


@dataclass
class Artefact:
    """A file for deployment, as `make_artefacts` returns it; `about` if it was made earlier."""

    format: str
    file: str
    bytes: int
    compressed_bytes: int
    dense_bytes: int
    dense_compressed_bytes: int
    bytes_ratio: float
    compressed_ratio: float
    latency: Latency
    relative_error: float
    same_class: float
    accuracy: float | None = None
    about: dict[str, Any] | None = None


@dataclass
class _Named:
    name: str = "–"


@dataclass
class _Training:
    epochs: int = 0
    weight_decay: float | None = None
    momentum: float | None = None


@dataclass
class Recipe:
    """What readers of a report use of its config, which may be of an older version."""

    data: _Named = field(default_factory=_Named)
    model: _Named = field(default_factory=_Named)
    train: _Training = field(default_factory=_Training)
    seed: int = 0


@dataclass
class Report:
    """The content of `report.json`; fields without a default are in every report."""

    schema_version: int
    config: dict[str, Any]
    environment: dict[str, Any]
    dense: Dense | None
    probe: Probe
    start_epoch: int | None
    start_reason: str
    ticket: TicketOutcome
    cost: Cost
    seconds: dict[str, float]
    mode: str = ""
    command: str = ""
    notes: list[str] = field(default_factory=list)
    signals: Signals = field(default_factory=Signals)
    decision: Decision = field(default_factory=Decision)
    schedule: Schedule = field(default_factory=Schedule)
    artefacts: list[Artefact] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuses a config that readers could not use.

        Raises:
            ValueError: If a field of it has another type.
        """
        msgspec.convert(self.config, Recipe)

    @property
    def recipe(self) -> Recipe:
        """What the config says of data, network and training."""
        return msgspec.convert(self.config, Recipe)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        return msgspec.to_builtins(self)

    @classmethod
    def from_json(cls, values: Any) -> "Report":
        """Returns the report of which `to_json` made the values; unknown entries are passed over.

        Raises:
            ValueError: If a field is missing or of another type.
        """
        return msgspec.convert(values, cls)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Returns the report in a file.

        Raises:
            InputError: If it cannot be read, is no JSON or no report.
        """
        return files.read_record(path, cls)


def read_artefacts(values: Sequence[Mapping]) -> list[Artefact]:
    """Returns the entries of "artefacts" in `artefacts.json`, typed.

    Raises:
        ValueError: If a field is missing or of another type.
    """
    return msgspec.convert(values, list[Artefact])


def environment(strategy: str, replicas: int) -> dict[str, Any]:
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
) -> Report:
    """Puts the results of a run's phases together.

    Args:
        config: The resolved config, nested.
        search: Result of the search phase; its `signals` are a `WeightSignals` per epoch.
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
    layers = msgspec.convert(evaluation["layers"], list[Layer])
    probes = search["probes"]
    probe_epochs = sum(probe["cost_epochs"] for probe in probes)
    # The epochs up to the start were trained for the mask alone where the weights were rewound.
    before_start = search["start_epoch"] or 0
    train_epochs = before_start + epochs if retrain is not None else epochs
    iterative = iterative_pruning_epochs(final_sparsity, epochs)
    probe_seconds = sum(probe["seconds"] for probe in probes)
    seconds = {
        "train": _seconds(search) + _seconds(retrain) - probe_seconds,
        "probe": probe_seconds,
        "dense_baseline": _seconds(dense),
        "evaluate_and_export": evaluation["seconds"],
    }

    def seen(name: str) -> list[float | None]:
        return [probe["observation"][name] for probe in probes]

    return Report(
        schema_version=SCHEMA_VERSION,
        mode="ticket" if given else config["pruning"]["mode"],
        config=config,
        environment=environment,
        command=command,
        notes=notes,
        dense=None if dense is None else Dense(evaluation["dense_accuracy"], epochs),
        probe=Probe(
            epochs=[probe["epoch"] for probe in probes],
            ppr_accuracy=seen("ppr_accuracy"),
            pruned_accuracy=seen("pruned_accuracy"),
            dense_accuracy=seen("dense_accuracy"),
            cost_epochs=probe_epochs,
            seconds=probe_seconds,
            learning_rate=search["probe_learning_rate"],
            # Measured: a probe makes a least number of steps, whatever fraction was asked for.
            fraction=probe_epochs / len(probes) if probes else search["probe_fraction"],
        ),
        signals=_signals(search["signals"], [layer.name for layer in layers]),
        start_epoch=search["start_epoch"],
        start_reason=search["start_reason"],
        decision=Decision(search["detected"], search["latest_start_epoch"], search["detector"]),
        schedule=Schedule(
            **(search["schedule"] or {"begin_step": 0, "end_step": 0, "frequency": 1}),
            initial_sparsity=config["pruning"]["initial_sparsity"],
            final_sparsity=final_sparsity,
            steps_per_epoch=steps_per_epoch,
            # In mode `rewind` the mask is there from the first step of the retraining on.
            updates=[(0, evaluation["sparsity"])]
            if retrain is not None
            else [(step, sparsity) for step, sparsity in search["updates"]],
        ),
        ticket=TicketOutcome(evaluation["ticket_accuracy"], evaluation["sparsity"], layers),
        cost=Cost(
            train_epochs=float(train_epochs),
            probe_epochs=probe_epochs,
            total_epochs=train_epochs + probe_epochs,
            baseline_epochs=float(epochs - before_start) if dense is not None else 0.0,
            iterative_pruning_epochs=float(iterative),
            iterative_pruning_source="analytic",
            ratio=(train_epochs + probe_epochs) / iterative,
        ),
        seconds={**seconds, "total": sum(seconds.values())},
    )


def _signals(found: dict, layers: list[str]) -> Signals:
    rates, distances, similarities = (
        [list(values[name]) for values in found["values"]]
        for name in ("pruning_rates", "mask_distances", "similarities")
    )
    return Signals(found["epochs"], layers, rates, distances, similarities)


def _seconds(phase: dict | None) -> float:
    return sum(row["seconds"] for row in phase["rows"]) if phase else 0.0
