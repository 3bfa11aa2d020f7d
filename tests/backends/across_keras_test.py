"""tf_keras and Keras 3 in one process: tickets go from one to the other; kinds of networks."""

import keras as keras3
import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.tf_keras.compat import keras as tf_keras


def _network(keras, blocks=2):
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for number in range(blocks):
        shortcut = outputs
        outputs = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise{number}")(outputs)
        outputs = layers.BatchNormalization(name=f"norm{number}")(outputs)
        outputs = layers.SeparableConv2D(8, 3, padding="same", name=f"conv{number}")(outputs)
        outputs = layers.Add(name=f"add{number}")([shortcut, outputs])
    outputs = layers.GlobalAveragePooling2D(name="pool")(outputs)
    outputs = layers.Dense(6, name="hidden")(outputs)
    return keras.Model(inputs, layers.Dense(3, name="classifier")(outputs), name="network")


@pytest.mark.parametrize(("first", "second"), [(tf_keras, keras3), (keras3, tf_keras)])
def test_a_ticket_of_one_keras_fits_the_other(first, second, tmp_path):
    model = et.wrap_for_pruning(_network(first))
    adapter = pruned(model)
    adapter.set_masks(adapter.ranked_masks(0.5))
    et.export_ticket(model, tmp_path / "ticket")
    ticket = et.Ticket.load(tmp_path / "ticket")
    other = et.wrap_for_pruning(_network(second))
    et.rewind(other, ticket)
    for name, mask in ticket.masks.items():
        np.testing.assert_array_equal(pruned(other).masks()[name], mask)
    plain = _network(second)
    et.load_trained_weights(plain, ticket)
    images = np.random.RandomState(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(
        np.asarray(plain(images)), np.asarray(et.strip_pruning(model)(images)), rtol=1e-4, atol=1e-5
    )


def test_a_network_of_another_size_is_refused():
    model = et.wrap_for_pruning(_network(tf_keras))
    adapter = pruned(model)
    adapter.set_masks(adapter.ranked_masks(0.5))
    ticket = et.Ticket(adapter.masks(), adapter.all_weights(), 0)
    with pytest.raises(et.InputError, match="conv2"):
        et.rewind(et.wrap_for_pruning(_network(keras3, blocks=3)), ticket)


@keras3.saving.register_keras_serializable(package="tests")
class Block(keras3.layers.Layer):
    """A layer made of layers."""

    def __init__(self, width, **options):
        super().__init__(**options)
        self.width = width
        self.first = keras3.layers.Dense(width, activation="relu", name="first")
        self.second = keras3.layers.Dense(width, name="second")

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.width))

    def call(self, inputs):
        return inputs + self.second(self.first(inputs))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


class Subclassed(keras3.Model):
    """A model with a `call` of its own."""

    def __init__(self, width=4, **options):
        super().__init__(**options)
        self.width = width
        self.blocks = [Block(width, name=f"block{number}") for number in range(2)]
        self.classifier = keras3.layers.Dense(3, name="classifier")

    def build(self, shape):
        for block in self.blocks:
            block.build(shape)
        self.classifier.build(shape)

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.classifier(inputs)

    def get_config(self):
        return {"width": self.width}


def test_a_subclassed_model_is_pruned_down_to_the_layers_inside_its_layers():
    plain = Subclassed()
    plain.build((None, 4))
    model = et.wrap_for_pruning(
        plain, et.EarlyTicketPolynomialDecay(0.5, begin_step=0, ramp_steps=0)
    )
    model.compile("adam", keras3.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs, labels = np.ones((32, 4), np.float32), np.arange(32) % 3
    model.fit(inputs, labels, batch_size=8, epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    adapter = pruned(model)
    assert list(adapter.masks()) == [
        f"block{block}/{layer}/kernel" for block in (0, 1) for layer in ("first", "second")
    ]
    assert adapter.violations() == 0
    assert et.mask_sparsity(adapter.masks()) == 0.5
    stripped = et.strip_pruning(model)
    assert set(backend_of(stripped).named_weights(stripped)) == set(adapter.all_weights())


def test_a_model_that_cannot_be_copied_is_refused():
    class Secretive(Subclassed):
        def get_config(self):
            raise NotImplementedError("secret")

    plain = Secretive()
    plain.build((None, 4))
    with pytest.raises(et.InputError, match=r"Secretive cannot be copied.*secret"):
        et.wrap_for_pruning(plain)


def test_the_users_own_constraint_stays():
    layers = keras3.layers
    plain = keras3.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8, kernel_constraint="non_neg", name="one"),
            layers.Dense(3, name="out"),
        ]
    )
    model = et.wrap_for_pruning(plain)
    model.compile(keras3.optimizers.SGD(1.0), "mse")
    adapter = pruned(model)
    adapter.prepare()
    adapter.set_masks(adapter.ranked_masks(0.5))
    model.train_on_batch(np.ones((4, 4), np.float32), -np.ones((4, 3), np.float32))
    (kernel,) = adapter.weights().values()
    assert (kernel >= 0).all() and adapter.violations() == 0


def _compiled(width):
    layers = keras3.layers
    model = et.wrap_for_pruning(
        keras3.Sequential(
            [layers.Input((4,)), layers.Dense(width, name="one"), layers.Dense(3, name="out")]
        )
    )
    model.compile(keras3.optimizers.Adam(0.1), "mse")
    pruned(model).prepare()
    return model


def _damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [None, "byte", "end", "other network"])
def test_the_state_of_a_run_comes_back_whole_or_not_at_all(tmp_path, damage):
    model = _compiled(8)
    adapter = pruned(model)
    adapter.set_masks(adapter.ranked_masks(0.5))
    model.train_on_batch(np.ones((4, 4), np.float32), np.ones((4, 3), np.float32))
    weights, masks = adapter.all_weights(), adapter.masks()
    backend = backend_of(model)
    backend.write_state(model, tmp_path / "ckpt-1")
    (file,) = tmp_path.iterdir()
    if damage == "byte":
        _damage(file)
    elif damage == "end":
        file.write_bytes(file.read_bytes()[:-100])
    other = _compiled(9 if damage == "other network" else 8)
    before = pruned(other).all_weights()
    if damage:
        with pytest.raises(ValueError, match="must hold arrays|not of this model"):
            backend.read_state(other, tmp_path / "ckpt-1")
        weights = before
    else:
        backend.read_state(other, tmp_path / "ckpt-1")
        assert pruned(other).step() == 1
        for name, mask in masks.items():
            np.testing.assert_array_equal(pruned(other).masks()[name], mask)
    for name, weight in pruned(other).all_weights().items():
        np.testing.assert_array_equal(weight, weights[name])
