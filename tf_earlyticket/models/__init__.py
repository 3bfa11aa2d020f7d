"""Residual networks for CIFAR-sized and ImageNet-sized images.

The functions are imported when first used, so that `tf_earlyticket.models.names`
stays free of TensorFlow.
"""

import importlib

from tf_earlyticket.models.names import check_model_name, model_names

_HOMES = {
    "build_model": "registry",
    **dict.fromkeys(
        ("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"), "resnet_cifar"
    ),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50"), "resnet_imagenet"),
}

__all__ = ["check_model_name", "model_names", *_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
