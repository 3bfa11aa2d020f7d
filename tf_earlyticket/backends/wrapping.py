"""`wrap_for_pruning` and `strip_pruning`, for a model of either Keras."""

import importlib
from collections.abc import Callable, Collection

from tf_earlyticket.backends.frameworks import framework_of
from tf_earlyticket.pruning.rankings import check_ranking
from tf_earlyticket.pruning.schedule import check_integer

_MODULES = {"tf_keras": "tf_keras.wrap", "keras": "keras3.wrap"}


def _module(framework: str):
    # Neither framework is imported for a model of the other.
    return importlib.import_module(f"tf_earlyticket.backends.{_MODULES[framework]}")


def _module_for(model):
    return _module(framework_of(model))


def default_schedule(framework: str) -> type:
    """Returns the class of schedule for the models of a Keras, "tf_keras" or "keras"."""
    return _module(framework).DEFAULT_SCHEDULE


def wrap_for_pruning(
    model,
    schedule=None,
    *,
    prunable: Callable[[object], bool] | Collection[str] | None = None,
    ranking: str = "global",
    group_size: int = 1,
):
    """Returns a copy of `model` whose prunable layers are in pruning wrappers. Not compiled.

    The copy has the model's weights and shares no layer with it, so the model stays as it is.
    By default the kernels of all convolutions and dense layers are pruned except the first
    convolution and the last dense (or convolution) layer, as in the paper. Depthwise
    convolutions, biases and BatchNorm are never pruned.

    Args:
        model: A built functional or sequential model of tf_keras, nested models are fine; or a
            built model of Keras 3 (TensorFlow or JAX backend), which may also be subclassed.
        schedule: Default `EarlyTicketPolynomialDecay()`, 80 %; for tf_keras also another TFMOT
            `PruningSchedule`.
        prunable: Which layers to prune instead: a function of a layer, or the layers' names
            ("backbone/conv1" in a nested model).
        ranking: "global" (one ranking over all prunable weights), "layerwise", or one of your own
            (`et.register_ranking`).
        group_size: Number of consecutive weights along a kernel's input channels that live or die
            together (paper appendix B); 1 is element-wise.

    Raises:
        InputError: If the model is of another kind (a subclassed tf_keras one, not built, wrapped
            already), no layer is prunable, or an argument is out of range.

    Example:
        >>> model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.8))
        >>> model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    """
    module = _module_for(model)
    check_ranking(ranking)
    group_size = check_integer("group_size", group_size, 1)
    schedule = module.DEFAULT_SCHEDULE() if schedule is None else schedule
    return module.wrap(model, schedule, prunable=prunable, ranking=ranking, group_size=group_size)


def strip_pruning(model):
    """Returns a plain copy of a wrapped model: no wrappers, weights exactly as sparse.

    Args:
        model: A model returned by `wrap_for_pruning`, or loaded from its file. It stays usable.

    Raises:
        InputError: If the model is not a Keras model.
    """
    return _module_for(model).strip(model)


def float32_copy(model):
    """Returns a copy of a plain model that computes in float32, whatever it was trained in.

    Raises:
        InputError: If a layer cannot be copied.
    """
    return _module_for(model).float32_copy(model)


def prunable_layer_names(model, prunable=None) -> list[str]:
    """Returns the names of the layers that `wrap_for_pruning` would prune, in model order."""
    return _module_for(model).prunable_layer_names(model, prunable)
