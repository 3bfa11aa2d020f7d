"""`wrap_for_pruning` and `strip_pruning`: into the wrappers and out again, on copies."""

import contextlib
from collections.abc import Callable, Collection

from tf_earlyticket.adapters.names import named_layers
from tf_earlyticket.adapters.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.adapters.wrapper import MaskedPruneLowMagnitude, is_prunable
from tf_earlyticket.core.rankings import check_ranking
from tf_earlyticket.core.schedule import check_integer
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.keras_compat import PruneLowMagnitude, PruneRegistry, keras, tfmot

_CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)


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
        model: A built functional or sequential tf_keras model; nested models are fine.
        schedule: A TFMOT `PruningSchedule`; default `EarlyTicketPolynomialDecay()`, 80 %.
        prunable: Which layers to prune instead: a function of a layer, or the layers' names
            ("backbone/conv1" in a nested model).
        ranking: "global" (one ranking over all prunable weights), "layerwise", or one of your own
            (`et.register_ranking`).
        group_size: Number of consecutive weights along a kernel's input channels that live or die
            together (paper appendix B); 1 is element-wise.

    Raises:
        InputError: If the model is of another kind (Keras 3, subclassed, not built, wrapped
            already), no layer is prunable, or an argument is out of range.

    Example:
        >>> model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.8))
        >>> model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    """
    _check_model(model)
    schedule = EarlyTicketPolynomialDecay() if schedule is None else schedule
    if not isinstance(schedule, tfmot.sparsity.keras.PruningSchedule):
        raise InputError(
            f"schedule is a {type(schedule).__name__}: expected a TFMOT PruningSchedule such as "
            "EarlyTicketPolynomialDecay()."
        )
    check_ranking(ranking)
    group_size = check_integer("group_size", group_size, 1)
    if isinstance(schedule, EarlyTicketPolynomialDecay):
        # A schedule that served one model must not begin early in the next.
        schedule = EarlyTicketPolynomialDecay.from_config(schedule.get_config())
    chosen = {id(layer) for layer in _choose(model, prunable)}

    def wrap(layer):
        copy = _copy_layer(layer)
        if id(layer) not in chosen:
            return copy
        return MaskedPruneLowMagnitude(copy, schedule, ranking=ranking, group_size=group_size)

    with _resettable_random_state():
        copy = _clone(model, wrap)
    for method in ("call", "train_step", "test_step", "compute_loss"):
        if getattr(type(copy), method) is not getattr(type(model), method):
            raise InputError(
                f"Model {model.name!r} is a {type(model).__name__} with a {method} of its own, "
                "which its copy would lose: expected a class with keras.Model's constructor, "
                "(inputs, outputs, name)."
            )
    return copy


def strip_pruning(model):
    """Returns a plain copy of a wrapped model: no wrappers, weights exactly as sparse.

    Args:
        model: A model returned by `wrap_for_pruning`, or loaded from its file. It stays usable.

    Raises:
        InputError: If the model is not a tf_keras model.
    """
    _check_keras(model)

    def strip(layer):
        return _copy_layer(layer.layer if isinstance(layer, PruneLowMagnitude) else layer)

    return _clone(model, strip)


def float32_copy(model):
    """Returns a copy of a plain model that computes in float32, whatever it was trained in.

    Raises:
        InputError: If a layer cannot be copied.
    """

    return _clone(model, lambda layer: _copy_layer(layer, _in_float32))


def _in_float32(config):
    """Returns a layer's config with mixed policies replaced, those of layers inside included."""
    if not isinstance(config, dict):
        return config
    return {
        key: "float32" if key == "dtype" and "mixed" in str(value) else _in_float32(value)
        for key, value in config.items()
    }


def prunable_layer_names(model, prunable=None) -> list[str]:
    """Returns the names of the layers that `wrap_for_pruning` would prune, in model order."""
    chosen = {id(layer) for layer in _choose(model, prunable)}
    return [name for name, layer in named_layers(model) if id(layer) in chosen]


def _choose(model, prunable) -> list:
    layers = list(named_layers(model))
    if prunable is None:
        kernels = [
            layer for _, layer in layers if isinstance(layer, (*_CONVOLUTIONS, keras.layers.Dense))
        ]
        first = next((k for k in kernels if isinstance(k, _CONVOLUTIONS)), None)
        chosen = [layer for layer in kernels[:-1] if layer is not first]
    elif callable(prunable):
        chosen = [layer for _, layer in layers if prunable(layer)]
    else:
        if isinstance(prunable, str):
            raise InputError(f"prunable={prunable!r}: expected a list of names or a function.")
        known = dict(layers)
        for name in prunable:
            if name not in known:
                raise InputError(
                    f"prunable: the model has no layer {name!r}.{suggestion(name, known)}"
                )
        chosen = [known[name] for name in known if name in set(prunable)]
    for layer in chosen:
        if not is_prunable(layer):
            raise InputError(
                f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned: expected "
                "a convolution, dense or embedding layer, or one with get_prunable_weights()."
            )
    chosen = [layer for layer in chosen if _has_prunable_weight(layer)]
    if not chosen:
        raise InputError(
            f"Model {model.name!r} has no prunable layer: expected a convolution or dense layer "
            "besides the first convolution and the last layer, or prunable=..."
        )
    return chosen


def _has_prunable_weight(layer) -> bool:
    if hasattr(layer, "get_prunable_weights"):
        return bool(layer.get_prunable_weights())
    return not PruneRegistry.supports(layer) or bool(PruneRegistry._weight_names(layer))


def _check_keras(model) -> None:
    if isinstance(model, keras.Model):
        return
    kind = f"{type(model).__module__}.{type(model).__name__}"
    if any(base.__module__.split(".")[0] == "keras" for base in type(model).__mro__):
        raise InputError(
            f"model is a Keras 3 model ({kind}): expected a tf_keras (Keras 2) model; build it "
            "with `import tf_keras as keras`."
        )
    raise InputError(f"model is a {kind}: expected a tf_keras model.")


def _check_model(model) -> None:
    _check_keras(model)
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
