"""Networks of `keras.applications` and of the user's files, under both Keras."""

import importlib
import json
import zipfile

import numpy as np
import pytest

from tf_earlyticket.backends import backend_named
from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.build import build_plain_model
from tf_earlyticket.job.preflight import check_config
from tf_earlyticket.models import MODELS, build_model
from tf_earlyticket.models.editing import synchronized, with_weight_decay
from tf_earlyticket.models.saved import load_network

SHAPE = (32, 32, 3)


@pytest.fixture(params=["tf_keras", "keras"])
def framework(request):
    return request.param


def test_a_copy_keeps_what_a_normalization_has_learned(framework, tmp_path):
    keras = importlib.import_module(framework)
    layers = keras.layers
    inputs = keras.Input((4, 4, 3))
    normalization = layers.Normalization()
    normalization.adapt(50 + 20 * np.random.RandomState(0).normal(size=(64, 4, 4, 3)))
    x = layers.Conv2D(4, 3, name="conv")(normalization(inputs))
    x = layers.Dense(5, name="logits")(layers.Flatten()(x))
    model = keras.Model(inputs, x)
    examples = 50 + np.zeros((2, 4, 4, 3), np.float32)
    copied = with_weight_decay(model, 1e-4)
    np.testing.assert_allclose(copied(examples), model(examples), rtol=1e-5)
    assert copied.get_layer("conv").kernel_regularizer is not None


@pytest.fixture
def keras(framework):
    return importlib.import_module(framework)


def test_a_copy_keeps_a_subclassed_model_inside(keras):
    class Own(keras.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.inner = keras.layers.Dense(4)

        def call(self, inputs):
            return self.inner(inputs)

        def get_config(self):
            return {"name": self.name}

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(Own(name="own")(inputs)))
    copied = with_weight_decay(model, 1e-4)
    np.testing.assert_allclose(copied(np.ones((2, 3))), model(np.ones((2, 3))), rtol=1e-5)
    assert type(copied.get_layer("own")) is Own and copied.get_layer("own") is not model.layers[1]


def test_kernels_inside_of_wrappers_decay_too(keras):
    layers, inputs = keras.layers, keras.Input((4, 3))
    own = keras.regularizers.L2(0.5)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(inputs)
    x = layers.TimeDistributed(layers.Dense(2, kernel_regularizer=own), name="each")(x)
    x = layers.RNN([layers.GRUCell(2), layers.SimpleRNNCell(2)], name="cells")(x)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    copied = with_weight_decay(model, 1e-3)
    np.testing.assert_allclose(copied(np.ones((1, 4, 3))), model(np.ones((1, 4, 3))), rtol=1e-5)
    both, each = copied.get_layer("both"), copied.get_layer("each")
    cells = copied.get_layer("cells").cell.cells
    decaying = [both.forward_layer.cell, both.backward_layer.cell, *cells]
    for layer in (*decaying, copied.get_layer("logits")):
        assert float(layer.kernel_regularizer.l2) == pytest.approx(5e-4)
    assert float(each.layer.kernel_regularizer.l2) == 0.5
    assert not model.losses[1:]


def test_batch_norms_inside_of_wrappers_see_the_whole_batch_too(keras):
    layers, inputs = keras.layers, keras.Input((4, 6, 3))
    x = layers.TimeDistributed(layers.BatchNormalization(), name="each")(inputs)
    model = synchronized(keras.Model(inputs, layers.BatchNormalization(name="norm")(x)))
    assert model.get_layer("norm").synchronized and model.get_layer("each").layer.synchronized


def small(keras, end="softmax", classes=5):
    """Returns a functional network that ends in a softmax of the given kind."""
    layers, inputs = keras.layers, keras.Input(SHAPE)
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    if end == "convolution":
        x = layers.GlobalAveragePooling2D(keepdims=True)(x)
        x = layers.Conv2D(classes, 1, name="top")(x)
        return keras.Model(inputs, layers.Softmax()(layers.Reshape((classes,))(x)))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(
        classes, activation=end if end in ("softmax", "sigmoid") else None, name="top"
    )(x)
    if end == "layer":
        x = layers.Softmax()(x)
    elif end == "activation":
        x = layers.Activation("softmax")(x)
    elif end == "type":
        x = layers.Activation("linear", dtype="float32", name="type")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("name", ["MobileNet(alpha=0.25)", "EfficientNetB0"])
def test_an_application_gives_logits_and_its_kernels_decay(framework, name):
    if framework == "keras" and name.startswith("Eff"):
        pytest.skip("The rescaling is left out by the same code.")
    model = build_model(f"applications/{name}", SHAPE, 7, 1e-3, framework=framework)
    assert model.output_shape == (None, 7)
    outputs = model(np.full((1, *SHAPE), 200, np.float32)).numpy()
    assert not np.allclose(outputs.sum(), 1)
    assert len(model.losses) > 10
    scales = [layer.scale for layer in model.layers if type(layer).__name__ == "Rescaling"]
    assert all(scale == 1 for scale in scales) and bool(scales) == name.startswith("Eff")


def test_names_of_applications_are_checked_before_keras_is_imported():
    assert MODELS.parse("applications/MobileNetV2(alpha=0.5)")[1]["alpha"] == 0.5
    with pytest.raises(InputError, match="name='applications/MobileNetV9'.*Did you mean"):
        MODELS.parse("applications/MobileNetV9")
    with pytest.raises(InputError, match="expected no alpha with VGG16"):
        build_model("applications/VGG16(alpha=1.0)", SHAPE, 7)
    with pytest.raises(InputError, match="it cannot be built for pictures of"):
        build_model("applications/InceptionV3", SHAPE, 7)
    config = Config()
    config.model.name = "applications/RegNetX002"
    check_config(config)
    config.model.keras = "keras"
    with pytest.raises(InputError, match="config.model.keras='keras': expected 'tf_keras': Keras"):
        check_config(config)


@pytest.mark.parametrize("end", ["softmax", "layer", "activation", "logits", "type", "convolution"])
def test_a_saved_network_gives_logits(keras, framework, tmp_path, end):
    model = small(keras, end)
    model.save(tmp_path / "mine.keras")
    x = np.random.RandomState(0).normal(size=(3, *SHAPE)).astype(np.float32)
    network = load_network(tmp_path / "mine.keras", SHAPE, 5, 1e-3, framework)
    logits, wanted = np.asarray(network(x)), np.asarray(model(x))
    if end not in ("logits", "type"):
        logits = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
    assert len(network.losses) == 2
    other = load_network(tmp_path / "mine.keras", SHAPE, 8, 0.0, framework)
    assert other.output_shape == (None, 8) and not other.losses
    assert (end == "type") == (other.layers[-1].name == "type")
    kernels = [each.get_layer("conv").get_weights()[0] for each in (other, model)]
    np.testing.assert_array_equal(*kernels)


def test_the_command_builds_a_saved_network(keras, framework, tmp_path):
    small(keras).save(tmp_path / "mine.keras")
    config = Config()
    config.data.name, config.data.train_examples = "cifar10", 256
    config.model.file, config.model.keras = str(tmp_path / "mine.keras"), framework
    check_config(config)
    assert config.model.name == "file/mine" and config.run_name().startswith("cifar10_file-mine-")
    model = build_plain_model(config)
    assert model.output_shape == (None, 10)
    again = build_plain_model(config)
    names = [list(backend_named(framework).named_weights(each)) for each in (model, again)]
    assert names[0] == names[1]
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    small(keras, "logits").save(tmp_path / "mine.keras")
    with pytest.raises(InputError, match="config.model.fingerprint=.*expected"):
        check_config(config)


def test_files_that_cannot_be_used_are_told_in_a_line(keras, framework, tmp_path):
    def load(model, shape=SHAPE, classes=5):
        model.save(tmp_path / "mine.keras")
        return load_network(tmp_path / "mine.keras", shape, classes, 0.0, framework)

    with pytest.raises(InputError, match="expected a file .keras or .h5"):
        load_network(tmp_path / "absent.keras", SHAPE, 5, 0.0, framework)
    with pytest.raises(InputError, match=r"its input=\(32, 32, 3\): expected.*image_size=32"):
        load(small(keras), (16, 16, 3))
    with pytest.raises(InputError, match="its last activation='sigmoid': expected softmax or none"):
        load(small(keras, "sigmoid"))
    inputs = keras.Input(SHAPE)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(inputs))
    with pytest.raises(
        InputError, match="its last layer='GlobalAveragePooling2D': expected a Dense"
    ):
        load(keras.Model(inputs, pooled), classes=6)
    for within in (
        small(keras)(inputs),
        keras.Sequential([keras.Input(SHAPE), small(keras, "layer")])(inputs),
        keras.activations.softmax(pooled),
    ):
        with pytest.raises(InputError, match="its last layer=.*: expected one that gives logits"):
            load(keras.Model(inputs, within))
    with pytest.raises(InputError, match="expected a functional network with one of each"):
        load(keras.Model(inputs, [pooled, pooled]))

    class Own(keras.layers.Dense):
        pass

    own = keras.Model(inputs, Own(5)(pooled))
    with pytest.raises(InputError, match="cannot be loaded.*registered with Keras"):
        load(own)
    version = "2.21.0" if framework == "keras" else "3.9.0"
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    with pytest.raises(InputError, match="was saved by Keras"):
        load_network(tmp_path / "other.keras", SHAPE, 5, 0.0, framework)
    (tmp_path / "cut.keras").write_bytes(b"PK")
    with pytest.raises(InputError, match="expected a whole file of Keras"):
        load_network(tmp_path / "cut.keras", SHAPE, 5, 0.0, framework)
