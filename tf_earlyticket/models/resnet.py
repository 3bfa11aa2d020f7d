"""Residual networks (He et al. 2016), of either Keras.

For small images: 6n+2 layers in three stages of n basic blocks with 16, 32 and 64 filters, and
shortcuts without parameters (section 4.2, "option A"). For ImageNet: table 1, with projections
where the shape changes ("option B"); in bottleneck blocks the 3x3 convolution has the strides, as
in the common reference implementations. Only built-in Keras layers are used, so saved models load
without this package.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from tf_earlyticket import checks

# The symbolic tensors of the functional API have no public type.
Symbolic = Any
# A functional model of either Keras.
Network = Any
Shape = tuple[int, int, int]

# As in the reference implementations; Keras' own momentum of 0.99 adapts ten times slower.
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


class _Network:
    """A network that is being built: its layers by what they do, each with a name."""

    def __init__(self, framework: str, weight_decay: float, small: bool):
        # The name of a Keras is that of its package.
        self.keras = importlib.import_module(framework)
        self.layers = self.keras.layers
        self.small = small
        # Keras' `L2(c)` adds 2 c w to the gradient, so c is half the weight decay.
        decay = self.keras.regularizers.L2(weight_decay / 2) if weight_decay else None
        self.kernel = {"kernel_initializer": "he_normal", "kernel_regularizer": decay}

    def conv(
        self, x: Symbolic, filters: int, size: int, strides: int, name: str, relu: bool = True
    ) -> Symbolic:
        """Applies a convolution without bias, batch norm and ReLU; `name` has a place for each.

        With strides the padding is explicit and symmetric: TensorFlow's "same" would put
        all of it at the far end, out of step with the shortcut, which takes pixels 0, 2, 4...
        """
        if strides > 1 and size > 1:
            x = self.layers.ZeroPadding2D(size // 2, name=f"{name.format('conv')}_pad")(x)
        x = self.layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="valid" if strides > 1 else "same",
            use_bias=False,
            name=name.format("conv"),
            **self.kernel,
        )(x)
        x = self.layers.BatchNormalization(**_BATCH_NORM, name=name.format("bn"))(x)
        return self.layers.ReLU(name=name.format("relu"))(x) if relu else x

    def stem(self, x: Symbolic) -> Symbolic:
        if self.small:
            return self.conv(x, 16, 3, 1, "stem_{}")
        x = self.conv(x, 64, 7, 2, "stem_{}")
        # After a ReLU, padding with zeros leaves every maximum as it is.
        x = self.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        return self.layers.MaxPooling2D(3, 2, name="stem_pool")(x)

    def block(self, x: Symbolic, convolutions: Sequence[tuple[int, int, int]], name: str):
        """Adds what convolutions of (filters, size, strides) give to what came in."""
        past = self.shortcut(
            x, convolutions[-1][0], max(strides for *_, strides in convolutions), name
        )
        last = len(convolutions)
        for number, convolution in enumerate(convolutions, start=1):
            x = self.conv(x, *convolution, f"{name}_{{}}{number}", relu=number < last)
        x = self.layers.Add(name=f"{name}_add")([x, past])
        return self.layers.ReLU(name=f"{name}_relu{last}")(x)

    def shortcut(self, x: Symbolic, filters: int, strides: int, name: str) -> Symbolic:
        missing = filters - x.shape[-1]
        if strides == 1 and not missing:
            return x
        if not self.small:
            return self.conv(x, filters, 1, strides, f"{name}_shortcut_{{}}", relu=False)
        # Pooling over single pixels is subsampling, as a layer that Keras can save.
        x = self.layers.AveragePooling2D(1, strides, name=f"{name}_shortcut_subsample")(x)
        before = missing // 2
        # "channels_first" pads the last two axes, which here are width and channels.
        return self.layers.ZeroPadding2D(
            ((0, 0), (before, missing - before)),
            data_format="channels_first",
            name=f"{name}_shortcut_pad",
        )(x)

    def classifier(self, x: Symbolic, num_classes: int) -> Symbolic:
        """Averages over the image and returns logits, float32 also under mixed precision."""
        x = self.layers.GlobalAveragePooling2D(name="pool")(x)
        return self.layers.Dense(num_classes, dtype="float32", name="classifier", **self.kernel)(x)


def _basic(filters: int, strides: int) -> list[tuple[int, int, int]]:
    return [(filters, 3, strides), (filters, 3, 1)]


def _bottleneck(filters: int, strides: int) -> list[tuple[int, int, int]]:
    return [(filters, 1, 1), (filters, 3, strides), (4 * filters, 1, 1)]


_DOCUMENTATION = """Returns {name}: {blocks} {kind} blocks in its stages, for {use} images.

    Args:
        input_shape: (height, width, channels), at least {smallest} pixels a side.
        num_classes: Number of logits.
        weight_decay: lambda of `v <- m v + (lambda w + g); w <- w - eta v` for the kernels of
            convolutions and the classifier. Keras' `L2(c)` adds 2 c w to the gradient, so c is
            weight_decay / 2. 0: no regularizer.
        framework: "tf_keras" or "keras" (Keras 3).

    Returns:
        A functional model from float32 [batch, height, width, channels] to float32 logits
        [batch, num_classes] (no softmax).

    Raises:
        InputError: If an argument is out of range.
    """


def _resnet(name: str, block: Callable, blocks: tuple[int, ...]) -> Callable[..., Network]:
    """Returns the function that builds a network; three stages are those for small images."""
    small = len(blocks) == 3
    smallest, first, shape, classes = (8, 16, 32, 10) if small else (32, 64, 224, 1000)

    def build(
        input_shape: Shape = (shape, shape, 3),
        num_classes: int = classes,
        weight_decay: float = 1e-4,
        framework: str = "tf_keras",
    ) -> Network:
        if len(input_shape) != 3 or min(input_shape[:2]) < smallest or input_shape[2] < 1:
            expected = f"(height, width, channels) with height and width of at least {smallest}"
            raise checks.refuse("input_shape", input_shape, expected)
        checks.integer("num_classes", num_classes, 1)
        checks.number("weight_decay", weight_decay, low=0, below=1)
        network = _Network(framework, weight_decay, small)
        inputs = network.keras.Input(input_shape, name="image")
        x = network.stem(inputs)
        for stage, count in enumerate(blocks, start=1):
            for number in range(1, count + 1):
                strides = 2 if stage > 1 and number == 1 else 1
                convolutions = block(first * 2 ** (stage - 1), strides)
                x = network.block(x, convolutions, f"stage{stage}_block{number}")
        return network.keras.Model(inputs, network.classifier(x, num_classes), name=name)

    kind, use = block.__name__.strip("_"), "small" if small else "large"
    build.__name__ = build.__qualname__ = name
    build.__doc__ = _DOCUMENTATION.format(
        name=name, blocks=blocks, kind=kind, use=use, smallest=smallest
    )
    return build


resnet8 = _resnet("resnet8", _basic, (1, 1, 1))
resnet20 = _resnet("resnet20", _basic, (3, 3, 3))
resnet32 = _resnet("resnet32", _basic, (5, 5, 5))
resnet44 = _resnet("resnet44", _basic, (7, 7, 7))
resnet56 = _resnet("resnet56", _basic, (9, 9, 9))
resnet110 = _resnet("resnet110", _basic, (18, 18, 18))
resnet18 = _resnet("resnet18", _basic, (2, 2, 2, 2))
resnet34 = _resnet("resnet34", _basic, (3, 4, 6, 3))
resnet50 = _resnet("resnet50", _bottleneck, (3, 4, 6, 3))
