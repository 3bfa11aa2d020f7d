"""What a run reports: the content of `report.json`, typed. Reports of older runs can be read.

Accuracies and sparsities are fractions in [0, 1], costs are epochs, times are seconds. Epochs are
counted from 1, and a value at epoch e was measured at the end of that epoch.
"""

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tf_earlyticket import files
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.channels import Amounts, LayerCost, total_amounts
from tf_earlyticket.report.drawing import count
from tf_earlyticket.tickets.storage import Layer
from tf_earlyticket.version import installed_versions

SCHEMA_VERSION = 1


def _check_lengths(first: list, *others: list) -> None:
    if any(len(other) != len(first) for other in others):
        raise ValueError("its lists must have a value for each epoch or layer")


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

    def __post_init__(self) -> None:
        """Refuses lists of different lengths; raises ValueError."""
        _check_lengths(self.epochs, self.ppr_accuracy, self.pruned_accuracy, self.dense_accuracy)


@dataclass
class Signals:
    """The `WeightSignals` of the search, as lists over its epochs; rates are in layers' order."""

    epochs: list[int] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    pruning_rates: list[list[float]] = field(default_factory=list)
    mask_distances: list[list[float]] = field(default_factory=list)
    similarities: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuses lists of different lengths; raises ValueError."""
        _check_lengths(self.epochs, self.pruning_rates, self.mask_distances, self.similarities)
        _check_lengths(self.layers, *self.pruning_rates)


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
    """What the ticket came to; `network_sparsity` is the part of all kernels that is pruned."""

    test_accuracy: float
    sparsity: float
    layers: list[Layer]
    network_sparsity: float | None = None


@dataclass(frozen=True)
class TicketAmounts(Amounts):
    """Of the network; `ticket` is what counts: channels taken out if whole ones were pruned."""

    ticket: int | None


@dataclass
class LeftDense:
    """A weight with two or more axes that was not pruned, and why."""

    name: str
    reason: str


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
    # Numbers in its tensors of two dimensions and more, and how many of them are zero.
    weights: int | None = None
    zeros: int | None = None


@dataclass
class Timing:
    """A network in one runtime beside the dense one, and that beside itself: the control.

    As `bench` measures it: medians, the ratios of latencies with 95 % intervals; load and memory
    are of loading it and its first call.
    """

    path: str
    runtime: str
    precision: str
    batch: int
    threads: int
    ms: float
    dense_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    control: float
    control_low: float
    control_high: float
    examples_per_second: float
    load_ms: float
    dense_load_ms: float
    bytes: int
    compressed_bytes: int
    dense_bytes: int
    dense_compressed_bytes: int
    memory_bytes: float | None = None
    dense_memory_bytes: float | None = None
    accuracy: float | None = None
    dense_accuracy: float | None = None

    @property
    def told(self) -> str:
        """The ratio with its interval; a dash where the dense network differs from itself."""
        if self.control_low <= 1 <= self.control_high:
            return f"{self.ratio:.2f} ({self.ratio_low:.2f} to {self.ratio_high:.2f})"
        return f"– (dense / dense: {self.control_low:.3f} to {self.control_high:.3f})"


@dataclass
class _Named:
    name: str = "–"


@dataclass
class _Training:
    epochs: int = 0
    weight_decay: float | None = None
    momentum: float | None = None
    optimizer: str = "sgd"
    clip_norm: float | None = None


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
    left_dense: list[LeftDense] = field(default_factory=list)
    bench: list[Timing] = field(default_factory=list)
    macs: TicketAmounts | None = None
    parameters: TicketAmounts | None = None
    layers: list[LayerCost] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuses a config that readers could not use.

        Raises:
            ValueError: If a field of it has another type.
        """
        files.typed(self.config, Recipe)

    @property
    def recipe(self) -> Recipe:
        """What the config says of data, network and training."""
        return files.typed(self.config, Recipe)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        # As it is read again: with lists where msgspec keeps tuples.
        return json.loads(json.dumps(msgspec.to_builtins(self)))

    @classmethod
    def from_json(cls, values: Any) -> "Report":
        """Returns the report of which `to_json` made the values; unknown entries are passed over.

        Raises:
            ValueError: If a field is missing or of another type.
        """
        return files.typed(values, cls)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Returns the report in a file.

        Raises:
            InputError: If it cannot be read, is no JSON or no report.
        """
        try:
            return files.read_record(path, cls)
        except InputError:
            content = files.read_json(path)
            if not isinstance(content, dict) or "family" not in content:
                raise
        raise InputError(f"{path} is of a family: expected the run of one ticket, in tickets/.")


COST_COLUMNS = (
    *("Layer", "Multiply-adds", "Masked", "Removed"),
    *("Parameters", "Masked", "Removed"),
)


def cost_rows(layers: Sequence[LayerCost]) -> list[list[str]]:
    """Returns the cells of the table of what layers cost, under `COST_COLUMNS`; last the sums."""
    total = LayerCost(
        "All",
        total_amounts([layer.macs for layer in layers]),
        total_amounts([layer.parameters for layer in layers]),
    )
    return [
        [layer.name, *(count(n) for a in (layer.macs, layer.parameters) for n in vars(a).values())]
        for layer in (*layers, total)
    ]


def read_artefacts(values: Sequence[Mapping]) -> list[Artefact]:
    """Returns the entries of "artefacts" in `artefacts.json`, typed.

    Raises:
        ValueError: If a field is missing or of another type.
    """
    return files.typed(values, list[Artefact])


def read_timings(values: Sequence[Mapping]) -> list[Timing]:
    """Returns the "rows" of the JSON of `bench`, typed.

    Raises:
        ValueError: If a field is missing or of another type.
    """
    return files.typed(values, list[Timing])


def processor() -> str:
    """Returns what the processor is called, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def environment(strategy: str, replicas: int, packages: Iterable[str] = ()) -> dict[str, Any]:
    """Returns what the run ran on: versions, also of further packages, machine, devices."""
    return {
        "python": platform.python_version(),
        "packages": installed_versions(packages),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu_count": os.cpu_count(),
        "strategy": strategy,
        "replicas": replicas,
    }
