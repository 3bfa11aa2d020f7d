import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket import models
from tf_earlyticket.backends.tf_keras.compat import keras


def _trainable(model):
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet8", 75_290),
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ],
)
def test_cifar_models_have_the_parameters_of_the_literature(name, parameters):
    model = models.build_model(name, (32, 32, 3), 10)
    assert (model.name, _trainable(model)) == (name, parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("resnet18", 11_689_512), ("resnet34", 21_797_672), ("resnet50", 25_557_032)],
)
def test_imagenet_models_have_the_parameters_of_the_literature(name, parameters):
    model = models.build_model(name, (224, 224, 3), 1000)
    assert (model.name, _trainable(model)) == (name, parameters)


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_cifar_models_accept_small_and_grey_images(size, channels):
    model = models.resnet8((size, size, channels), num_classes=7)
    logits = model(np.zeros((2, size, size, channels), np.float32))
    assert logits.shape == (2, 7)
    assert model.get_layer("stage3_block1_relu2").output_shape == (None, size // 4, size // 4, 64)


def test_imagenet_model_halves_the_image_five_times():
    model = models.resnet50((64, 64, 3), num_classes=5)
    assert model.get_layer("stem_pool").output_shape == (None, 16, 16, 64)
    assert model.get_layer("stage4_block3_relu3").output_shape == (None, 2, 2, 2048)
    assert model(np.zeros((1, 64, 64, 3), np.float32)).shape == (1, 5)


def test_shortcut_subsamples_and_pads_channels_with_zeros():
    model = models.resnet8((8, 8, 1))
    shortcut = keras.Model(
        model.get_layer("stage1_block1_relu2").output,
        model.get_layer("stage2_block1_shortcut_pad").output,
    )
    x = np.random.RandomState(0).normal(size=(2, 8, 8, 16)).astype(np.float32)
    expected = np.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (8, 8)))
    np.testing.assert_array_equal(shortcut(x), expected)


def test_strided_convolution_is_centred_on_the_pixels_of_the_shortcut():
    model = models.resnet8((8, 8, 1))
    layer = model.get_layer("stage2_block1_conv1")
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[1, 1, :16, :16] = np.eye(16)
    layer.kernel.assign(kernel)
    convolution = keras.Model(model.get_layer("stage1_block1_relu2").output, layer.output)
    x = np.random.RandomState(0).normal(size=(2, 8, 8, 16)).astype(np.float32)
    np.testing.assert_allclose(convolution(x)[..., :16], x[:, ::2, ::2], rtol=1e-6)


def test_layer_names_are_readable():
    names = {layer.name for layer in models.resnet20().layers}
    assert {"stem_conv", "stage1_block1_conv1", "stage3_block3_bn2", "classifier"} <= names
    names = {layer.name for layer in models.resnet50((32, 32, 3)).layers}
    assert {"stem_conv", "stage1_block1_shortcut_conv", "stage4_block3_conv3"} <= names
    kernels = [w.name for w in models.resnet20().weights if "kernel" in w.name]
    assert kernels[0] == "stem_conv/kernel:0" and kernels[-1] == "classifier/kernel:0"


@pytest.mark.parametrize("build", [models.resnet8, models.resnet18])
def test_weight_decay_adds_its_multiple_of_the_kernels_to_the_gradient(build):
    model = build((32, 32, 3), num_classes=3, weight_decay=0.01)
    kernels = [w for w in model.trainable_variables if w.name.endswith("kernel:0")]
    assert len(model.losses) == len(kernels)
    with tf.GradientTape() as tape:
        penalty = tf.add_n(model.losses)
    for kernel, gradient in zip(kernels, tape.gradient(penalty, kernels), strict=True):
        np.testing.assert_allclose(gradient, 0.01 * kernel.numpy(), rtol=1e-5)


@pytest.mark.parametrize("build", [models.resnet8, models.resnet18])
def test_without_weight_decay_there_is_no_regularizer(build):
    model = build((32, 32, 3), weight_decay=0.0)
    assert not model.losses
    assert all(getattr(layer, "kernel_regularizer", None) is None for layer in model.layers)


def test_logits_are_float32_under_mixed_precision():
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = models.resnet8((16, 16, 1))
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert model.get_layer("stage1_block1_conv1").compute_dtype == "bfloat16"
    assert model(np.zeros((1, 16, 16, 1), np.float32)).dtype == tf.float32


@pytest.mark.parametrize("build", [models.resnet8, models.resnet18])
def test_files_need_nothing_but_keras(build, tmp_path):
    model = build((32, 32, 3), num_classes=4)
    assert all(type(layer).__module__.startswith("tf_keras.") for layer in model.layers)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.RandomState(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_one_step_of_training_lowers_the_loss():
    keras.utils.set_random_seed(0)
    model = models.resnet8((16, 16, 1))
    model.compile(
        keras.optimizers.SGD(0.05), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x = np.random.RandomState(0).normal(size=(32, 16, 16, 1)).astype(np.float32)
    losses = [model.train_on_batch(x, np.arange(32) % 10) for _ in range(6)]
    assert losses[-1] < losses[0]
