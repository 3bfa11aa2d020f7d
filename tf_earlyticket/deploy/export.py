"""From a trained, wrapped model to a ticket directory with a plain SavedModel."""

import contextlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_earlyticket.backends.frameworks import always_compiled, framework_of
from tf_earlyticket.backends.select import adapter_for, named_weights, training_record
from tf_earlyticket.backends.wrapping import float32_copy, strip_pruning
from tf_earlyticket.deploy.keras3_export import save_by_tensorflow
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.pruning.masks import mask_sparsity
from tf_earlyticket.tickets.storage import SAVED_MODEL
from tf_earlyticket.tickets.ticket import Ticket
from tf_earlyticket.version import __version__, installed_versions


def export_ticket(model, directory: str | os.PathLike, *, provenance: dict | None = None) -> Ticket:
    """Writes the model's ticket and its SavedModel.

    The directory holds the masks, the weights to rewind to, the trained weights and
    `ticket.json`, and in `saved_model/` the trained sparse network without wrappers, computing in
    float32: it loads with plain TensorFlow (`loaded = tf.saved_model.load(...)`, then
    `loaded.serve(inputs)`), any batch size.

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
    ticket = Ticket(
        masks=masks,
        rewind_weights=record.rewind_weights or adapter.all_weights(),
        rewind_epoch=record.rewind_epoch,
        start_epoch=record.start_epoch,
        provenance={
            "versions": {"tf_earlyticket": __version__, **installed_versions()},
            "start_reason": record.start_reason,
            "pruning": {"ranking": adapter.ranking, "group_size": adapter.group_size},
            **(provenance or {}),
        },
        final_weights=adapter.all_weights(),
    )
    plain = float32_copy(strip_pruning(model))
    check_sparse(plain, masks)
    target = Path(directory)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            # Written first, moved last: a failure leaves an earlier ticket as it was.
            saved_model = Path(folder) / SAVED_MODEL
            save_model(plain, saved_model)
            check_outputs(plain, saved_model)
            ticket.save(target, saved_model=saved_model)
    except OSError as error:
        raise InputError(
            f"directory={str(directory)!r} cannot be written ({error.strerror}); expected a "
            "directory that can be created and written."
        ) from error
    return ticket


def save_model(model, directory: Path) -> None:
    """Writes a plain model as a SavedModel with the endpoints `serve` and `serving_default`."""
    if always_compiled(framework_of(model)) and save_by_tensorflow(model, directory):
        return
    # Keras prints the list of everything it captured.
    with contextlib.redirect_stdout(io.StringIO()):
        model.export(str(directory))


def check_outputs(model, directory: Path) -> None:
    """Compares a SavedModel with the Keras model it was written from, on seeded random inputs.

    Networks whose inputs have other free dimensions than the batch are not compared.

    Raises:
        RunError: If outputs differ by more than rounding.
    """
    # A subclassed model has none; in Keras 3 the types are names.
    specs = [(tuple(e.shape[1:]), tf.as_dtype(e.dtype)) for e in getattr(model, "inputs", ()) or ()]
    if not specs or any(None in shape for shape, _ in specs):
        return
    random = np.random.default_rng(0)
    inputs = [
        # Integers may be indices: 0 is always one.
        (random.normal(size=(2, *shape)) * dtype.is_floating).astype(dtype.as_numpy_dtype)
        for shape, dtype in specs
    ]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    loaded = tf.saved_model.load(str(directory))
    served = loaded.serve(tf.nest.map_structure(tf.constant, inputs))
    for ours, theirs in zip(
        tf.nest.flatten(served), tf.nest.flatten(model(inputs, training=False)), strict=True
    ):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * (1 + np.abs(theirs).max())):
            raise RunError(
                f"The SavedModel's outputs differ from the model's by up to "
                f"{np.abs(ours - theirs).max():.2g}. Nothing was written."
            )


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
