"""Models by name."""

import importlib

from tf_earlyticket.errors import InputError
from tf_earlyticket.models import resnet_cifar, resnet_imagenet
from tf_earlyticket.models.layers import Network
from tf_earlyticket.models.names import CIFAR_MODELS, REGISTERED, check_model_name, model_names

__all__ = ["build_model", "model_names"]


def build_model(
    name: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    weight_decay: float = 1e-4,
    synchronized_batch_norm: bool = False,
    framework: str = "tf_keras",
) -> Network:
    """Returns a new, uncompiled model that gives logits.

    Args:
        name: one of `model_names()`.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        weight_decay: in the paper's form; see `resnet_cifar.resnet_cifar`.
        synchronized_batch_norm: whether batch statistics are those of the whole batch, not of
            each replica's part.
        framework: "tf_keras" or "keras" (Keras 3).

    Raises:
        InputError: for an unknown name or another argument out of range.
    """
    check_model_name(name)
    if name in REGISTERED:
        model = REGISTERED[name](input_shape, num_classes, weight_decay)
        made_of = _framework_of(model)
        if made_of != framework:
            raise InputError(
                f"model={name!r}: its function returns a {made_of} model, expected one "
                f"of {framework}."
            )
    else:
        build = getattr(resnet_cifar if name in CIFAR_MODELS else resnet_imagenet, name)
        model = build(input_shape, num_classes, weight_decay, framework)
    return synchronized(model) if synchronized_batch_norm else model


def synchronized(model: Network) -> Network:
    """Returns a copy of a model, with its weights, whose batch norms see the whole batch.

    Several replicas then train as one device does with the same batch, at the cost of exchanging
    the statistics of every such layer in every step.
    """

    keras = importlib.import_module(_framework_of(model))

    def copy(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["synchronized"] = True
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied


def _framework_of(model: Network) -> str:
    """Returns the package of the Keras that a model is of."""
    return next(
        kind.__module__.split(".")[0]
        for kind in type(model).__mro__
        if kind.__module__.split(".")[0] in ("tf_keras", "keras")
    )
