"""Layers and weights of a model by path, the same for every Keras; none is imported."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping

# Weights that Keras 3 renamed; a ticket of one Keras fits a model of the other.
_TF_KERAS_NAMES = {
    ("DepthwiseConv1D", "kernel"): "depthwise_kernel",
    ("DepthwiseConv2D", "kernel"): "depthwise_kernel",
}


def is_model(layer) -> bool:
    """Tells whether a layer is a model of some Keras."""
    return any(kind.__name__ == "Model" for kind in type(layer).__mro__)


def plain_layer(layer):
    """Returns the layer in a pruning wrapper of TFMOT, or the layer itself."""
    return layer.layer if hasattr(layer, "pruning_schedule") else layer


def layers_inside(layer) -> list:
    """Returns a layer and all inside it; one comes before those inside it."""
    # What is an operation in Keras 3 has none.
    return list(layer._flatten_layers()) if hasattr(layer, "_flatten_layers") else [layer]


@contextlib.contextmanager
def called_as(layer, call: Callable) -> Iterator[None]:
    """Lets a layer be called in another way."""
    own = vars(layer).get("call")
    # Past Keras' tracking.
    object.__setattr__(layer, "call", call)
    try:
        yield
    finally:
        object.__delattr__(layer, "call")
        if own is not None:
            object.__setattr__(layer, "call", own)


def variables_of(layer) -> list:
    """Returns the weight variables of a layer; a lookup layer of tf_keras lists other things."""
    return [weight for weight in getattr(layer, "weights", ()) if hasattr(weight, "assign")]


def recurrent_states(layer) -> list:
    """Returns what stateful recurrent layers of a layer remember, which is no weight to Keras."""
    stateful = [each for each in layers_inside(layer) if getattr(each, "stateful", False)]
    return flat([getattr(each, "states", None) or [] for each in stateful])


def metrics_given(container) -> list:
    """Returns the metrics that `compile` was given, which Keras lists after their first batch only.

    Args:
        container: Where Keras keeps them, None before `compile`.
    """
    given = [getattr(container, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
    return [metric for metric in flat(given) if hasattr(metric, "reset_state")]


def flat(tensors) -> list:
    """Returns what lists, tuples and dicts in each other hold, in their order."""
    if isinstance(tensors, Mapping):
        tensors = list(tensors.values())
    if isinstance(tensors, (list, tuple)):
        return [each for part in tensors for each in flat(part)]
    return [tensors]


def as_computed(model, dataset):
    """Returns a `tf.data.Dataset` of what a model computes with, where its `fit` takes other data.

    Such as a task of KerasHub, whose preprocessor makes numbers of text.
    """
    prepared = getattr(model, "preprocess_samples", None)
    return dataset if prepared is None else dataset.map(prepared)


def own_variables(layer) -> list:
    """Returns the weight variables of a layer that are not of a layer inside."""
    inside = {id(variable) for child in _children(layer) for variable in variables_of(child)}
    return [variable for variable in variables_of(layer) if id(variable) not in inside]


def called_layers(model, is_network: Callable[[object], bool]) -> list:
    """Returns the layers and networks that the networks of a model call, without pruning wrappers.

    Args:
        model: A model.
        is_network: Tells a network of layers from what is one layer by itself.
    """
    found: dict[int, object] = {}

    def walk(network):
        for layer in map(plain_layer, _children(network)):
            if id(layer) not in found:
                found[id(layer)] = layer
                if is_network(layer):
                    walk(layer)

    if is_network(model):
        walk(model)
    return list(found.values())


def named_layers(model) -> dict[str, object]:
    """Returns every layer that is not itself a model by path, in model order, without wrappers.

    A layer made of others is followed by them: "backbone/conv1", "attention/query". Names that
    Keras gives these are without its number, which is another one in every model.
    """
    return {path: part for path, part in _parts(model).items() if not is_model(part)}


def named_weights(model) -> dict[str, object]:
    """Returns every weight variable by name, such as "stem_conv/kernel", in model order.

    Masks and the other variables of wrappers are left out. One that several layers share has the
    name of the first.
    """
    found, seen = {}, set()
    # What a model owns itself comes last.
    for path, part in sorted([("", model), *_parts(model).items()], key=lambda e: is_model(e[1])):
        # Those of a lookup layer belong to its vocabulary.
        for variable in [] if hasattr(part, "lookup_table") else own_variables(part):
            short = variable.name.split("/")[-1].split(":")[0]
            short = _TF_KERAS_NAMES.get((type(part).__name__, short), short)
            if id(variable) not in seen:
                seen.add(id(variable))
                found[_unused(f"{path}/{short}".lstrip("/"), found)] = variable
    return found


def _parts(model) -> dict[str, object]:
    found, seen = {}, set()

    def walk(parent, prefix):
        for layer in map(plain_layer, _children(parent)):
            if id(layer) not in seen:
                seen.add(id(layer))
                name = layer.name if is_model(parent) else _without_number(layer)
                path = _unused(f"{prefix}{name}", found)
                found[path] = layer
                walk(layer, f"{path}/")

    walk(model, "")
    return found


def _without_number(layer) -> str:
    name = re.sub(r"_\d+$", "", layer.name)
    # The two directions of one recurrent layer.
    plain = re.sub("^(forward|backward)_", "", name)
    automatic = plain.replace("_", "") == type(layer).__name__.lower().replace("_", "")
    return name if automatic else layer.name


def _children(layer) -> list:
    children = layer._flatten_layers(include_self=False, recursive=False)
    return [child for child in children if type(child).__name__ != "InputLayer"]


def _unused(name: str, used) -> str:
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}_{number}"
    return candidate
