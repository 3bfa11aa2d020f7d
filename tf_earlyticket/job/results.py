"""What the phases of a run leave: typed, with the way to JSON and back."""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from tf_earlyticket.callbacks.early_ticket import SearchState

Kind = TypeVar("Kind")


def to_json(result: object) -> Any:
    """Returns a result as plain values for JSON."""
    return msgspec.to_builtins(result, str_keys=True)


def from_json(values: Any, kind: type[Kind]) -> Kind:
    """Rebuilds a result of the given type; entries that are not part of it are passed over.

    Raises:
        ValueError: If an entry is missing or of another type.
    """
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"it is of another form: {error}") from None


@dataclass(frozen=True)
class TrainingResult:
    """A training that came to its end.

    Attributes:
        rows: Of metrics, one an epoch, as `metrics.csv` has them.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)


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
        detector: Name of what decided; "ticket" where one was given instead of a search.
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
    """

    ticket_accuracy: float
    dense_accuracy: float | None
    sparsity: float
    layers: list[dict[str, Any]]
    seconds: float
