"""The 6n+2-layer residual networks for small images (He et al. 2016, section 4.2).

Three stages of n basic blocks with 16, 32 and 64 filters, ReLU after the
addition, and shortcuts without parameters ("option A"). Only built-in Keras
layers are used, so saved models load without this package.
"""

from tf_earlyticket.models.layers import Layers, Network, Symbolic, check_arguments

_FILTERS = (16, 32, 64)
_SMALLEST_IMAGE = 8

Shape = tuple[int, int, int]


def resnet8(
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network with n = 1; see `resnet_cifar`."""
    return resnet_cifar(1, input_shape, num_classes, weight_decay, framework)


def resnet20(
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network with n = 3; see `resnet_cifar`."""
    return resnet_cifar(3, input_shape, num_classes, weight_decay, framework)


def resnet32(
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network with n = 5; see `resnet_cifar`."""
    return resnet_cifar(5, input_shape, num_classes, weight_decay, framework)


def resnet44(
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network with n = 7; see `resnet_cifar`."""
    return resnet_cifar(7, input_shape, num_classes, weight_decay, framework)


def resnet56(
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network with n = 9; see `resnet_cifar`."""
    return resnet_cifar(9, input_shape, num_classes, weight_decay, framework)


def resnet110(
    input_shape: Shape = (32, 32, 3),
    num_classes: int = 10,
    weight_decay: float = 1e-4,
    framework: str = "tf_keras",
) -> Network:
    """Returns the network with n = 18; see `resnet_cifar`."""
    return resnet_cifar(18, input_shape, num_classes, weight_decay, framework)


def resnet_cifar(
    blocks_per_stage: int, input_shape: Shape, num_classes: int, weight_decay: float, framework: str
) -> Network:
    """Returns a functional network of 6 * blocks_per_stage + 2 layers.

    Args:
        blocks_per_stage: n, from 1 on.
        input_shape: (height, width, channels), at least 8 pixels a side.
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
    x = layers.conv(inputs, _FILTERS[0], 3, strides=1, name="stem_conv")
    x = layers.relu(layers.batch_norm(x, "stem_bn"), "stem_relu")
    for stage, filters in enumerate(_FILTERS, start=1):
        for block in range(1, blocks_per_stage + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _block(layers, x, filters, strides, f"stage{stage}_block{block}")
    outputs = layers.classifier(x, num_classes)
    return layers.keras.Model(inputs, outputs, name=f"resnet{6 * blocks_per_stage + 2}")


def _block(layers: Layers, x: Symbolic, filters: int, strides: int, name: str) -> Symbolic:
    shortcut = _shortcut(layers, x, filters, strides, name)
    x = layers.conv(x, filters, 3, strides=strides, name=f"{name}_conv1")
    x = layers.relu(layers.batch_norm(x, f"{name}_bn1"), f"{name}_relu1")
    x = layers.conv(x, filters, 3, strides=1, name=f"{name}_conv2")
    x = layers.batch_norm(x, f"{name}_bn2")
    x = layers.add(x, shortcut, f"{name}_add")
    return layers.relu(x, f"{name}_relu2")


def _shortcut(layers: Layers, x: Symbolic, filters: int, strides: int, name: str) -> Symbolic:
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
