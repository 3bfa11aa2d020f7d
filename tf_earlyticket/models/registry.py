"""Models by name."""

from tf_earlyticket.keras_compat import keras
from tf_earlyticket.models import resnet_cifar, resnet_imagenet
from tf_earlyticket.models.names import CIFAR_MODELS, check_model_name, model_names

__all__ = ["build_model", "model_names"]


def build_model(
    name: str,
    input_shape: tuple[int, int, int],
    num_classes: int,
    weight_decay: float = 1e-4,
) -> keras.Model:
    """Returns a new, uncompiled model that gives logits.

    Args:
        name: one of `model_names()`.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        weight_decay: in the paper's form; see `resnet_cifar.resnet_cifar`.

    Raises:
        InputError: for an unknown name or another argument out of range.
    """
    check_model_name(name)
    module = resnet_cifar if name in CIFAR_MODELS else resnet_imagenet
    return getattr(module, name)(input_shape, num_classes, weight_decay)
