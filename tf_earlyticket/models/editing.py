"""Copies of networks with other configs of their layers."""

import importlib
from collections.abc import Callable, Collection

from tf_earlyticket.models.resnet import Network

# Of kernels that the paper's weight decay is on.
_KERNELS = ("kernel_regularizer", "depthwise_regularizer", "pointwise_regularizer")


def framework_of(model: Network) -> str:
    """Returns the package of the Keras that a model is of; "" if it is of none."""
    packages = (kind.__module__.split(".")[0] for kind in type(model).__mro__)
    return next((name for name in packages if name in ("tf_keras", "keras")), "")


def edited(model: Network, change: Callable[[Collection[str], dict], None]) -> Network:
    """Returns a copy of a model, with its weights, whose layers have other configs.

    Args:
        model: A functional or sequential one; models inside are copied as well.
        change: Changes the config, a dict, of a layer, also of one inside of a wrapper such as
            `Bidirectional` and of a recurrent cell; it is given the names of the layer's classes.
    """
    keras = importlib.import_module(framework_of(model))

    def change_inside(config: dict) -> None:
        for value in config.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(inner, dict) and isinstance(inner.get("config"), dict):
                    change({str(inner.get("class_name"))}, inner["config"])
                    change_inside(inner["config"])

    def copy(layer):
        # A subclassed one is made from its config, as a layer is.
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            return edited(layer, change)
        config = layer.get_config()
        change({kind.__name__ for kind in type(layer).__mro__}, config)
        change_inside(config)
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    for layer in copied._flatten_layers():
        # What `Normalization` keeps beside its weights, which Keras 3 does not compute again.
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()
    return copied


def with_weight_decay(model: Network, weight_decay: float) -> Network:
    """Returns a copy of a model whose kernels decay, but for those that have a regularizer.

    Args:
        model: As for `edited`.
        weight_decay: In the paper's form; see `resnet.resnet20`. 0: the model itself is returned.
    """
    if not weight_decay:
        return model
    keras = importlib.import_module(framework_of(model))
    regularizer = keras.regularizers.serialize(keras.regularizers.L2(weight_decay / 2))

    def change(_, config: dict) -> None:
        if not any(config.get(name) for name in _KERNELS):
            config.update({name: regularizer for name in _KERNELS if name in config})

    return edited(model, change)


def synchronized(model: Network) -> Network:
    """Returns a copy of a model, with its weights, whose batch norms see the whole batch.

    Several replicas then train as one device does with the same batch, at the cost of exchanging
    the statistics of every such layer in every step.
    """

    def change(kinds, config: dict) -> None:
        if "BatchNormalization" in kinds:
            config["synchronized"] = True

    return edited(model, change)
