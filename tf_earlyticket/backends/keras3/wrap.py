"""Keras 3 models made ready for pruning, and plain again, on copies. No wrapper is needed."""

import numpy as np

from tf_earlyticket.backends.keras3.compat import Functional, keras
from tf_earlyticket.backends.keras3.masks import Pruning, pruning_of, remember, scope
from tf_earlyticket.backends.keras3.names import named_layers, own_weights
from tf_earlyticket.backends.layer_kinds import (
    cannot_be_pruned,
    choose_layers,
    in_float32,
    nothing_to_prune,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule

DEFAULT_SCHEDULE = EarlyTicketSchedule
_layers = keras.layers
_CONVOLUTIONS = (
    _layers.Conv1D,
    _layers.Conv2D,
    _layers.Conv3D,
    _layers.SeparableConv1D,
    _layers.SeparableConv2D,
)
_DENSE = (_layers.Dense,)
# Which weight of a layer is pruned.
_PRUNABLE = {
    (_layers.SeparableConv1D, _layers.SeparableConv2D): "pointwise_kernel",
    (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D, *_DENSE, _layers.EinsumDense): "kernel",
    (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose): "kernel",
    (_layers.Embedding,): "embeddings",
}


def wrap(model, schedule, *, prunable, ranking: str, group_size: int):
    """Returns a copy of a Keras 3 model that carries what `Keras3Adapter` needs. Not compiled.

    Args:
        model: A built functional, sequential or subclassed model.
        schedule: An `EarlyTicketSchedule`; the copy gets its own.
        prunable: As for `et.wrap_for_pruning`.
        ranking: As for `et.wrap_for_pruning`.
        group_size: As for `et.wrap_for_pruning`.

    Raises:
        InputError: If the model or an argument cannot be used.
    """
    if not isinstance(schedule, EarlyTicketSchedule):
        raise InputError(
            f"schedule is a {type(schedule).__name__}: expected an EarlyTicketPolynomialDecay for "
            "a Keras 3 model."
        )
    if pruning_of(model) is not None:
        raise InputError(
            f"Model {model.name!r} is wrapped for pruning already: expected a plain model."
        )
    if not model.built or not model.weights:
        raise InputError(
            f"Model {model.name!r} is not built: give its first layer an input shape, or call it "
            "on a batch."
        )
    copy = clone(model)
    layers, weights = dict(named_layers(copy)), {}
    for name in prunable_layer_names(copy, prunable):
        for variable in _prunable_weights(layers[name]):
            weights[f"{name}/{variable.name}"] = variable
    if not weights:
        raise nothing_to_prune(model)
    remember(
        copy,
        Pruning(
            weights=weights,
            schedule=type(schedule).from_config(schedule.get_config()),
            ranking=ranking,
            group_size=group_size,
            waiting={name: np.ones(weight.shape, bool) for name, weight in weights.items()},
        ),
    )
    return copy


def _prunable_weights(layer) -> list:
    if hasattr(layer, "get_prunable_weights"):
        return list(layer.get_prunable_weights())
    for kinds, name in _PRUNABLE.items():
        if isinstance(layer, kinds):
            return [weight for weight in own_weights(layer) if weight.name == name]
    raise cannot_be_pruned(layer)


def strip(model):
    """Returns a plain copy of a wrapped model, weights exactly as sparse."""
    return clone(model)


def float32_copy(model):
    """Returns a copy of a plain model that computes in float32, whatever it was trained in."""
    return clone(model, in_float32)


def prunable_layer_names(model, prunable=None) -> list[str]:
    """Returns the names of the layers that would be pruned, in model order."""
    return choose_layers(
        dict(named_layers(model)), prunable, convolutions=_CONVOLUTIONS, dense=_DENSE
    )


def clone(model, change=lambda config: config):
    """Returns a plain copy of a model with its weights, however it was made.

    Args:
        model: A built Keras 3 model.
        change: Applied to the configs of its layers, or of the whole model if it is subclassed.

    Raises:
        InputError: If the model or a layer cannot be made from its config.
    """

    def clone_layer(layer):
        return type(layer).from_config(change(layer.get_config()))

    with scope(model):
        try:
            if isinstance(model, (keras.Sequential, Functional)):
                copy = keras.models.clone_model(model, clone_function=clone_layer, recursive=True)
            else:
                copy = type(model).from_config(change(model.get_config()))
                copy.build_from_config(model.get_build_config())
            copy.set_weights(model.get_weights())
        except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"Model {model.name!r} of type {type(model).__name__} cannot be copied by "
                f"get_config/from_config: {reason:.300}"
            ) from error
    return copy
