"""Networks of either Keras to take channels out of, and what of them is chosen at random."""

import numpy as np

import tf_earlyticket as et

# Of `keras.applications`: with the pixels a side that they are tried with.
APPLICATIONS = {
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "EfficientNetB0": 64,
    "VGG16": 32,
    "DenseNet121": 64,
    "InceptionV3": 96,
    "Xception": 96,
    "NASNetMobile": 64,
    "ConvNeXtTiny": 64,
    "InceptionResNetV2": 96,
}
RESNETS = {"resnet20": 32, "resnet18": 64, "resnet50": 64}
SIDES = APPLICATIONS | RESNETS


def make(keras, name):
    """Returns a network for 10 classes with random weights."""
    shape = (SIDES[name], SIDES[name], 3)
    keras.utils.set_random_seed(1)
    if name in RESNETS:
        framework = keras.__name__.partition(".")[0]
        return getattr(et.models, name)(shape, num_classes=10, framework=framework)
    make_application = getattr(keras.applications, name)
    return make_application(weights=None, input_shape=shape, classes=10)


def every_kind(keras):
    """Returns a network with each kind of layer whose channels are understood."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    image, other = keras.Input((8, 8, 3), name="image"), keras.Input((8, 8, 2), name="other")
    nested = keras.Sequential(
        [layers.Input((8, 8, 12)), layers.Conv2D(12, 1, name="inside"), layers.Conv2D(9, 1)],
        name="nested",
    )
    shared = layers.Conv2D(12, 3, padding="same", activation="relu", name="shared")
    x = layers.Conv2D(12, 3, padding="same", name="stem")(layers.Rescaling(0.5)(image))
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization(name="norm")(x))
    x = shared(layers.Add()([shared(x), x]))
    x = layers.Add()([nested(x), nested(layers.Dropout(0.2)(x))])
    y = layers.Conv2D(5, 1, activation="tanh", name="side")(other)
    x = layers.Concatenate()([x, y])
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2, activation="silu", name="separable")(x)
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(4, activation="relu", name="squeeze")(gate)
    gate = layers.Reshape((1, 1, 10))(layers.Dense(10, name="excite")(gate))
    gate = layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)
    x = layers.Multiply()([x, gate])
    # A shortcut without parameters: zeros on both sides of the channels.
    wide = layers.ZeroPadding2D(((0, 0), (2, 4)), data_format="channels_first", name="pad")(x)
    x = layers.Add()([wide, layers.Conv2D(16, 1, name="widen")(x)])
    x = layers.Conv2DTranspose(6, 2, strides=2, name="transposed")(layers.MaxPooling2D(2)(x))
    x = layers.Maximum()(
        [x, layers.UpSampling2D(2)(layers.Conv2D(6, 2, strides=2, name="down")(x))]
    )
    flat = layers.Dense(7, activation="gelu", name="hidden")(layers.Flatten()(x))
    line = layers.Reshape((36, 6))(x)
    line = layers.Conv1D(7, 3, name="line")(line)
    line = layers.GlobalMaxPooling1D()(line)
    return keras.Model([image, other], layers.Dense(3, name="out")(flat - line))


def randomised(model):
    """Gives a model random weights, BatchNorm's statistics and biases too."""
    random = np.random.default_rng(0)
    weights = []
    for weight in model.get_weights():
        if weight.ndim > 1:
            weights.append(random.normal(size=weight.shape) / np.sqrt(np.prod(weight.shape[:-1])))
        else:
            # Variances are positive.
            weights.append(random.uniform(0.5, 1.5, weight.shape))
    model.set_weights(
        [w.astype(o.dtype) for w, o in zip(weights, model.get_weights(), strict=True)]
    )
    return model


def half(graph, seed=0):
    """Returns a choice [channels] of half of each family, at random, at least one."""
    random, kept = np.random.default_rng(seed), graph.everything()
    for family in graph.removable:
        count = family.size - max(1, family.size // 2)
        kept[random.choice(family.channels, count, replace=False)] = False
    return kept
