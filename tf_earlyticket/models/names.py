"""The names of the models; imports no TensorFlow, for checks on the command line."""

from collections.abc import Callable

from tf_earlyticket.errors import InputError, suggestion

CIFAR_MODELS = ("resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
IMAGENET_MODELS = ("resnet18", "resnet34", "resnet50")


REGISTERED: dict[str, Callable] = {}


def model_names() -> tuple[str, ...]:
    """Returns the names that `build_model` accepts."""
    return (*CIFAR_MODELS, *IMAGENET_MODELS, *REGISTERED)


def register_model(name: str, build: Callable) -> None:
    """Makes a network of your own known by a name, for `config.model.name`.

    Args:
        name: A new name; one that was registered before is replaced.
        build: `build(input_shape, num_classes, weight_decay)` returns a new functional or
            sequential model of tf_keras (of Keras 3 for --keras=keras) that gives logits
            [batch, num_classes], float32.

    Raises:
        InputError: If the name is one of the toolkit's own or `build` cannot be called.
    """
    if name in CIFAR_MODELS + IMAGENET_MODELS:
        raise InputError(f"name={name!r}: expected another name than those of the toolkit.")
    if not callable(build):
        raise InputError(f"build is a {type(build).__name__}: expected a function.")
    REGISTERED[name] = build


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
