"""`MaskedPruneLowMagnitude`: exactly sparse after every step, otherwise the layer itself."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from tf_earlyticket.backends import pruned, wrap_for_pruning
from tf_earlyticket.backends.tf_keras.wrapper import (
    EarlyTicketPolynomialDecay,
    MaskedPruneLowMagnitude,
    masked_gradient,
)
from tf_earlyticket.errors import InputError

layers = keras.layers


@keras.utils.register_keras_serializable("adapter_tests")
class TwoKernels(layers.Layer):
    """A user's layer with two prunable weights and a `training` argument."""

    def build(self, input_shape):
        self.up = self.add_weight("up", (input_shape[-1], 5))
        self.down = self.add_weight("down", (5, 4))

    def call(self, inputs, training=None):
        hidden = tf.matmul(tf.matmul(inputs, self.up), self.down)
        return hidden * 2.0 if training else hidden

    def get_prunable_weights(self):
        return [self.up, self.down]


@keras.utils.register_keras_serializable("adapter_tests")
class RootKernel(layers.Layer):
    """A layer whose gradient is NaN where its weight is zero."""

    def build(self, input_shape):
        self.kernel = self.add_weight("kernel", (input_shape[-1], 6), initializer="ones")

    def call(self, inputs):
        return tf.matmul(inputs, tf.sqrt(tf.abs(self.kernel)))

    def get_prunable_weights(self):
        return [self.kernel]


@keras.utils.register_keras_serializable("adapter_tests")
class OwnDense(layers.Dense):
    """A subclass that TFMOT's registry does not know."""


def mlp(*hidden, name="mlp"):
    return keras.Sequential(
        [keras.Input((12,)), *hidden, layers.Dense(4, name="logits")], name=name
    )


@pytest.fixture
def vectors():
    generator = np.random.default_rng(1)
    return generator.normal(size=(12, 12)).astype("float32"), generator.integers(0, 4, size=12)


def test_a_convolutional_network_with_regularizers_stays_sparse(
    make_cnn, compiled, train_sparse, images
):
    cnn = make_cnn(kernel_regularizer="l1_l2", kernel_constraint="max_norm")
    train_sparse(compiled(wrap_for_pruning(cnn)), *images, batch_size=4)


def test_masked_gradient_passes_no_nan_and_no_negative_zero():
    weight, mask = tf.constant([1.0, 0.0, 2.0, 0.0]), tf.constant([1.0, 0.0, 1.0, 0.0])
    upstream = tf.constant([3.0, np.nan, -4.0, -5.0])
    with tf.GradientTape() as tape:
        tape.watch(weight)
        out = masked_gradient(weight, mask)
    gradient = tape.gradient(out, weight, upstream).numpy()
    np.testing.assert_array_equal(out, weight)
    np.testing.assert_array_equal(gradient, [3.0, 0.0, -4.0, 0.0])
    assert not np.signbit(gradient[[1, 3]]).any()


def test_a_nan_gradient_of_a_pruned_weight_does_not_move_it(compiled, vectors):
    model = wrap_for_pruning(mlp(RootKernel(name="root")), prunable=["root"])
    adapter = compiled(model)
    mask = np.arange(72).reshape(12, 6) % 3 > 0
    adapter.set_masks({"root/kernel": mask})
    model.fit(*vectors, verbose=0)
    weights = adapter.weights()["root/kernel"]
    assert np.isfinite(weights).all()
    assert not weights[~mask].any()
    assert (weights[mask] != 1).any()


LAYERS = {
    "embedding": ((6,), lambda: [layers.Embedding(9, 4, name="p"), layers.Flatten()]),
    "conv1d": ((8, 3), lambda: [layers.Conv1D(4, 3, name="p"), layers.Flatten()]),
    "conv1d_transpose": (
        (8, 3),
        lambda: [layers.Conv1DTranspose(4, 3, name="p"), layers.Flatten()],
    ),
    "conv2d_transpose": (
        (4, 4, 3),
        lambda: [layers.Conv2DTranspose(4, 3, name="p"), layers.Flatten()],
    ),
    "separable": ((6, 6, 3), lambda: [layers.SeparableConv2D(4, 3, name="p"), layers.Flatten()]),
    "depthwise": ((6, 6, 3), lambda: [layers.DepthwiseConv2D(3, name="p"), layers.Flatten()]),
    "einsum": ((12,), lambda: [layers.EinsumDense("ab,bc->ac", 8, name="p")]),
    "own_dense": ((12,), lambda: [OwnDense(8, name="p")]),
    "two_kernels": ((12,), lambda: [TwoKernels(name="p")]),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_computes_as_before_and_stays_sparse(
    kind, compiled, train_sparse, tmp_path
):
    shape, make = LAYERS[kind]
    generator = np.random.default_rng(2)
    x = generator.integers(0, 9, size=(8, *shape)).astype("float32")
    plain = keras.Sequential([keras.Input(shape), *make(), layers.Dense(4)])
    model = wrap_for_pruning(plain, prunable=["p"])
    np.testing.assert_array_equal(model(x), plain(x))
    np.testing.assert_array_equal(model(x, training=True), plain(x, training=True))
    adapter = compiled(model)
    train_sparse(adapter, x, generator.integers(0, 4, size=8))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    for name, mask in pruned(loaded).masks().items():
        np.testing.assert_array_equal(mask, adapter.masks()[name])


def test_a_layer_used_twice_is_wrapped_once(compiled, train_sparse, vectors):
    shared = layers.Dense(12, "relu", name="shared")
    inputs = keras.Input((12,))
    plain = keras.Model(inputs, layers.Dense(4)(shared(shared(inputs))))
    model = wrap_for_pruning(plain)
    np.testing.assert_array_equal(model(vectors[0]), plain(vectors[0]))
    adapter = compiled(model)
    assert list(adapter.weights()) == ["shared/kernel"]
    train_sparse(adapter, *vectors)


def test_nested_models_are_wrapped_inside(compiled, train_sparse, vectors):
    inner = keras.Sequential(
        [layers.Dense(6, "relu", name="a"), layers.Dense(6, name="b")], name="block"
    )
    inputs = keras.Input((12,))
    plain = keras.Model(inputs, layers.Dense(4, name="logits")(inner(inputs)))
    model = wrap_for_pruning(plain)
    np.testing.assert_array_equal(model(vectors[0]), plain(vectors[0]))
    adapter = compiled(model)
    assert list(adapter.weights()) == ["block/a/kernel", "block/b/kernel"]
    train_sparse(adapter, *vectors)


def test_the_training_argument_reaches_the_layer(vectors):
    model = wrap_for_pruning(mlp(TwoKernels(name="two")), prunable=["two"])
    two = keras.Model(model.inputs, model.layers[0].output)
    np.testing.assert_array_equal(two(vectors[0], training=True), 2 * two(vectors[0]).numpy())


def test_keras_masks_pass_through():
    plain = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(10, 4, mask_zero=True, name="embedding"),
            layers.Dense(5, name="dense"),
            layers.LSTM(3),
            layers.Dense(2),
        ]
    )
    tokens = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 0, 0, 0, 0]])
    model = wrap_for_pruning(plain, prunable=["embedding", "dense"])
    np.testing.assert_array_equal(model(tokens), plain(tokens))
    assert np.abs(model(tokens) - plain(np.where(tokens, tokens, 7))).max() > 0


def test_activity_regularization_is_kept(compiled, vectors):
    plain = mlp(layers.Dense(8, activity_regularizer="l2", name="hidden"))
    model = wrap_for_pruning(plain)
    values = []
    for each in (plain, model):
        compiled(each, prepare=False) if each is model else each.compile(
            "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        )
        values.append(each.evaluate(*vectors, verbose=0, return_dict=True)["loss"])
    assert values[0] == values[1]
    assert len(model.losses) == len(plain.losses) == 1


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_stays_sparse_and_computes_as_before(
    dtype, make_cnn, compiled, train_sparse, images
):
    keras.mixed_precision.set_global_policy(dtype)
    plain = make_cnn()
    model = wrap_for_pruning(plain)
    np.testing.assert_array_equal(model(images[0]), plain(images[0]))
    assert model.get_layer("masked_prune_low_magnitude_conv2").compute_dtype == dtype[6:]
    adapter = compiled(model)
    assert hasattr(model.optimizer, "inner_optimizer") == (dtype == "mixed_float16")
    train_sparse(adapter, *images, batch_size=4)
    assert all(weight.dtype == np.float32 for weight in adapter.weights().values())


def test_the_wrapper_follows_the_layers_policy_not_the_global_one(make_cnn, images):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    plain = make_cnn()
    keras.mixed_precision.set_global_policy("float32")
    model = wrap_for_pruning(plain)
    assert model.get_layer("masked_prune_low_magnitude_conv2").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(model(images[0]), plain(images[0]))


def test_bfloat16_does_not_round_the_master_weights(make_cnn, compiled, prune, images):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = wrap_for_pruning(make_cnn())
    adapter = compiled(model, keras.optimizers.SGD(1e-6))
    prune(adapter, 0.5)
    before = adapter.weights()
    model.fit(*images, batch_size=16, verbose=0)
    for name, weight in adapter.weights().items():
        assert 0 < np.abs(weight - before[name]).max() < 1e-5
        rounded = tf.cast(tf.cast(weight, tf.bfloat16), tf.float32).numpy()
        assert (weight != rounded).any()


def test_xla_stays_sparse_and_agrees_with_the_plain_graph(make_cnn, compiled, train_sparse, images):
    keras.mixed_precision.set_global_policy("float32")
    start = make_cnn()
    start.get_layer("drop").rate = 0.0
    finals = []
    for jit_compile in (True, False):
        model = wrap_for_pruning(start)
        adapter = compiled(model, jit_compile=jit_compile)
        model.fit = _without_shuffle(model.fit)
        train_sparse(adapter, *images, batch_size=4)
        finals.append(adapter.all_weights())
    for name in finals[0]:
        np.testing.assert_allclose(finals[0][name], finals[1][name], rtol=1e-3, atol=1e-4)


def _without_shuffle(fit):
    return lambda *args, **options: fit(*args, shuffle=False, **options)


def test_several_steps_per_execution_stay_sparse(compiled, train_sparse, vectors):
    model = wrap_for_pruning(mlp(layers.Dense(8, "relu", name="hidden")))
    adapter = compiled(model, steps_per_execution=4)
    watch = train_sparse(adapter, *vectors, batch_size=1, epochs=2)
    assert watch.calls == 6


def test_a_cell_without_prunable_weights_of_its_own_is_refused():
    class Mean(layers.AbstractRNNCell):
        state_size = output_size = 3

        def call(self, inputs, states):
            mean = (inputs + states[0]) / 2
            return mean, [mean]

    model = keras.Sequential(
        [keras.Input((5, 3)), layers.RNN(Mean(), name="p"), layers.Dense(3), layers.Dense(2)]
    )
    with pytest.raises(InputError, match="'p' of type RNN cannot be pruned"):
        wrap_for_pruning(model, prunable=["p"])
    # A function may say so of all.
    assert len(pruned(wrap_for_pruning(model, prunable=lambda layer: True)).masks()) == 2


def test_a_weight_that_is_no_attribute_of_a_layer_is_refused():
    class Hidden(layers.Layer):
        def build(self, input_shape):
            self.kernels = [self.add_weight("kernel", (input_shape[-1], 3))]

        def call(self, inputs):
            return tf.matmul(inputs, self.kernels[0])

        def get_prunable_weights(self):
            return list(self.kernels)

    hidden = Hidden(name="p")
    hidden.build((None, 12))
    with pytest.raises(InputError, match="an attribute neither of the layer nor of one inside"):
        wrap_for_pruning(mlp(hidden), prunable=["p"])


@pytest.mark.parametrize("options", [{"block_size": (1, 4)}, {"sparsity_m_by_n": (2, 4)}])
def test_tfmots_own_patterns_are_refused(options):
    with pytest.raises(InputError, match="group_size"):
        MaskedPruneLowMagnitude(layers.Dense(3), EarlyTicketPolynomialDecay(), **options)


def test_a_layer_without_prunable_weights_of_its_own_is_refused():
    with pytest.raises(InputError, match="BatchNormalization.*cannot be pruned"):
        MaskedPruneLowMagnitude(layers.BatchNormalization(), EarlyTicketPolynomialDecay())


def test_the_layers_attribute_is_the_variable_again_after_a_call_that_fails(vectors):
    model = wrap_for_pruning(mlp(layers.Dense(8, name="hidden")))
    dense = model.get_layer("masked_prune_low_magnitude_hidden").layer
    kernel = dense.kernel
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        model.layers[0].call(tf.ones((2, 5)))
    assert dense.kernel is kernel
    assert isinstance(kernel, tf.Variable)


def test_config_holds_ranking_and_group_size():
    schedule = EarlyTicketPolynomialDecay(0.6, ramp_steps=5)
    wrapper = MaskedPruneLowMagnitude(layers.Dense(3), schedule, ranking="layerwise", group_size=4)
    again = MaskedPruneLowMagnitude.from_config(wrapper.get_config())
    assert again.criterion.names == {"ranking": "layerwise", "group_size": 4}
    assert again.pruning_schedule.get_config() == schedule.get_config()
    assert again.name == wrapper.name


def _dense(**options):
    return mlp(layers.Dense(8), layers.Dense(6, name="middle", **options))


def _tied():
    # The second reads the kernel of the first, past its wrapper.
    first = OwnDense(12, name="middle")

    class Reader(layers.Layer):
        def __init__(self):
            super().__init__()
            self.first = first

        def call(self, inputs):
            return tf.matmul(inputs, self.first.kernel, transpose_b=True)

    return mlp(layers.Dense(12), first, Reader())


class _WithLoss(OwnDense):
    def build(self, input_shape):
        super().build(input_shape)
        self.add_loss(lambda: tf.reduce_sum(self.kernel))


def _own_step():
    class OwnStep(keras.Model):
        def train_step(self, data):
            return super().train_step(data)

    plain = _dense()
    return OwnStep(plain.input, plain.output)


class _OwnOptimizer(keras.optimizers.SGD):
    pass


ORDINARY = {
    "plain": _dense,
    "l1l2": lambda: _dense(kernel_regularizer=keras.regularizers.L1L2(1e-3, 1e-3)),
    "activity": lambda: _dense(activity_regularizer=keras.regularizers.L2(1e-3)),
}
MOVING = {
    "orthogonal": lambda: _dense(kernel_regularizer=keras.regularizers.OrthogonalRegularizer(0.1)),
    "constraint": lambda: _dense(kernel_constraint=keras.constraints.UnitNorm()),
    "loss": lambda: mlp(layers.Dense(8), _WithLoss(6, name="middle")),
}


@pytest.mark.parametrize("name", [*ORDINARY, *MOVING])
def test_the_steps_of_a_model_have_constraints_where_zeros_may_move(
    name, compiled, train_sparse, vectors
):
    plain = {**ORDINARY, **MOVING}[name]()
    own = plain.get_layer("middle").kernel.constraint
    model = wrap_for_pruning(plain)
    adapter = compiled(model, prepare=False)
    kernel = model.layers[1].layer.kernel
    assert kernel.constraint is not None
    adapter.prepare()
    assert (kernel.constraint is not None) == (name in MOVING)
    train_sparse(adapter, *vectors)
    adapter.finish()
    # Whoever trains it now.
    assert kernel.constraint not in (None, own)


@pytest.mark.parametrize("make", [_own_step, _tied])
def test_models_that_may_train_in_another_way_have_all_constraints(make, compiled):
    model = wrap_for_pruning(make())
    compiled(model)
    (kernel,) = [w for w in model.trainable_weights if "middle/kernel" in w.name]
    assert kernel.constraint is not None


@pytest.mark.parametrize(
    "optimizer",
    [_OwnOptimizer(), keras.optimizers.SGD(0.1, use_ema=True), keras.optimizers.SGD(0.1)],
    ids=["own", "average", "plain"],
)
def test_optimizers_that_may_write_weights_in_another_way_have_constraints(optimizer, compiled):
    model = wrap_for_pruning(_dense())
    compiled(model, optimizer)
    ordinary = type(optimizer) is keras.optimizers.SGD and not optimizer.use_ema
    assert (model.layers[1].layer.kernel.constraint is None) == ordinary
