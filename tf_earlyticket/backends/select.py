"""Which adapter serves a model, and what is remembered of a model's training for its ticket."""

import logging
import weakref
from dataclasses import dataclass, field

import numpy as np

from tf_earlyticket.backends.base import PruningAdapter
from tf_earlyticket.backends.frameworks import framework_of

logger = logging.getLogger(__name__)


def adapter_for(model) -> PruningAdapter:
    """Returns the adapter that serves the model's class.

    Raises:
        InputError: If the model was not made by `wrap_for_pruning`.
    """
    # Neither framework is imported for a model of the other.
    if framework_of(model) == "keras":
        from tf_earlyticket.backends.keras3.pruned_model import Keras3Adapter

        return Keras3Adapter(model)
    from tf_earlyticket.backends.tf_keras.pruned_model import TfmotAdapter

    return TfmotAdapter(model)


def state_files(model):
    """Returns the module that writes the state of the model's training to files and reads it."""
    if framework_of(model) == "keras":
        from tf_earlyticket.backends.keras3 import state as files
    else:
        from tf_earlyticket.backends.tf_keras import state as files
    return files


def named_weights(model) -> dict[str, object]:
    """Returns every weight variable of a plain or wrapped model of either Keras, by name."""
    if framework_of(model) == "keras":
        from tf_earlyticket.backends.keras3 import names
    else:
        from tf_earlyticket.backends.tf_keras import names
    return names.named_weights(model)


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


def record_rewind_weights(model, epoch: int, wanted_epoch: int) -> None:
    """Copies the weights that a ticket of the model rewinds to: those after `epoch` epochs.

    Args:
        model: A wrapped model.
        epoch: Epochs done, 0 for the initial weights.
        wanted_epoch: After how many the user wants them; a warning says if it is too late.
    """
    if epoch > wanted_epoch:
        logger.warning("Rewind weights: those of epoch %d; earlier ones are gone.", epoch)
    record = training_record(model)
    record.rewind_weights = adapter_for(model).all_weights()
    record.rewind_epoch = epoch


def record_start(model, epoch: int, reason: str) -> None:
    """Notes for the ticket of the model that pruning started at the end of `epoch`, and why."""
    record = training_record(model)
    record.start_epoch, record.start_reason = epoch, reason
