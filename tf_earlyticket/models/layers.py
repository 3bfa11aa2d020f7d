"""The layers that both families of residual networks are made of."""

import importlib
from typing import Any

from tf_earlyticket.errors import InputError

# The symbolic tensors of the functional API have no public type.
Symbolic = Any
# A functional model of either Keras.
Network = Any

# As in the reference implementations; Keras' own momentum of 0.99 adapts ten times slower.
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


def check_arguments(
    input_shape: tuple[int, int, int], num_classes: int, weight_decay: float, smallest: int
) -> None:
    """Checks what every model function receives.

    Raises:
        InputError: if a value cannot be used; `smallest` is the least height and width.
    """
    if len(input_shape) != 3 or min(input_shape[:2]) < smallest or input_shape[2] < 1:
        raise InputError(
            f"input_shape={input_shape!r}: accepted is (height, width, channels) with height "
            f"and width of at least {smallest}."
        )
    if num_classes < 1:
        raise InputError(f"num_classes={num_classes!r}: accepted is an integer from 1 on.")
    if not 0 <= weight_decay < 1:
        raise InputError(f"weight_decay={weight_decay!r}: accepted is a number in [0, 1).")


class Layers:
    """The layers of a network, of either Keras.

    Args:
        framework: "tf_keras" or "keras" (Keras 3).
        weight_decay: Of the kernels of convolutions and the classifier, in the paper's form.

    Attributes:
        keras: The module of that Keras.
    """

    def __init__(self, framework: str, weight_decay: float):
        # The name of a Keras is that of its package.
        self.keras = importlib.import_module(framework)
        self._weight_decay = weight_decay

    def _regularizer(self):
        """Returns the L2 term whose gradient is `weight_decay * w`, or None for 0.

        Keras' `L2(c)` adds 2 c w to the gradient, so c is half the weight decay.
        """
        return self.keras.regularizers.L2(self._weight_decay / 2) if self._weight_decay else None

    def conv(self, x: Symbolic, filters: int, size: int, *, strides: int, name: str) -> Symbolic:
        """Applies a square convolution without bias that keeps the size / strides.

        With strides the padding is explicit and symmetric: TensorFlow's "same" would put
        all of it at the far end, out of step with the shortcut, which takes pixels 0, 2, 4...
        """
        padding = "same"
        if strides > 1:
            padding = "valid"
            if size > 1:
                x = self.keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        return self.keras.layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding=padding,
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=self._regularizer(),
            name=name,
        )(x)

    def batch_norm(self, x: Symbolic, name: str) -> Symbolic:
        """Applies batch normalisation over the channels."""
        return self.keras.layers.BatchNormalization(**_BATCH_NORM, name=name)(x)

    def relu(self, x: Symbolic, name: str) -> Symbolic:
        """Applies max(x, 0)."""
        return self.keras.layers.ReLU(name=name)(x)

    def add(self, x: Symbolic, shortcut: Symbolic, name: str) -> Symbolic:
        """Adds a block's shortcut."""
        return self.keras.layers.Add(name=name)([x, shortcut])

    def classifier(self, x: Symbolic, num_classes: int) -> Symbolic:
        """Averages over the image and returns logits, float32 also under mixed precision."""
        x = self.keras.layers.GlobalAveragePooling2D(name="pool")(x)
        return self.keras.layers.Dense(
            num_classes,
            kernel_initializer="he_normal",
            kernel_regularizer=self._regularizer(),
            dtype="float32",
            name="classifier",
        )(x)
