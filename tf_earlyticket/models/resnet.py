"""Residual networks (He et al. 2016), of either Keras.

For small images: 6n+2 layers in three stages of n basic blocks with 16, 32 and 64 filters, and
shortcuts without parameters (section 4.2, "option A"). For ImageNet: table 1, with projections
where the shape changes ("option B"); in bottleneck blocks the 3x3 convolution has the strides, as
in the common reference implementations. Only built-in Keras layers are used, so saved models load
without this package.
"""

import importlib
from collections.abc import Callable
from typing import Any

from tf_earlyticket import checks

# The symbolic tensors of the functional API have no public type.
Symbolic = Any
# A functional model of either Keras.
Network = Any
Shape = tuple[int, int, int]

# As in the reference implementations; Keras' own momentum of 0.99 adapts ten times slower.
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}


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
        return self.keras.layers.BatchNormalization(**_BATCH_NORM, name=name)(x)

    def relu(self, x: Symbolic, name: str) -> Symbolic:
        return self.keras.layers.ReLU(name=name)(x)

    def add(self, x: Symbolic, shortcut: Symbolic, name: str) -> Symbolic:
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


def resnet_cifar(
    blocks_per_stage: int, input_shape: Shape, num_classes: int, weight_decay: float, framework: str
) -> Network:
    """Returns a functional network of 6 * blocks_per_stage + 2 layers, for small images.

    Args:
        blocks_per_stage: n, from 1 on.
        input_shape: (height, width, channels), at least 8 pixels a side.
        num_classes: Number of logits.
        weight_decay: lambda of `v <- m v + (lambda w + g); w <- w - eta v` for the kernels of
            convolutions and the classifier. Keras' `L2(c)` adds 2 c w to the gradient, so c is
            weight_decay / 2. 0: no regularizer.
        framework: "tf_keras" or "keras" (Keras 3).

    Returns:
        A model from float32 [batch, height, width, channels] to float32 logits
        [batch, num_classes] (no softmax).

    Raises:
        InputError: If an argument is out of range.
    """
    _check_arguments(input_shape, num_classes, weight_decay, smallest=8)
    layers = Layers(framework, weight_decay)
    inputs = layers.keras.Input(input_shape, name="image")
    x = layers.conv(inputs, 16, 3, strides=1, name="stem_conv")
    x = layers.relu(layers.batch_norm(x, "stem_bn"), "stem_relu")
    x = _stages(layers, x, (16, 32, 64), (blocks_per_stage,) * 3, _basic_block, _padding_shortcut)
    name = f"resnet{6 * blocks_per_stage + 2}"
    return layers.keras.Model(inputs, layers.classifier(x, num_classes), name=name)


def resnet_imagenet(
    name: str,
    block: Callable[..., Symbolic],
    blocks: tuple[int, int, int, int],
    input_shape: Shape,
    num_classes: int,
    weight_decay: float,
    framework: str,
) -> Network:
    """Returns a functional network of four stages with 64 to 512 filters, for large images.

    Args:
        name: Of the model.
        block: `_basic_block` or `_bottleneck_block`.
        blocks: Blocks in each stage.
        input_shape: (height, width, channels), at least 32 pixels a side.
        num_classes: As for `resnet_cifar`, as is all that follows.
        weight_decay: See there.
        framework: See there.
    """
    _check_arguments(input_shape, num_classes, weight_decay, smallest=32)
    layers = Layers(framework, weight_decay)
    inputs = layers.keras.Input(input_shape, name="image")
    x = layers.conv(inputs, 64, 7, strides=2, name="stem_conv")
    x = layers.relu(layers.batch_norm(x, "stem_bn"), "stem_relu")
    # After a ReLU, padding with zeros leaves every maximum as it is.
    x = layers.keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    x = _stages(layers, x, (64, 128, 256, 512), blocks, block, _projecting_shortcut)
    return layers.keras.Model(inputs, layers.classifier(x, num_classes), name=name)


def _check_arguments(input_shape: Shape, classes: int, weight_decay: float, smallest: int) -> None:
    if len(input_shape) != 3 or min(input_shape[:2]) < smallest or input_shape[2] < 1:
        expected = f"(height, width, channels) with height and width of at least {smallest}"
        raise checks.refuse("input_shape", input_shape, expected)
    checks.integer("num_classes", classes, 1)
    checks.number("weight_decay", weight_decay, low=0, below=1)


def _stages(layers: Layers, x: Symbolic, filters, blocks, block, shortcut) -> Symbolic:
    for stage, (width, count) in enumerate(zip(filters, blocks, strict=True), start=1):
        for number in range(1, count + 1):
            strides = 2 if stage > 1 and number == 1 else 1
            x = block(layers, x, width, strides, f"stage{stage}_block{number}", shortcut)
    return x


def _basic_block(
    layers: Layers, x: Symbolic, filters: int, strides: int, name: str, shortcut: Callable
) -> Symbolic:
    past = shortcut(layers, x, filters, strides, name)
    x = layers.conv(x, filters, 3, strides=strides, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    x = layers.conv(x, filters, 3, strides=1, name=f"{name}_conv2")
    x = layers.add(layers.batch_norm(x, f"{name}_bn2"), past, f"{name}_add")
    return layers.relu(x, f"{name}_relu2")


def _bottleneck_block(
    layers: Layers, x: Symbolic, filters: int, strides: int, name: str, shortcut: Callable
) -> Symbolic:
    wide = 4 * filters
    past = shortcut(layers, x, wide, strides, name)
    x = layers.conv(x, filters, 1, strides=1, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    x = layers.conv(x, filters, 3, strides=strides, name=f"{name}_conv2")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn2"), f"{name}_relu2")
    x = layers.conv(x, wide, 1, strides=1, name=f"{name}_conv3")
    x = layers.add(layers.batch_norm(x, f"{name}_bn3"), past, f"{name}_add")
    return layers.relu(x, f"{name}_relu3")


def _padding_shortcut(layers: Layers, x: Symbolic, filters: int, strides: int, name: str):
    if strides == 1:
        return x
    # Pooling over single pixels is subsampling, as a layer that Keras can save.
    x = layers.keras.layers.AveragePooling2D(1, strides, name=f"{name}_shortcut_subsample")(x)
    missing = filters - x.shape[-1]
    before = missing // 2
    # "channels_first" pads the last two axes, which here are width and channels.
    return layers.keras.layers.ZeroPadding2D(
        ((0, 0), (before, missing - before)),
        data_format="channels_first",
        name=f"{name}_shortcut_pad",
    )(x)


def _projecting_shortcut(layers: Layers, x: Symbolic, filters: int, strides: int, name: str):
    if strides == 1 and x.shape[-1] == filters:
        return x
    x = layers.conv(x, filters, 1, strides=strides, name=f"{name}_shortcut_conv")
    return layers.batch_norm(x, f"{name}_shortcut_bn")


def _cifar(blocks_per_stage: int) -> Callable[..., Network]:
    def build(
        input_shape: Shape = (32, 32, 3),
        num_classes: int = 10,
        weight_decay: float = 1e-4,
        framework: str = "tf_keras",
    ) -> Network:
        return resnet_cifar(blocks_per_stage, input_shape, num_classes, weight_decay, framework)

    build.__name__ = build.__qualname__ = f"resnet{6 * blocks_per_stage + 2}"
    build.__doc__ = f"Returns the network with n = {blocks_per_stage}; see `resnet_cifar`."
    return build


def _imagenet(name: str, block: Callable, blocks: tuple[int, int, int, int]) -> Callable:
    def build(
        input_shape: Shape = (224, 224, 3),
        num_classes: int = 1000,
        weight_decay: float = 1e-4,
        framework: str = "tf_keras",
    ) -> Network:
        return resnet_imagenet(
            name, block, blocks, input_shape, num_classes, weight_decay, framework
        )

    kind = block.__name__.strip("_").partition("_")[0]
    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"Returns the network of {blocks} {kind} blocks; see `resnet_imagenet`."
    return build


resnet8 = _cifar(1)
resnet20 = _cifar(3)
resnet32 = _cifar(5)
resnet44 = _cifar(7)
resnet56 = _cifar(9)
resnet110 = _cifar(18)
resnet18 = _imagenet("resnet18", _basic_block, (2, 2, 2, 2))
resnet34 = _imagenet("resnet34", _basic_block, (3, 4, 6, 3))
resnet50 = _imagenet("resnet50", _bottleneck_block, (3, 4, 6, 3))
