"""What the phases of a run leave: typed, with the way to JSON and back, and their report."""

from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from tf_earlyticket.callbacks.early_ticket import SearchState
from tf_earlyticket.config import Config
from tf_earlyticket.job.build import criterion_of
from tf_earlyticket.pruning.channels import Amounts, LayerCost, total_amounts
from tf_earlyticket.pruning.plan import iterative_pruning_epochs
from tf_earlyticket.report.report import (
    SCHEMA_VERSION,
    Cost,
    Decision,
    Dense,
    LeftDense,
    Probe,
    Report,
    Schedule,
    Signals,
    TicketAmounts,
    TicketOutcome,
)
from tf_earlyticket.tickets.storage import Layer


def to_json(result: object) -> Any:
    """Returns a result as plain values for JSON."""
    return msgspec.to_builtins(result, str_keys=True)


@dataclass(frozen=True)
class TrainingResult:
    """A training that came to its end.

    Attributes:
        rows: Of metrics, one an epoch, as `metrics.csv` has them.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class SharedResult(TrainingResult):
    """The dense training that the tickets of a family share.

    Attributes:
        losses: What the last probe of each goal found lost against the dense network, a fraction;
            None where none was made.
        probe_epochs: What all probes of all goals cost, in epochs.
    """

    losses: dict[str, float | None] = field(default_factory=dict)
    probe_epochs: float = 0.0


@dataclass(frozen=True)
class ScheduleSteps:
    """The pruning schedule as it was followed, in optimizer steps."""

    begin_step: int
    end_step: int
    frequency: int


@dataclass(frozen=True)
class Origin:
    """Where the ticket that a run was given comes from, in epochs of the run that found it."""

    start_epoch: int | None
    rewind_epoch: int | None


@dataclass(frozen=True)
class SearchResult(SearchState):
    """The search for the start epoch, in mode `continue` with the training that pruned.

    Attributes:
        rows: As of `TrainingResult`.
        detector: Name of what decided; "ticket" where one was given instead of a search,
            "schedule" where it takes the whole training.
        latest_start_epoch: Last epoch at which it could have decided.
        schedule: None where nothing was pruned.
        ticket: Of a ticket that was given.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    detector: str = "ticket"
    latest_start_epoch: int | None = None
    schedule: ScheduleSteps | None = None
    ticket: Origin | None = None


@dataclass(frozen=True)
class Evaluation:
    """What the test set said, and what was exported.

    Attributes:
        ticket_accuracy: Of the pruned network, a fraction.
        dense_accuracy: Of the dense baseline; None if it was not trained.
        sparsity: Of the ticket, a fraction.
        layers: As `Ticket.layers()`.
        seconds: For evaluation and export.
        left_dense: Why each other weight with two or more axes was not pruned, by name.
        network_sparsity: Of all kernels, a fraction.
        costs: What each layer of the network costs.
    """

    ticket_accuracy: float
    dense_accuracy: float | None
    sparsity: float
    layers: list[dict[str, Any]]
    seconds: float
    left_dense: dict[str, str] = field(default_factory=dict)
    network_sparsity: float | None = None
    costs: list[LayerCost] = field(default_factory=list)


def build_report(
    config: Config,
    *,
    search: SearchResult,
    retrain: TrainingResult | None,
    dense: TrainingResult | None,
    evaluation: Evaluation,
    environment: dict[str, Any],
    steps_per_epoch: int,
    command: str,
    notes: list[str],
) -> Report:
    """Puts the results of a run's phases together.

    Args:
        config: The resolved config.
        search: Result of the search phase.
        retrain: Result of the retraining in mode `rewind`, else None.
        dense: Result of the dense baseline, None if it was not trained.
        evaluation: On the test set.
        environment: As `report.environment` gives it.
        steps_per_epoch: Optimizer steps of an epoch.
        command: Command line that repeats the run.
        notes: Sentences that a reader of the numbers has to know.
    """
    epochs = config.train.epochs
    # A ticket that was trained instead of searched for has a sparsity of its own.
    given = config.ticket is not None
    final_sparsity = evaluation.sparsity if given else config.pruning.final_sparsity
    layers = msgspec.convert(evaluation.layers, list[Layer])
    probes = search.probes
    probe_epochs = sum(probe.cost_epochs for probe in probes)
    # The epochs up to the start were trained for the mask alone where the weights were rewound.
    before_start = search.start_epoch or 0
    train_epochs = before_start + epochs if retrain is not None else epochs
    iterative = iterative_pruning_epochs(final_sparsity, epochs)
    probe_seconds = sum(probe.seconds for probe in probes)
    seconds = {
        "train": _seconds(search) + _seconds(retrain) - probe_seconds,
        "probe": probe_seconds,
        "dense_baseline": _seconds(dense),
        "evaluate_and_export": evaluation.seconds,
    }

    def seen(name: str) -> list[float | None]:
        return [getattr(probe.observation, name) for probe in probes]

    return Report(
        schema_version=SCHEMA_VERSION,
        mode="ticket" if given else config.pruning.mode,
        config=config.to_dict(),
        environment=environment,
        command=command,
        notes=notes,
        dense=None if dense is None else Dense(evaluation.dense_accuracy, epochs),
        probe=Probe(
            epochs=[probe.epoch for probe in probes],
            ppr_accuracy=seen("ppr_accuracy"),
            pruned_accuracy=seen("pruned_accuracy"),
            dense_accuracy=seen("dense_accuracy"),
            cost_epochs=probe_epochs,
            seconds=probe_seconds,
            learning_rate=search.probe_learning_rate,
            # Measured: a probe makes a least number of steps, whatever fraction was asked for.
            fraction=probe_epochs / len(probes) if probes else search.probe_fraction,
        ),
        signals=_signals(search, [layer.name for layer in layers]),
        start_epoch=search.start_epoch,
        start_reason=search.start_reason,
        decision=Decision(
            search.detected if search.start_epoch else None,
            search.latest_start_epoch,
            search.detector,
        ),
        schedule=Schedule(
            **asdict(search.schedule or ScheduleSteps(0, 0, 1)),
            initial_sparsity=config.pruning.initial_sparsity,
            final_sparsity=final_sparsity,
            steps_per_epoch=steps_per_epoch,
            # In mode `rewind` the mask is there from the first step of the retraining on.
            updates=[*search.updates] if retrain is None else [(0, evaluation.sparsity)],
        ),
        ticket=TicketOutcome(
            evaluation.ticket_accuracy, evaluation.sparsity, layers, evaluation.network_sparsity
        ),
        macs=_of_ticket(config, [cost.macs for cost in evaluation.costs]),
        parameters=_of_ticket(config, [cost.parameters for cost in evaluation.costs]),
        layers=evaluation.costs,
        left_dense=[LeftDense(*entry) for entry in evaluation.left_dense.items()],
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


def _of_ticket(config: Config, amounts: list[Amounts]) -> TicketAmounts | None:
    total = total_amounts(amounts)
    if not total.dense:
        # A run of before that goes on, or a network of which nothing can be counted.
        return None
    of_channels = criterion_of(config.pruning).of_channels
    return TicketAmounts(**asdict(total), ticket=total.removed if of_channels else total.masked)


def _signals(search: SearchResult, layers: list[str]) -> Signals:
    rates, distances, similarities = (
        [list(getattr(values, name)) for values in search.signals.values()]
        for name in ("pruning_rates", "mask_distances", "similarities")
    )
    return Signals([*search.signals], layers, rates, distances, similarities)


def _seconds(phase: TrainingResult | SearchResult | None) -> float:
    return sum(row["seconds"] for row in phase.rows) if phase else 0.0
