"""tf_keras models into TFMOT's wrappers and out again, on copies."""

import contextlib

from tf_earlyticket.backends.layer_kinds import (
    cannot_be_pruned,
    choose_layers,
    in_float32,
    nothing_to_prune,
)
from tf_earlyticket.backends.tf_keras.compat import PruneLowMagnitude, PruneRegistry, keras, tfmot
from tf_earlyticket.backends.tf_keras.names import named_layers
from tf_earlyticket.backends.tf_keras.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.backends.tf_keras.wrapper import MaskedPruneLowMagnitude, is_prunable
from tf_earlyticket.errors import InputError

DEFAULT_SCHEDULE = EarlyTicketPolynomialDecay
_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


def wrap(model, schedule, *, prunable, ranking: str, group_size: int):
    """Returns a copy of a tf_keras model whose prunable layers are in pruning wrappers.

    Args:
        model: A built functional or sequential tf_keras model.
        schedule: A TFMOT `PruningSchedule`.
        prunable: As for `et.wrap_for_pruning`.
        ranking: As for `et.wrap_for_pruning`.
        group_size: As for `et.wrap_for_pruning`.

    Raises:
        InputError: If the model or an argument cannot be used.
    """
    _check_model(model)
    if not isinstance(schedule, tfmot.sparsity.keras.PruningSchedule):
        raise InputError(
            f"schedule is a {type(schedule).__name__}: expected a TFMOT PruningSchedule such as "
            "EarlyTicketPolynomialDecay()."
        )
    if isinstance(schedule, EarlyTicketPolynomialDecay):
        # A schedule that served one model must not begin early in the next.
        schedule = EarlyTicketPolynomialDecay.from_config(schedule.get_config())
    chosen = {id(layer) for layer in _choose(model, prunable)}

    def wrap_layer(layer):
        copy = _copy_layer(layer)
        if id(layer) not in chosen:
            return copy
        return MaskedPruneLowMagnitude(copy, schedule, ranking=ranking, group_size=group_size)

    with _resettable_random_state():
        copy = _clone(model, wrap_layer)
    for method in ("call", "train_step", "test_step", "compute_loss"):
        if getattr(type(copy), method) is not getattr(type(model), method):
            raise InputError(
                f"Model {model.name!r} is a {type(model).__name__} with a {method} of its own, "
                "which its copy would lose: expected a class with keras.Model's constructor, "
                "(inputs, outputs, name)."
            )
    return copy


def strip(model):
    """Returns a plain copy of a wrapped model: no wrappers, weights exactly as sparse."""

    def strip_layer(layer):
        return _copy_layer(layer.layer if isinstance(layer, PruneLowMagnitude) else layer)

    return _clone(model, strip_layer)


def float32_copy(model):
    """Returns a copy of a plain model that computes in float32, whatever it was trained in.

    Raises:
        InputError: If a layer cannot be copied.
    """

    return _clone(model, lambda layer: _copy_layer(layer, in_float32))


def prunable_layer_names(model, prunable=None) -> list[str]:
    """Returns the names of the layers that `wrap_for_pruning` would prune, in model order."""
    chosen = {id(layer) for layer in _choose(model, prunable)}
    return [name for name, layer in named_layers(model) if id(layer) in chosen]


def _choose(model, prunable) -> list:
    layers = dict(named_layers(model))
    names = choose_layers(layers, prunable, convolutions=_CONVOLUTIONS, dense=(keras.layers.Dense,))
    chosen = [layers[name] for name in names]
    for layer in chosen:
        if not is_prunable(layer):
            raise cannot_be_pruned(layer)
    chosen = [layer for layer in chosen if _has_prunable_weight(layer)]
    if not chosen:
        raise nothing_to_prune(model)
    return chosen


def _has_prunable_weight(layer) -> bool:
    if hasattr(layer, "get_prunable_weights"):
        return bool(layer.get_prunable_weights())
    return not PruneRegistry.supports(layer) or bool(PruneRegistry._weight_names(layer))


def _check_model(model) -> None:
    name = model.name
    models = [model, *(m for m in model.submodules if isinstance(m, keras.Model))]
    for part in models:
        if not (isinstance(part, keras.Sequential) or part._is_graph_network):
            raise InputError(
                f"Model {part.name!r} is subclassed ({type(part).__name__}): expected a "
                "functional or sequential model."
            )
        if not part.built or not part.inputs:
            raise InputError(
                f"Model {part.name!r} is not built: give its first layer an input shape."
            )
    if any(isinstance(layer, PruneLowMagnitude) for layer in model.submodules):
        raise InputError(f"Model {name!r} is wrapped for pruning already: expected a plain model.")


@contextlib.contextmanager
def _resettable_random_state():
    # Keras' older random operations keep their state inside the compiled step, where a probe
    # could not put it back.
    backend = keras.backend.experimental
    enabled = backend.is_tf_random_generator_enabled()
    backend.enable_tf_random_generator()
    try:
        yield
    finally:
        if not enabled:
            backend.disable_tf_random_generator()


def _copy_layer(layer, change=lambda config: config):
    config = change(layer.get_config())
    # The kind of random state that wrap_for_pruning chose.
    config.pop("rng_type", None)
    if getattr(layer, "synchronized", False):
        # Keras' batch norm leaves this out of its config.
        config["synchronized"] = True
    try:
        return type(layer).from_config(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"Layer {layer.name!r} of type {type(layer).__name__} cannot be copied by "
            f"get_config/from_config: {error}"
        ) from error


def _clone(model, make_layer):
    # By identity: a layer may be shared by a model and another inside it.
    copies = {}

    def clone_layer(layer):
        if id(layer) not in copies:
            if isinstance(layer, keras.Model):
                copy = keras.models.clone_model(layer, clone_function=clone_layer)
            else:
                copy = make_layer(layer)
            copies[id(layer)] = layer, copy
        return copies[id(layer)][1]

    with model.distribute_strategy.scope():
        copy = keras.models.clone_model(model, clone_function=clone_layer)
        for old, new in copies.values():
            if not isinstance(new, keras.Model):
                new.set_weights(old.get_weights())
    return copy
