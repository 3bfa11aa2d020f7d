"""The names of the models; imports no TensorFlow, for checks on the command line."""

from tf_earlyticket.errors import InputError, suggestion

CIFAR_MODELS = ("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
IMAGENET_MODELS = ("resnet18", "resnet34", "resnet50")


def model_names() -> tuple[str, ...]:
    """Returns the names that `build_model` accepts."""
    return CIFAR_MODELS + IMAGENET_MODELS


def check_model_name(name: str) -> None:
    """Checks that `name` is one of `model_names()`.

    Raises:
        InputError: if it is not.
    """
    if name not in model_names():
        raise InputError(
            f"model={name!r}: unknown; accepted are {', '.join(model_names())}."
            + suggestion(str(name), model_names())
        )
