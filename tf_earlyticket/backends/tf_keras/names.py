"""One name per layer and weight, the same for a wrapped, a stripped and a plain model."""

from collections.abc import Iterator, Mapping

import numpy as np

from tf_earlyticket.backends.tf_keras.compat import PruneLowMagnitude, keras


def named_layers(model) -> Iterator[tuple[str, object]]:
    """Yields (path, layer) of every layer that is not itself a model, in model order, once.

    Pruning wrappers are yielded as they are, under the name of the layer inside. The path of a
    layer in a nested model starts with that model's name: "backbone/conv1".
    """
    yield from _walk(model, "", set())


def _walk(model, prefix: str, seen: set[int]):
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        name = layer.layer.name if isinstance(layer, PruneLowMagnitude) else layer.name
        if isinstance(layer, keras.Model):
            yield from _walk(layer, f"{prefix}{name}/", seen)
        else:
            yield f"{prefix}{name}", layer


def named_weights(model) -> dict[str, object]:
    """Returns every weight variable of the plain model by name, such as "stem_conv/kernel".

    Masks and the other variables of the wrappers are left out.
    """
    weights = {}
    for path, layer in named_layers(model):
        inner = layer.layer if isinstance(layer, PruneLowMagnitude) else layer
        for variable in inner.weights:
            short = variable.name.split("/")[-1].split(":")[0]
            name, number = f"{path}/{short}", 1
            while name in weights:
                number += 1
                name = f"{path}/{short}_{number}"
            weights[name] = variable
    return weights


def prunable_weights(model) -> dict[str, tuple[object, object, object]]:
    """Returns TFMOT's (weight, mask, threshold) variables by the weight's name, in model order."""
    by_id = {id(variable): name for name, variable in named_weights(model).items()}
    return {
        by_id[id(weight)]: (weight, mask, threshold)
        for _, layer in named_layers(model)
        if isinstance(layer, PruneLowMagnitude)
        for weight, mask, threshold in layer.pruning_vars
    }


def host_copies(variables: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Returns the variables' values by the same names; the mean where replicas differ."""
    values = keras.backend.batch_get_value(list(variables.values()))
    return dict(zip(variables, values, strict=True))


def host_views(variables: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Returns the values as read-only arrays, without copying where they are in host memory.

    Training on replaces what a view holds on to, and so takes a copy of it: for a short look.
    """
    return {name: np.asarray(variable.read_value()) for name, variable in variables.items()}
