"""Which layers of a network are pruned: the default of the paper, or the user's choice."""

from collections.abc import Callable, Collection, Mapping

from tf_earlyticket.errors import InputError, suggestion


def choose_layers(
    layers: Mapping[str, object],
    prunable: Callable[[object], bool] | Collection[str] | None,
    *,
    convolutions: tuple[type, ...],
    dense: tuple[type, ...],
) -> list[str]:
    """Returns the names of the layers to prune, in model order.

    Args:
        layers: All layers by name, in model order.
        prunable: A function of a layer, or names; None: all convolutions and dense layers except
            the first convolution and the last of all, as in the paper.
        convolutions: Classes that count as convolutions.
        dense: Classes that count as dense layers.

    Raises:
        InputError: For a name that is not among the layers.
    """
    if prunable is None:
        kernels = [n for n, layer in layers.items() if isinstance(layer, (*convolutions, *dense))]
        first = next((n for n in kernels if isinstance(layers[n], convolutions)), None)
        return [name for name in kernels[:-1] if name != first]
    if callable(prunable):
        return [name for name, layer in layers.items() if prunable(layer)]
    if isinstance(prunable, str):
        raise InputError(f"prunable={prunable!r}: expected a list of names or a function.")
    for name in prunable:
        if name not in layers:
            raise InputError(
                f"prunable: the model has no layer {name!r}.{suggestion(name, layers)}"
            )
    return [name for name in layers if name in set(prunable)]


def cannot_be_pruned(layer) -> InputError:
    """Returns the error for a chosen layer without weights that can be pruned."""
    return InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned: expected "
        "a convolution, dense or embedding layer, or one with get_prunable_weights()."
    )


def nothing_to_prune(model) -> InputError:
    """Returns the error for a model without a layer that can be pruned."""
    return InputError(
        f"Model {model.name!r} has no prunable layer: expected a convolution or dense layer "
        "besides the first convolution and the last layer, or prunable=..."
    )


def in_float32(config):
    """Returns the config of a layer or model without mixed policies, also of layers inside."""
    if not isinstance(config, dict):
        return config
    return {
        key: "float32" if key == "dtype" and "mixed" in str(value) else in_float32(value)
        for key, value in config.items()
    }
