"""A model becomes the ticket: to train it (`rewind`), or as it was trained."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.structures import Channels
from tf_earlyticket.tickets.storage import Array
from tf_earlyticket.tickets.ticket import Ticket


def rewind(model: Any, ticket: Ticket, *, new_layers: Collection[str] = ()) -> None:
    """Makes the model the ticket: its masks, on the weights of its rewind epoch.

    Train it with the full schedule afterwards; the masks hold by themselves. Optimizer slots of
    pruned weights are zeroed, the optimizer is otherwise left alone: compile the model anew for a
    retraining from the start.

    Args:
        model: A model returned by `wrap_for_pruning`, of the ticket's architecture; or of that
            without its removed channels (`et.remove_channels`).
        ticket: The ticket, such as from `et.Ticket.load`.
        new_layers: Names of layers that stay as they are in the model, unpruned, with all inside
            them, and may differ in shape from the ticket's: such as the classifier, for a data set
            of other classes.

    Raises:
        InputError: If names or shapes differ; the model is then unchanged.
    """
    adapter = pruned(model)
    if isinstance(new_layers, str):
        raise checks.refuse("new_layers", new_layers, "a list of names")
    for name in new_layers:
        checks.choice("a name in new_layers", name, adapter.named_layers())

    def is_new(weight: str) -> bool:
        # Also of a layer inside: recurrent layers and attention have no weights of their own.
        return any(weight.startswith(f"{name}/") for name in new_layers)

    present, whole = adapter.all_weights(), ticket
    ticket = _fitting(whole, {name: w for name, w in present.items() if not is_new(name)})
    masks = {name: mask for name, mask in ticket.masks.items() if not is_new(name)}
    masks |= _masks_of_new(adapter, masks, is_new)
    if ticket is not whole:
        # Nothing of it is pruned, whichever of its weights the model prunes.
        masks = {name: mask for name, mask in masks.items() if not mask.all()}
        masks = {n: np.ones(mask.shape, bool) for n, mask in adapter.masks().items()} | masks
    unmatched = sorted(set(masks) ^ set(adapter.masks()))
    if unmatched:
        raise InputError(
            f"ticket and model do not have the same prunable weights ({unmatched[0]!r} is in one "
            "only): expected the same architecture with the same layer names; Keras numbers "
            "unnamed layers anew, so wrap the same model object or name its layers."
        )
    adapter.check_masks(masks)
    weights = {name: weight for name, weight in ticket.rewind_weights.items() if not is_new(name)}
    weights |= {name: weight for name, weight in present.items() if is_new(name)}
    adapter.set_all_weights(weights)
    adapter.set_masks(masks)
    # Again: the first time, masks that the model had before zeroed weights that the ticket keeps.
    adapter.set_all_weights(weights)
    record = pruned(model).record
    record.rewind_weights = weights
    record.rewind_epoch = ticket.rewind_epoch
    record.start_epoch = ticket.start_epoch


def load_trained_weights(model: Any, ticket: Ticket) -> None:
    """Gives a plain model the ticket's trained, sparse weights: for evaluation or quantisation.

    Args:
        model: A Keras model of the ticket's architecture, not wrapped; or of that without its
            removed channels.
        ticket: A ticket that was trained.

    Raises:
        InputError: If the ticket was not trained, or a name or shape differs; the model is then
            unchanged.
    """
    if not ticket.final_weights:
        raise InputError("ticket has no trained weights: expected one that et.export_ticket wrote.")
    backend = backend_of(model)
    ticket = _fitting(ticket, backend.named_weights(model))
    backend.write_weights(model, ticket.final_weights)


def _fitting(ticket: Ticket, weights: Mapping[str, Any]) -> Ticket:
    """Returns the small ticket where a model's weights have its shapes, else the ticket itself."""
    small = ticket.small()
    fits = all(
        name in small.rewind_weights and small.rewind_weights[name].shape == tuple(weight.shape)
        for name, weight in weights.items()
    )
    return small if fits else ticket


def _masks_of_new(
    adapter: PrunedModel, known: dict[Any, Array], is_new: Callable[[str], bool]
) -> dict[Any, Array]:
    """Returns masks of layers that the ticket does not know: nothing is pruned.

    But what makes or reads channels is, where the masks `known` are without these.
    """
    new: dict[Any, Array] = {n: mask for n, mask in adapter.masks().items() if is_new(n)}
    structure = adapter.criterion.structure
    if not isinstance(structure, Channels):
        return {name: np.ones(mask.shape, bool) for name, mask in new.items()}
    return structure.masks(structure.whole(known), new)
