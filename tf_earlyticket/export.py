"""From a trained, wrapped model to a ticket directory with a plain SavedModel."""

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from tf_earlyticket.adapters.names import named_weights
from tf_earlyticket.adapters.select import adapter_for, training_record
from tf_earlyticket.adapters.wrap import strip_pruning
from tf_earlyticket.core.masks import mask_sparsity
from tf_earlyticket.core.ticket import Ticket
from tf_earlyticket.errors import InputError
from tf_earlyticket.version import __version__


def export_ticket(model, directory: str | os.PathLike, *, provenance: dict | None = None) -> Ticket:
    """Writes the model's ticket and its SavedModel.

    The directory holds the masks, the weights to rewind to and `ticket.json`, and in
    `saved_model/` the trained sparse network without wrappers: it loads with plain TensorFlow
    (`loaded = tf.saved_model.load(...)`, then `loaded.serve(inputs)`), any batch size.

    Args:
        model: A model returned by `wrap_for_pruning`, trained with `et.EarlyTicket` or
            `et.MaskUpdate`. It stays usable.
        directory: Created; a ticket that is there is replaced once the new one is complete.
        provenance: JSON values to keep in `ticket.json`, such as the config.

    Returns:
        The ticket. Its rewind weights are those that `et.EarlyTicket` copied in this process;
        for a model loaded from a file they are the model's present weights.

    Raises:
        InputError: If the model is not wrapped, nothing is pruned, a pruned weight is not zero,
            or the directory cannot be written.
    """
    adapter = adapter_for(model)
    masks = adapter.masks()
    if mask_sparsity(masks) == 0 and adapter.final_sparsity() > 0:
        raise InputError(
            "model has no pruned weight: train it with callbacks=[et.EarlyTicket(train, "
            "validation)] before export_ticket."
        )
    if adapter.violations():
        raise InputError(
            f"model has {adapter.violations()} pruned weights that are not zero: something wrote "
            "weights after training; expected a model as training left it."
        )
    record = training_record(model)
    rewind_epoch, rewind_weights = record.rewind_epoch, record.rewind_weights
    if rewind_epoch is None:
        rewind_weights = adapter.all_weights()
    ticket = Ticket(
        masks=masks,
        rewind_weights=rewind_weights,
        rewind_epoch=rewind_epoch,
        start_epoch=record.start_epoch,
        provenance={
            "tf_earlyticket": __version__,
            "start_reason": record.start_reason,
            **(provenance or {}),
        },
    )
    stripped = strip_pruning(model)
    check_sparse(stripped, masks)
    target = Path(directory)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            # Written first, moved last: a failure leaves an earlier ticket as it was.
            save_model(stripped, Path(folder) / "saved_model")
            ticket.save(target)
            shutil.rmtree(target / "saved_model", ignore_errors=True)
            os.replace(Path(folder) / "saved_model", target / "saved_model")
    except OSError as error:
        raise InputError(
            f"directory={str(directory)!r} cannot be written ({error.strerror}); expected a "
            "directory that can be created and written."
        ) from error
    return ticket


def save_model(model, directory: Path) -> None:
    """Writes a plain model as a SavedModel with the endpoints `serve` and `serving_default`."""
    # Keras prints the list of everything it captured.
    with contextlib.redirect_stdout(io.StringIO()):
        model.export(str(directory))


def check_sparse(model, masks: dict[str, np.ndarray]) -> None:
    """Checks a plain model against the masks.

    Raises:
        InputError: If a pruned weight is not exactly zero.
    """
    weights = named_weights(model)
    for name, mask in masks.items():
        wrong = np.count_nonzero(weights[name].numpy()[~mask])
        if wrong:
            raise InputError(f"{wrong} pruned weights of {name!r} are not zero.")


def rewind(model, ticket: Ticket) -> None:
    """Makes the model the ticket: its masks, on the weights of its rewind epoch.

    Train it with the full schedule afterwards; the masks hold by themselves. Optimizer slots of
    pruned weights are zeroed, the optimizer is otherwise left alone: compile the model anew for a
    retraining from the start.

    Args:
        model: A model returned by `wrap_for_pruning`, of the ticket's architecture.
        ticket: The ticket, such as from `et.Ticket.load`.

    Raises:
        InputError: If names or shapes differ; the model is then unchanged.
    """
    adapter = adapter_for(model)
    unmatched = sorted(set(ticket.masks) ^ set(adapter.masks()))
    if unmatched:
        raise InputError(
            f"ticket and model do not have the same prunable weights ({unmatched[0]!r} is in one "
            "only): expected the same architecture with the same layer names; Keras numbers "
            "unnamed layers anew, so wrap the same model object or name its layers."
        )
    adapter.check_masks(ticket.masks)
    adapter.set_all_weights(ticket.rewind_weights)
    adapter.set_masks(ticket.masks)
    # Again: the first time, masks that the model had before zeroed weights that the ticket keeps.
    adapter.set_all_weights(ticket.rewind_weights)
    record = training_record(model)
    record.rewind_weights = dict(ticket.rewind_weights)
    record.rewind_epoch = ticket.rewind_epoch
    record.start_epoch = ticket.start_epoch
