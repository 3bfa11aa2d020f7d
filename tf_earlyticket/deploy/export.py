"""From a trained, wrapped model to a ticket directory with a plain SavedModel."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tf_earlyticket import checks, files
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.deploy.remove_channels import without_channels
from tf_earlyticket.deploy.saved_model import add_pictures, check_outputs
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.masks import Mask, mask_sparsity
from tf_earlyticket.pruning.select import Criterion
from tf_earlyticket.tickets.storage import MASKED_MODEL, SAVED_MODEL, Pictures
from tf_earlyticket.tickets.ticket import Ticket
from tf_earlyticket.version import __version__, installed_versions


def export_ticket(
    model,
    directory: str | os.PathLike,
    *,
    provenance: dict | None = None,
    pictures: Pictures | None = None,
) -> Ticket:
    """Writes the model's ticket and its SavedModel.

    The directory holds the masks, the weights to rewind to, the trained weights and
    `ticket.json`, and in `saved_model/` the trained sparse network without wrappers, computing in
    float32: it loads with plain TensorFlow (`loaded = tf.saved_model.load(...)`, then
    `loaded.serve(inputs)`), any batch size. Of whole channels (`structure="channels"`) it is the
    small network, without those that nothing reads (`et.remove_channels`), its outputs compared
    with the masked one's, which is in `masked_model/`; `ticket.channels` is the map between them.

    Args:
        model: A model returned by `wrap_for_pruning`, trained with `et.EarlyTicket` or
            `et.MaskUpdate`. It stays usable.
        directory: Created; a ticket that is there is replaced once the new one is complete.
        provenance: JSON values to keep in `ticket.json`, such as the config.
        pictures: How the network takes pictures; its outputs are logits of the classes. The
            SavedModel then has a second signature: `loaded.serve_pictures(pictures)` takes them
            as they are, uint8 [batch, height, width, channels], and returns {"probabilities":
            float32 [batch, classes], "classes": their names}.

    Returns:
        The ticket. Its rewind weights are those that `et.EarlyTicket` copied in this process;
        for a model loaded from a file they are the model's present weights.

    Raises:
        InputError: If the model is not wrapped, nothing is pruned, a pruned weight is not zero,
            a pruned layer was quantised or got LoRA, the network does not take the pictures, or
            the directory cannot be written.
    """
    adapter, backend = pruned(model), backend_of(model)
    target = Path(directory).resolve()
    checks.plain_path("directory", target)
    adapter.check_layers()
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
    record, small, families = adapter.record, None, {}
    if adapter.criterion.of_channels:
        small, graph, kept = without_channels(model)
        families = {"channels": _families(adapter.criterion, kept)}
    ticket = Ticket(
        masks=masks,
        rewind_weights=record.rewind_weights or adapter.all_weights(),
        rewind_epoch=record.rewind_epoch,
        start_epoch=record.start_epoch,
        provenance={
            "versions": {"tf_earlyticket": __version__, **installed_versions()},
            "start_reason": record.start_reason,
            "pruning": dict(adapter.criterion.names),
            "left_dense": backend.left_dense(model),
            **families,
            "layers": [asdict(cost) for cost in adapter.layer_costs()],
            **(provenance or {}),
        },
        final_weights=adapter.all_weights(),
        input=pictures,
        channels={} if small is None else graph.places(kept),
    )
    plain = backend.exportable(model)
    weights = backend.named_weights(plain)
    if wrong := [name for name, mask in masks.items() if weights[name].numpy()[~mask].any()]:
        raise InputError(f"pruned weights of {', '.join(wrong)} are not zero.")
    try:
        # Written first, moved last: a failure leaves an earlier ticket as it was.
        with files.replacing_directory(target.with_name(f"{target.name}.{SAVED_MODEL}")) as folder:
            written = {SAVED_MODEL: plain}
            if small is not None:
                written = {SAVED_MODEL: backend.float32_copy(small), MASKED_MODEL: plain}
            for name, network in written.items():
                backend.save_model(network, folder / name)
                check_outputs(plain, folder / name)
                if ticket.input is not None:
                    add_pictures(folder / name, ticket.input)
            ticket.save(target, **{name: folder / name for name in written})
    except OSError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        expected = f"a directory that can be created and written, got: {cause.strerror or cause}"
        raise checks.refuse("directory", str(directory), expected) from error
    return ticket


def _families(criterion: Criterion, kept: Mask) -> list[dict]:
    """Returns of each family of channels how many stayed, and why all of them where they do."""
    return [
        {
            "name": family.name,
            "size": family.size,
            "kept": int(np.count_nonzero(kept[family.channels])),
            "pinned": family.pinned,
        }
        for family in criterion.structure.network.families
    ]
