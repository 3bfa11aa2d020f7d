"""The networks of `keras.applications`, with random weights and logits: `applications/CLASS`."""

import importlib
import inspect

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.models.editing import edited, with_weight_decay
from tf_earlyticket.models.resnet import Network

# Those that both Keras have, and those of tf_keras alone.
_OF_BOTH = (
    *("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *(f"EfficientNetB{size}" for size in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("InceptionResNetV2", "InceptionV3"),
    *("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"),
    *("NASNetMobile", "NASNetLarge"),
    *(f"ResNet{depth}{form}" for form in ("", "V2") for depth in (50, 101, 152)),
    *("VGG16", "VGG19", "Xception"),
)
_OF_TF_KERAS = (
    *(
        f"RegNet{form}{size:03}"
        for form in "XY"
        for size in (2, 4, 6, 8, 16, 32, 40, 64, 80, 120, 160, 320)
    ),
    *(f"ResNetRS{depth}" for depth in (50, 101, 152, 200, 270, 350, 420)),
)
CLASSES = (*_OF_BOTH, *_OF_TF_KERAS)


def classes_of(framework: str) -> tuple[str, ...]:
    """Returns the classes of networks that a Keras has; imports none."""
    return CLASSES if framework == "tf_keras" else _OF_BOTH


def check_class(name: str, framework: str) -> None:
    """Checks that a Keras has a class of networks; imports none.

    Raises:
        InputError: If it does not.
    """
    checks.choice("name", name, CLASSES)
    if name not in classes_of(framework):
        raise checks.refuse("keras", framework, f"'tf_keras': Keras 3 has no applications/{name}")


def application(
    input_shape: tuple[int, int, int],
    num_classes: int,
    weight_decay: float,
    name: str,
    framework: str = "tf_keras",
    alpha: float | None = None,
    minimalistic: bool | None = None,
) -> Network:
    """Returns a network of `keras.applications` with random weights, for normalised pictures.

    Its own scaling of pixels, where it has some, is left out: what comes in is normalised.

    Args:
        input_shape: (height, width, channels).
        num_classes: Number of logits.
        weight_decay: In the paper's form; see `resnet.resnet20`.
        name: Of the class, such as "MobileNetV2".
        framework: "tf_keras" or "keras" (Keras 3).
        alpha: Width, of the MobileNets.
        minimalistic: Of MobileNetV3.

    Raises:
        InputError: For an unknown class, or a shape or parameter that it does not take.

    Example:
        >>> application((32, 32, 3), 10, 1e-4, "MobileNetV2", alpha=0.35)
    """
    check_class(name, framework)
    keras = importlib.import_module(framework)
    build = getattr(keras.applications, name)
    taken = inspect.signature(build).parameters
    given = {"alpha": alpha, "minimalistic": minimalistic}
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in taken:
            raise checks.refuse("name", f"{name}({key}={given[key]})", f"no {key} with {name}")
    if "include_preprocessing" in taken:
        given["include_preprocessing"] = False
    try:
        model = build(
            input_shape=input_shape,
            weights=None,
            classes=num_classes,
            classifier_activation=None,
            **given,
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"name='applications/{name}': it cannot be built for pictures of {input_shape} "
            f"({reason:.200})."
        ) from error

    def change(kinds, config: dict) -> None:
        if "Rescaling" in kinds:
            config.update(scale=1.0, offset=0.0)

    if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers):
        model = edited(model, change)
    return with_weight_decay(model, weight_decay)
