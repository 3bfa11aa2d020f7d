"""`wrap_for_pruning` and `strip_pruning`: what is wrapped, what is refused, nothing is shared."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.sparsity.keras import ConstantSparsity, PolynomialDecay
from tensorflow_model_optimization.sparsity.keras import strip_pruning as tfmot_strip

from tf_earlyticket.backends import (
    backend_of,
    check_installed,
    pruned,
    strip_pruning,
    wrap_for_pruning,
)
from tf_earlyticket.backends.tf_keras.compat import PruneLowMagnitude
from tf_earlyticket.backends.tf_keras.wrapper import EarlyTicketPolynomialDecay
from tf_earlyticket.errors import InputError

layers = keras.layers


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def names_of(model, prunable=None):
    return backend_of(model).prunable_layers(model, prunable)


def layer_ids(model):
    return {id(module) for module in model.submodules}


def test_the_copy_computes_the_same_and_shares_no_layer(make_cnn, images):
    plain = make_cnn()
    model = wrap_for_pruning(plain)
    np.testing.assert_array_equal(model(images[0]), plain(images[0]))
    assert not layer_ids(model) & layer_ids(plain)
    assert not {id(v) for v in model.variables} & {id(v) for v in plain.variables}
    assert model.name == plain.name
    assert getattr(model, "optimizer", None) is None


def test_the_users_model_is_untouched(make_cnn, compiled, prune, images):
    plain = make_cnn()
    config, weights, ids = plain.get_config(), plain.get_weights(), [id(x) for x in plain.layers]
    state = [sorted(vars(layer)) for layer in plain.layers]
    model = wrap_for_pruning(plain)
    prune(compiled(model))
    model.fit(*images, verbose=0)
    tfmot_strip(model)
    strip_pruning(model)
    assert [id(x) for x in plain.layers] == ids
    assert plain.get_config() == config
    assert [sorted(vars(layer)) for layer in plain.layers] == state
    for before, after in zip(weights, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_statistics_of_normalization_layers_are_copied(images):
    adapted = layers.Normalization()
    adapted.adapt(images[0] * 3 + 1)
    plain = sequential(
        (8, 8, 3), adapted, layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Conv2D(4, 3)
    )
    plain.layers[2].set_weights([np.full(4, value) for value in (2.0, 0.5, 0.1, 3.0)])
    model = wrap_for_pruning(plain, prunable=[plain.layers[1].name])
    np.testing.assert_array_equal(model(images[0]), plain(images[0]))
    np.testing.assert_array_equal(strip_pruning(model)(images[0]), plain(images[0]))


def test_frozen_layers_stay_frozen(compiled, prune):
    plain = sequential((6,), layers.Dense(5, name="a"), layers.Dense(5, name="b"), layers.Dense(3))
    plain.get_layer("a").trainable = False
    for optimizer in (keras.optimizers.Adam(), keras.optimizers.legacy.Adam()):
        model = wrap_for_pruning(plain, prunable=["a", "b"])
        adapter = compiled(model, optimizer)
        masks = prune(adapter)
        before = adapter.weights()
        model.fit(np.ones((4, 6)), np.zeros(4), verbose=0)
        after = adapter.weights()
        np.testing.assert_array_equal(after["a/kernel"], before["a/kernel"])
        assert (after["b/kernel"] != before["b/kernel"]).any()
        assert not any(after[name][~mask].any() for name, mask in masks.items())


def test_the_first_convolution_and_the_last_dense_layer_are_left_out(make_cnn):
    assert names_of(make_cnn()) == ["conv2", "dense1"]
    model = wrap_for_pruning(make_cnn())
    wrapped = [layer.layer.name for layer in model.layers if isinstance(layer, PruneLowMagnitude)]
    assert wrapped == ["conv2", "dense1"]


def test_the_default_rule_on_other_shapes_of_network():
    mlp = sequential((4,), layers.Dense(5, name="a"), layers.Dense(5, name="b"), layers.Dense(2))
    assert names_of(mlp) == ["a", "b"]
    depthwise = sequential(
        (8, 8, 3),
        layers.Conv2D(4, 3, name="stem"),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.Conv2D(6, 1, name="pointwise"),
        layers.SeparableConv2D(6, 3, name="separable"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2),
    )
    assert names_of(depthwise) == ["pointwise", "separable"]
    all_convolutional = sequential(
        (8, 8, 3), *(layers.Conv2D(4, 3, name=name) for name in ("a", "b", "c"))
    )
    assert names_of(all_convolutional) == ["b"]
    one_dimensional = sequential(
        (8, 3),
        layers.Conv1D(4, 3, name="first"),
        layers.Conv1DTranspose(4, 3, name="transpose"),
        layers.Flatten(),
        layers.Dense(2),
    )
    assert names_of(one_dimensional) == ["transpose"]


def test_prunable_takes_names_or_a_function(make_cnn):
    plain = make_cnn()
    assert names_of(plain, ["logits", "conv1"]) == ["conv1", "logits"]
    chosen = names_of(plain, lambda layer: layer.name.startswith("conv"))
    assert chosen == ["conv1", "conv2"]
    model = wrap_for_pruning(plain, prunable=["conv1"])
    assert list(pruned(model).weights()) == ["conv1/kernel"]


def test_ranking_and_group_size_reach_the_adapter(make_cnn):
    adapter = pruned(wrap_for_pruning(make_cnn(), ranking="layerwise", group_size=2))
    assert adapter.criterion.names == {"ranking": "layerwise", "group_size": 2}


@pytest.mark.parametrize(
    "schedule", [ConstantSparsity(0.5, 0), PolynomialDecay(0.0, 0.5, 0, 10), None]
)
def test_any_tfmot_schedule_is_accepted(schedule, make_cnn):
    wanted = EarlyTicketPolynomialDecay if schedule is None else type(schedule)
    assert type(pruned(wrap_for_pruning(make_cnn(), schedule)).schedule) is wanted


def test_a_layer_shared_with_a_nested_model_stays_shared():
    tied = layers.Dense(6, name="tied")
    inputs = keras.Input((6,))
    inner = keras.Model(inputs, tied(inputs), name="inner")
    outer_inputs = keras.Input((6,))
    plain = keras.Model(outer_inputs, layers.Dense(2)(tied(inner(outer_inputs))))
    for copy in (wrap_for_pruning(plain), strip_pruning(wrap_for_pruning(plain))):
        assert len(copy.trainable_variables) == len(plain.trainable_variables) == 4
        np.testing.assert_array_equal(copy(np.ones((2, 6))), plain(np.ones((2, 6))))


def test_losses_added_to_the_model_are_kept():
    inputs = keras.Input((6,))
    hidden = layers.Dense(5, kernel_regularizer="l2")(inputs)
    plain = keras.Model(inputs, layers.Dense(2)(hidden))
    plain.add_loss(tf.reduce_mean(hidden**2))
    values = []
    for each in (plain, wrap_for_pruning(plain), strip_pruning(wrap_for_pruning(plain))):
        each.compile("sgd", "mse")
        values.append(each.evaluate(np.ones((4, 6)), np.zeros((4, 2)), verbose=0))
    assert values[0] == values[1] == values[2] > 0


class OwnStep(keras.Model):
    def train_step(self, data):
        return {"loss": tf.constant(7.0)}


def test_a_functional_subclass_keeps_its_training_step(compiled):
    inputs = keras.Input((6,))
    model = wrap_for_pruning(OwnStep(inputs, layers.Dense(2)(layers.Dense(5)(inputs))))
    assert type(model) is OwnStep
    compiled(model)
    assert model.fit(np.ones((4, 6)), np.zeros(4), verbose=0).history["loss"] == [7.0]


def test_a_functional_subclass_that_cannot_be_copied_is_refused():
    class Fixed(OwnStep):
        def __init__(self, width):
            inputs = keras.Input((6,))
            super().__init__(inputs, layers.Dense(2)(layers.Dense(width)(inputs)))

    with pytest.raises(
        InputError, match="Fixed cannot be copied.*its own train_step.*takes .inputs, outputs, name"
    ):
        wrap_for_pruning(Fixed(4))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


def wrapped():
    return wrap_for_pruning(sequential((4,), layers.Dense(5), layers.Dense(2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Subclassed, "is subclassed"),
        (lambda: sequential((4,), layers.Dense(4), Subclassed()), "is subclassed"),
        (lambda: keras.Sequential([layers.Dense(3), layers.Dense(3)]), "is not built"),
        (wrapped, "wrapped for pruning already"),
        (lambda: sequential((4,), layers.Flatten(), layers.Dense(2)), "no prunable layer"),
        (lambda: sequential((8, 8, 3), layers.Conv2D(2, 3), layers.Conv2D(2, 3)), "no prunable"),
        (lambda: "model.keras", "model is a builtins.str: expected a Keras model"),
    ],
    ids=["subclassed", "nested", "unbuilt", "wrapped", "one_dense", "two_convs", "text"],
)
def test_other_models_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        wrap_for_pruning(make())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prunable": ["conv3"]}, "prunable='conv3'.*Did you mean 'conv"),
        ({"prunable": "conv2"}, "expected a list of names"),
        ({"prunable": ["pool"]}, "cannot be pruned|no prunable layer"),
        ({"prunable": []}, "no prunable layer"),
        ({"prunable": lambda layer: False}, "no prunable layer"),
        ({"schedule": 0.8}, "schedule is a float"),
        ({"ranking": "local"}, "ranking='local'"),
        ({"group_size": 0}, "group_size=0: expected an integer of at least 1"),
        ({"group_size": 2.0}, "group_size=2.0: expected an integer"),
        ({"group_size": True}, "group_size=True: expected an integer"),
    ],
)
def test_wrong_arguments_are_refused_by_name(arguments, message, make_cnn):
    with pytest.raises(InputError, match=message):
        wrap_for_pruning(make_cnn(), **arguments)


def test_wrapping_leaves_keras_random_generators_as_they_were(make_cnn):
    backend = keras.backend.experimental
    enabled = backend.is_tf_random_generator_enabled()
    wrap_for_pruning(make_cnn())
    with pytest.raises(InputError):
        wrap_for_pruning(make_cnn(), prunable=["nothing"])
    assert backend.is_tf_random_generator_enabled() == enabled


def test_strip_gives_a_plain_equal_model_and_keeps_the_wrapped_one(pruned_model, make_cnn, images):
    original = make_cnn()
    plain = strip_pruning(pruned_model)
    np.testing.assert_array_equal(plain(images[0]), pruned_model(images[0]))
    assert not layer_ids(plain) & layer_ids(pruned_model)
    assert not any(isinstance(module, PruneLowMagnitude) for module in plain.submodules)
    for ours, users in zip(plain.layers[1:], original.layers[1:], strict=True):
        assert type(ours) is type(users)
        assert ours.get_config() == users.get_config()
    for name, mask in pruned(pruned_model).masks().items():
        kernel = plain.get_layer(name.split("/")[0]).get_weights()[0]
        np.testing.assert_array_equal(kernel != 0, mask)
    pruned_model.fit(*images, verbose=0)
    assert pruned(pruned_model).violations() == 0


def test_strip_refuses_what_is_no_model():
    with pytest.raises(InputError, match="expected a Keras model"):
        strip_pruning([1, 2])


@pytest.mark.slow
def test_mobilenet_v2_trains_a_step_exactly_sparse(compiled, prune):
    plain = keras.applications.MobileNetV2(weights=None, input_shape=(32, 32, 3), classes=10)
    model = wrap_for_pruning(plain)
    names = names_of(plain)
    assert "Conv1" not in names and "predictions" not in names
    assert not any("depthwise" in name for name in names)
    adapter = compiled(model, keras.optimizers.Adam())
    masks = prune(adapter, 0.8)
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    model.fit(x, np.arange(4), batch_size=4, verbose=0)
    weights = adapter.weights()
    assert not any(weights[name][~mask].any() for name, mask in masks.items())
    np.testing.assert_allclose(strip_pruning(model)(x), model(x), atol=1e-6)


_UNSERVED = """
import os, sys
import keras
import tf_earlyticket as et

layers = keras.layers
model = keras.Sequential([layers.Input((4,)), *(layers.Dense(8) for _ in range(3))])
# It may also stand in keras.json.
os.environ.pop("KERAS_BACKEND")
try:
    et.wrap_for_pruning(model)
except et.InputError as error:
    sys.exit(str(error))
"""


def test_a_keras_3_that_computes_with_something_else_is_refused(monkeypatch):
    message = "KERAS_BACKEND='numpy': expected 'tensorflow' or 'jax', in the environment or in"
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    done = subprocess.run([sys.executable, "-c", _UNSERVED], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith(message)
    # For commands before they touch anything, installed or not.
    with pytest.raises(InputError, match=message):
        check_installed("keras")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(InputError, match="KERAS_BACKEND='torch': expected"):
        check_installed("keras")
    check_installed("tf_keras")
