"""Networks by name: the toolkit's residual networks and those that users register.

Importing this package imports neither TensorFlow nor Keras; building a network does.
"""

import re
from collections.abc import Callable
from typing import Any

from tf_earlyticket import checks
from tf_earlyticket.models.applications import CLASSES, application
from tf_earlyticket.models.editing import framework_of, synchronized
from tf_earlyticket.models.resnet import (
    Network,
    resnet8,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet44,
    resnet50,
    resnet56,
    resnet110,
)
from tf_earlyticket.registry import Registry

_OWN = (resnet8, resnet20, resnet32, resnet44, resnet56, resnet110, resnet18, resnet34, resnet50)

__all__ = ["MODELS", "build_model", "register_model", *(build.__name__ for build in _OWN)]


class _Networks(Registry[Callable]):
    """Networks by name, and those of `keras.applications` by theirs: "applications/VGG16"."""

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        found = re.fullmatch(r"applications/(\w+)(?:\((.*)\))?", str(text))
        if found:
            checks.choice("name", text.partition("(")[0], _APPLICATIONS)
            parameters = f", {found[2]}" if found[2] else ""
            return super().parse(f"application(name={found[1]!r}{parameters})")
        return super().parse(text)


_APPLICATIONS = [f"applications/{name}" for name in CLASSES]
MODELS = _Networks("name")


def register_model(name: str, build: Callable, *, own: bool = False) -> None:
    """Makes a network known by a name, for `config.model.name`.

    Args:
        name: A new name; one that was registered before is replaced.
        build: `build(input_shape, num_classes, weight_decay)` returns a new functional or
            sequential model of tf_keras (of Keras 3 for --keras=keras) that gives logits
            [batch, num_classes], float32. If it has a parameter `framework`, "tf_keras" or "keras"
            is handed to it. Others, with defaults, can be set in the name: "my_cnn(width=8)".
        own: Whether it is the toolkit's own, which users cannot replace.

    Raises:
        InputError: If the name is one of the toolkit's own or `build` cannot be called.
    """
    MODELS.register(name, checks.function("build", build), own=own)


for _build in _OWN:
    register_model(_build.__name__, _build, own=True)
register_model("application", application, own=True)


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
        name: As registered; it may carry parameters.
        input_shape: (height, width, channels).
        num_classes: Number of logits.
        weight_decay: In the paper's form; see `resnet.resnet20`.
        synchronized_batch_norm: Whether batch statistics are those of the whole batch, not of
            each replica's part.
        framework: "tf_keras" or "keras" (Keras 3).

    Raises:
        InputError: For an unknown name or another argument out of range.
    """
    model = MODELS.make(name, input_shape, num_classes, weight_decay, framework=framework)
    made_of = framework_of(model)
    if made_of != framework:
        raise checks.refuse("name", name, f"one of {framework}; its function returns {made_of}'s")
    return synchronized(model) if synchronized_batch_norm else model
