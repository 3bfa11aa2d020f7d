"""The four networks of MLPerf Tiny (Banbury et al. 2021), by the layer tables of its references.

    --extensions=tools/tiny_networks.py --config.model.name=tiny_resnet8

The flags train the first by the command. Without softmax and dropout: outputs are logits, as the
toolkit's other networks have them. As in the references, convolutions before a batch norm have
biases.
"""

import tf_keras as keras

import tf_earlyticket as et

layers = keras.layers


class _Network:
    """A network that is being built: its layers, each with a name."""

    def __init__(self, weight_decay: float):
        # Keras' `L2(c)` adds 2 c w to the gradient, so c is half the weight decay.
        decay = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
        self.kernel = {"kernel_initializer": "he_normal", "kernel_regularizer": decay}

    def conv(self, x, filters: int, size, strides=1, *, name: str, relu: bool = True):
        made = layers.Conv2D(filters, size, strides, "same", name=name, **self.kernel)(x)
        return normalized(made, name, relu)

    def depthwise(self, x, strides: int, *, name: str):
        kernel = {f"depthwise{key[6:]}": value for key, value in self.kernel.items()}
        return normalized(layers.DepthwiseConv2D(3, strides, "same", name=name, **kernel)(x), name)

    def separable(self, x, filters: int, strides: int, *, name: str):
        x = self.depthwise(x, strides, name=f"{name}_depthwise")
        return self.conv(x, filters, 1, name=f"{name}_pointwise")

    def classifier(self, x, num_classes: int):
        """Averages over the picture and returns logits, float32 also under mixed precision."""
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        return layers.Dense(num_classes, dtype="float32", name="classifier", **self.kernel)(x)


def normalized(x, name: str, relu: bool = True):
    """Applies a batch norm, and a ReLU."""
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def resnet8(input_shape=(32, 32, 3), num_classes: int = 10, weight_decay: float = 1e-4):
    """Returns the network for image classification: three residual blocks, two with projections."""
    network, inputs = _Network(weight_decay), layers.Input(input_shape)
    x = network.conv(inputs, 16, 3, name="stem")
    for stage, (filters, strides) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
        past, name = x, f"stage{stage}"
        x = network.conv(x, filters, 3, strides, name=f"{name}_conv1")
        x = network.conv(x, filters, 3, name=f"{name}_conv2", relu=False)
        if strides > 1:
            projection = {"strides": strides, "name": f"{name}_shortcut", **network.kernel}
            past = layers.Conv2D(filters, 1, **projection)(past)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, past]))
    return keras.Model(inputs, network.classifier(x, num_classes), name="resnet8")


def ds_cnn(input_shape=(49, 10, 1), num_classes: int = 12, weight_decay: float = 1e-4):
    """Returns the network for keyword spotting: four depthwise separable blocks of 64 channels."""
    network, inputs = _Network(weight_decay), layers.Input(input_shape)
    x = network.conv(inputs, 64, (10, 4), 2, name="stem")
    for number in range(1, 5):
        x = network.separable(x, 64, 1, name=f"block{number}")
    return keras.Model(inputs, network.classifier(x, num_classes), name="ds_cnn")


def mobilenet(input_shape=(96, 96, 3), num_classes: int = 2, weight_decay: float = 1e-4):
    """Returns the network for visual wake words: MobileNetV1 with a quarter of the channels."""
    network, inputs = _Network(weight_decay), layers.Input(input_shape)
    x = network.conv(inputs, 8, 3, 2, name="stem")
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5]
    for number, block in enumerate([*blocks, (256, 2), (256, 1)], start=1):
        x = network.separable(x, *block, name=f"block{number}")
    return keras.Model(inputs, network.classifier(x, num_classes), name="mobilenet")


def autoencoder(inputs: int = 640):
    """Returns the network for anomaly detection: its inputs through 8 numbers and back."""
    entry = layers.Input((inputs,))
    x, sizes = entry, [*[128] * 4, 8, *[128] * 4]
    for number, size in enumerate(sizes, start=1):
        x = normalized(layers.Dense(size, name=f"dense{number}")(x), f"dense{number}")
    return keras.Model(entry, layers.Dense(inputs, name="output")(x), name="autoencoder")


NETWORKS = {each.__name__: each for each in (resnet8, ds_cnn, mobilenet, autoencoder)}
et.register_model("tiny_resnet8", resnet8)
