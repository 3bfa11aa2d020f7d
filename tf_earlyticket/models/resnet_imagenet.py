"""The residual networks for ImageNet (He et al. 2016, table 1).

Projection shortcuts where the shape changes ("option B"). In bottleneck blocks
the 3x3 convolution has the strides, as in the common reference implementations.
Only built-in Keras layers are used, so saved models load without this package.
"""

from collections.abc import Callable

from tf_earlyticket.models.layers import Layers, Network, Symbolic, check_arguments

_FILTERS = (64, 128, 256, 512)
_EXPANSION = 4
_SMALLEST_IMAGE = 32

Shape = tuple[int, int, int]


def resnet18(
    input_shape: Shape = (224, 224, 3),
    num_classes: int = 1000,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network of 2, 2, 2, 2 basic blocks; see `resnet_imagenet`."""
    return resnet_imagenet(
        "resnet18", _basic_block, (2, 2, 2, 2), input_shape, num_classes, weight_decay, framework
    )


def resnet34(
    input_shape: Shape = (224, 224, 3),
    num_classes: int = 1000,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network of 3, 4, 6, 3 basic blocks; see `resnet_imagenet`."""
    return resnet_imagenet(
        "resnet34", _basic_block, (3, 4, 6, 3), input_shape, num_classes, weight_decay, framework
    )


def resnet50(
    input_shape: Shape = (224, 224, 3),
    num_classes: int = 1000,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network of 3, 4, 6, 3 bottleneck blocks; see `resnet_imagenet`."""
    return resnet_imagenet(
        "resnet50",
        _bottleneck_block,
        (3, 4, 6, 3),
        input_shape,
        num_classes,
        weight_decay,
        framework,
    )


def resnet_imagenet(
    name: str,
    block_function: Callable[[Layers, Symbolic, int, int, str], Symbolic],
    blocks: tuple[int, int, int, int],
    input_shape: Shape,
    num_classes: int,
    weight_decay: float,
    framework: str,
) -> Network:
    """Returns a functional network of four stages with 64 to 512 filters.

    Args:
        name: of the model.
        block_function: `_basic_block` or `_bottleneck_block`.
        blocks: blocks in each stage.
        input_shape: (height, width, channels), at least 32 pixels a side.
        num_classes: number of logits.
        weight_decay: lambda of `v <- m v + (lambda w + g); w <- w - eta v` for the
            kernels of convolutions and the classifier. Keras' `L2(c)` adds 2 c w to
            the gradient, so c is weight_decay / 2. 0: no regularizer.
        framework: "tf_keras" or "keras" (Keras 3).

    Returns:
        A model from float32 [batch, height, width, channels] to float32 logits
        [batch, num_classes] (no softmax).

    Raises:
        InputError: if an argument is out of range.
    """
    check_arguments(input_shape, num_classes, weight_decay, _SMALLEST_IMAGE)
    layers = Layers(framework, weight_decay)
    inputs = layers.keras.Input(input_shape, name="image")
    x = layers.conv(inputs, _FILTERS[0], 7, strides=2, name="stem_conv")
    x = layers.relu(layers.batch_norm(x, "stem_bn"), "stem_relu")
    # After a ReLU, padding with zeros leaves every maximum as it is.
    x = layers.keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, (filters, count) in enumerate(zip(_FILTERS, blocks, strict=True), start=1):
        for block in range(1, count + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = block_function(layers, x, filters, strides, f"stage{stage}_block{block}")
    return layers.keras.Model(inputs, layers.classifier(x, num_classes), name=name)


def _basic_block(layers: Layers, x: Symbolic, filters: int, strides: int, name: str) -> Symbolic:
    shortcut = _shortcut(layers, x, filters, strides, name)
    x = layers.conv(x, filters, 3, strides=strides, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    x = layers.conv(x, filters, 3, strides=1, name=f"{name}_conv2")
    x = layers.batch_norm(x, f"{name}_bn2")
    x = layers.add(x, shortcut, f"{name}_add")
    return layers.relu(x, f"{name}_relu2")


def _bottleneck_block(
    layers: Layers, x: Symbolic, filters: int, strides: int, name: str
) -> Symbolic:
    wide = filters * _EXPANSION
    shortcut = _shortcut(layers, x, wide, strides, name)
    x = layers.conv(x, filters, 1, strides=1, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    x = layers.conv(x, filters, 3, strides=strides, name=f"{name}_conv2")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn2"), f"{name}_relu2")
    x = layers.conv(x, wide, 1, strides=1, name=f"{name}_conv3")
    x = layers.batch_norm(x, f"{name}_bn3")
    x = layers.add(x, shortcut, f"{name}_add")
    return layers.relu(x, f"{name}_relu3")


def _shortcut(layers: Layers, x: Symbolic, filters: int, strides: int, name: str) -> Symbolic:
    if strides == 1 and x.shape[-1] == filters:
        return x
    x = layers.conv(x, filters, 1, strides=strides, name=f"{name}_shortcut_conv")
    return layers.batch_norm(x, f"{name}_shortcut_bn")
