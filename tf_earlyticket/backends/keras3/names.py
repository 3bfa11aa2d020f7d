"""One name per layer and weight of a Keras 3 model: those that tf_keras models have, too."""

from collections.abc import Iterator, Mapping

import numpy as np

from tf_earlyticket.backends.keras3.compat import keras


def named_layers(model) -> Iterator[tuple[str, object]]:
    """Yields (path, layer) of every layer that is not itself a model, in model order, once.

    A layer made of others is followed by them: "backbone/conv1", "attention/query".
    """
    yield from _walk(model, "", set())


def _walk(parent, prefix: str, seen: set[int]):
    for layer in _children(parent):
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        path = f"{prefix}{layer.name}"
        if not isinstance(layer, keras.Model):
            yield path, layer
        yield from _walk(layer, f"{path}/", seen)


def _children(layer) -> list:
    if isinstance(layer, keras.Model):
        return [child for child in layer.layers if not isinstance(child, keras.layers.InputLayer)]
    return list(layer._layers)


def own_weights(layer) -> list:
    """Returns the weights of a layer without those of the layers inside it."""
    inside = {id(weight) for child in _children(layer) for weight in child.weights}
    return [weight for weight in layer.weights if id(weight) not in inside]


def named_weights(model) -> dict[str, object]:
    """Returns every weight variable by name, such as "stem_conv/kernel", in model order."""
    weights = {}
    for path, layer in named_layers(model):
        for variable in own_weights(layer):
            short = _TF_KERAS_NAMES.get((type(layer).__name__, variable.name), variable.name)
            name, number = f"{path}/{short}", 1
            while name in weights:
                number += 1
                name = f"{path}/{short}_{number}"
            weights[name] = variable
    known = {id(variable) for variable in weights.values()}
    # A subclassed model may own weights itself.
    weights |= {v.name: v for v in model.weights if id(v) not in known}
    return weights


# Weights that Keras 3 renamed; a ticket of one Keras fits a model of the other.
_TF_KERAS_NAMES = {
    ("DepthwiseConv1D", "kernel"): "depthwise_kernel",
    ("DepthwiseConv2D", "kernel"): "depthwise_kernel",
}


def host_copies(variables: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Returns the variables' values by the same names, as arrays of their own."""
    return {name: np.array(value) for name, value in host_views(variables).items()}


def host_views(variables: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Returns the values as arrays, without copying where they are in host memory."""
    return {name: np.asarray(keras.ops.convert_to_numpy(v.value)) for name, v in variables.items()}
