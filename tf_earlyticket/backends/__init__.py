"""The two Keras that are served, and what pruning needs of them; neither is imported unasked.

`backend_of(model)` is the `Backend` of a model's Keras, `pruned(model)` the one `PrunedModel` of a
wrapped model. Nothing above this package asks which Keras it is.
"""

import importlib
import os
from collections.abc import Callable, Collection
from importlib.util import find_spec

from tf_earlyticket import checks
from tf_earlyticket.backends.base import Backend, PrunedModel
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.pruning.structures import Structure

FRAMEWORKS = ("tf_keras", "keras")
# Packages by the name they are imported by.
_NEEDED = {"tf_keras": ("tf_keras", "tensorflow_model_optimization"), "keras": ("keras",)}
_HOMES = {"tf_keras": "tf_keras", "keras": "keras3"}


def check_installed(framework: str) -> None:
    """Checks that what a Keras needs is installed; imports nothing.

    Raises:
        InputError: If it is not.
    """
    missing = [name for name in _NEEDED[framework] if find_spec(name) is None]
    if missing:
        (other,) = set(FRAMEWORKS) - {framework}
        raise InputError(
            f"config.model.keras={framework!r}: {' and '.join(missing)} not installed; expected "
            f"{other!r}, or an environment with {' and '.join(missing)}."
        )
    if framework == "keras":
        check_computes_with(os.environ.get("KERAS_BACKEND") or "tensorflow")


def check_computes_with(backend: str) -> None:
    """Checks that Keras 3 computes with something that is served.

    Raises:
        InputError: If it does not.
    """
    if backend not in ("tensorflow", "jax"):
        expected = "'tensorflow' or 'jax', in the environment or in keras.json"
        raise checks.refuse("KERAS_BACKEND", backend, expected)


def framework_of(model) -> str:
    """Returns "tf_keras" (Keras 2) or "keras" (Keras 3), whichever a model is of.

    Raises:
        InputError: If the model is of neither.
    """
    for kind in type(model).__mro__:
        package = kind.__module__.split(".")[0]
        if kind.__name__ == "Model" and package in FRAMEWORKS:
            return package
    raise InputError(
        f"model is a {type(model).__module__}.{type(model).__name__}: expected a Keras model, of "
        "tf_keras (Keras 2) or keras (Keras 3)."
    )


def backend_named(framework: str) -> Backend:
    """Returns the back end of a Keras, which is imported now.

    Raises:
        InputError: For an unknown name, or a Keras 3 that computes with what is not served.
    """
    home = _HOMES[checks.choice("framework", framework, FRAMEWORKS)]
    return importlib.import_module(f"tf_earlyticket.backends.{home}.backend").BACKEND


def backend_of(model) -> Backend:
    """Returns the back end of a model's Keras.

    Raises:
        InputError: If it is no Keras model.
    """
    return backend_named(framework_of(model))


def pruned(model) -> PrunedModel:
    """Returns what serves a wrapped model: the same object at every call.

    Raises:
        InputError: If the model was not made by `wrap_for_pruning`.
    """
    return backend_of(model).pruned(model)


def wrap_for_pruning(
    model,
    schedule=None,
    *,
    prunable: Callable[[object], bool] | Collection[str] | None = None,
    ranking: str = "global",
    group_size: int = 1,
    structure: str | Structure | None = None,
    update: str = "shrink",
    copy: bool = True,
):
    """Returns a copy of `model` that is ready for pruning. Not compiled.

    The copy has the model's weights, statistics, vocabularies and frozen parts, and shares no
    layer with it, so the model stays as it is. By default the kernels of all convolutions, dense,
    einsum, recurrent and attention layers are pruned, also of those inside other layers, except
    the first convolution and the layers that feed the outputs, as in the paper, and except frozen
    ones. Depthwise convolutions and embeddings are pruned only if chosen, biases and BatchNorm
    never. `docs/layers.md` has the table.

    Args:
        model: A built functional or sequential model of tf_keras, nested models are fine; or a
            built model of Keras 3 (TensorFlow or JAX backend), which may also be subclassed.
        schedule: Default `EarlyTicketPolynomialDecay()`, 80 %; for tf_keras also another TFMOT
            `PruningSchedule`.
        prunable: Which layers to prune instead, also frozen ones: a function of a layer, or the
            layers, or their names ("backbone/conv1" in a nested model, "each/conv" in a layer).
            One that holds others means these: an LSTM its cell, attention its four kernels.
        ranking: "global" (one ranking over all prunable weights), "layerwise", "erk" (a density
            by the shape of each layer), "lamp", or one of your own (`et.register_ranking`); scores
            by name: "global(score='taylor', batches=8)", see `docs/choosing.md`. Each layer keeps
            at least one weight or group, unless it is
            asked otherwise: "global(empty_layers=True)".
        group_size: Number of consecutive weights along a kernel's input channels that live or die
            together (paper appendix B); 1 is element-wise.
        structure: "channels": whole channels, which `et.remove_channels` can take out, of all
            layers that make or read them; with parameters, "channels(of='macs', multiple=4)", see
            `et.structures.Channels`. "2:4", any n:m: n of m weights along the input channels,
            which fixes the final sparsity, see `et.structures.NofM`. "1x4", "1x2": blocks along the
            output channels. Also another structure by name, or an object of `et.structures`.
            None: as `group_size` says.
        update: What becomes of masks during the ramp: "shrink" (pruned weights never return),
            "regrow" (they go on training, unseen, and may), "alternate" (sparse and dense phases
            by turns), or "swap" (weak weights are exchanged for those with large gradients), maybe
            with parameters: "swap(fraction=0.2)", see `tf_earlyticket.pruning.updates`. Weights
            outside the present masks are always zero.
        copy: False, for Keras 3 only, prunes the model itself: for one that cannot be copied, or
            to save its memory. It stays compiled if it is.

    Raises:
        InputError: If the model is of another kind (a subclassed tf_keras one, not built, wrapped
            already) or cannot be copied, no layer is prunable, or an argument is out of range.

    Example:
        >>> model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.8))
        >>> model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    """
    backend = backend_of(model)
    criterion = resolve_criterion(ranking, group_size, structure)
    schedule = backend.schedule_class() if schedule is None else schedule
    return backend.wrap(model, schedule, prunable, criterion, update, copy)


def strip_pruning(model):
    """Returns a plain copy of a wrapped model: no wrappers, weights exactly as sparse.

    Args:
        model: A model returned by `wrap_for_pruning`, or loaded from its file. It stays usable.

    Raises:
        InputError: If the model is not a Keras model.
    """
    return backend_of(model).strip(model)
