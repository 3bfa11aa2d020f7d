"""Which adapter serves a model, and what is remembered of a model's training for its ticket."""

import weakref
from dataclasses import dataclass, field

import numpy as np

from tf_earlyticket.adapters.base import PruningAdapter
from tf_earlyticket.adapters.tfmot_adapter import TfmotAdapter


def adapter_for(model) -> PruningAdapter:
    """Returns the adapter that serves the model's class.

    Raises:
        InputError: If the model was not made by `wrap_for_pruning`.
    """
    return TfmotAdapter(model)


@dataclass
class TrainingRecord:
    """What the callbacks learn while a model trains and its ticket should tell.

    Attributes:
        rewind_weights: Every weight of the plain model at the end of `rewind_epoch`.
        rewind_epoch: Epochs done when they were copied, 0 for the initial weights.
        start_epoch: Epoch at whose end pruning started, from 1; None if not by a probe.
        start_reason: Why then.
    """

    rewind_weights: dict[str, np.ndarray] = field(default_factory=dict)
    rewind_epoch: int | None = None
    start_epoch: int | None = None
    start_reason: str = ""


# Not an attribute of the model: Keras would track the arrays and save them in every checkpoint.
_records: "weakref.WeakKeyDictionary[object, TrainingRecord]" = weakref.WeakKeyDictionary()


def training_record(model) -> TrainingRecord:
    """Returns the model's record, empty if it was not trained in this process."""
    return _records.setdefault(model, TrainingRecord())
