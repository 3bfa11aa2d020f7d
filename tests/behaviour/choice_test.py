"""Which layers are pruned, the same under every Keras, and why the others are not."""

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned


def test_layers_inside_of_wrappers_are_chosen(keras, compiled, tmp_path):
    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Input((4, 8, 8, 1)),
            layers.TimeDistributed(layers.Conv2D(4, 3, name="first"), name="each_1"),
            layers.TimeDistributed(layers.Conv2D(4, 3, name="conv"), name="each_2"),
            layers.TimeDistributed(layers.Flatten(name="flat"), name="each_3"),
            layers.TimeDistributed(layers.Dense(8, name="dense"), name="each_4"),
            layers.SpectralNormalization(layers.Dense(6, name="normed"), name="spectral"),
            layers.TimeDistributed(layers.Dense(3, name="last"), name="each_5"),
            layers.GlobalAveragePooling1D(),
        ]
    )
    images = np.random.RandomState(0).normal(size=(32, 4, 8, 8, 1)).astype(np.float32)
    labels = np.arange(32) % 3
    backend = backend_of(plain)
    chosen = ["each_2/conv/kernel", "each_4/dense/kernel", "spectral/normed/kernel"]
    schedule = et.EarlyTicketPolynomialDecay(0.5, begin_step=0, ramp_steps=0)
    model = compiled(et.wrap_for_pruning(plain, schedule))
    assert list(pruned(model).masks()) == chosen
    reasons = backend.left_dense(plain)
    assert reasons["each_1/first/kernel"] == "the first convolution"
    assert reasons["each_5/last/kernel"] == "feeds the output"
    before = pruned(model).weights()
    model.fit(images, labels, epochs=2, batch_size=16, verbose=0, callbacks=[et.MaskUpdate()])
    assert pruned(model).violations() == 0
    for name, weight in pruned(model).weights().items():
        kept = pruned(model).masks()[name]
        assert np.all(weight[kept] != before[name][kept]), name
    ticket = et.export_ticket(model, tmp_path / "ticket")
    assert ticket.sparsity == 0.5
    np.testing.assert_allclose(
        np.asarray(et.strip_pruning(model)(images)), model.predict(images, verbose=0), atol=1e-5
    )


def test_the_last_layer_is_the_one_that_feeds_the_output(keras):
    layers = keras.layers
    i = layers.Input((6,))
    x = layers.Dense(8, name="a")(i)
    # The gate is the last in model order of those called, the head feeds the output.
    head = layers.Dense(3, name="head")
    gate = layers.Dense(8, activation="sigmoid", name="gate")(x)
    plain = keras.Model(i, layers.Softmax()(head(layers.Multiply()([x, gate]))))
    assert set(backend_of(plain).prunable_layers(plain)) == {"a", "gate"}


def test_the_last_layers_of_several_outputs_are_left_dense(keras):
    layers = keras.layers
    i = layers.Input((6,))
    x = layers.Dense(8, name="a")(i)
    one = layers.Dense(3, name="one")(x)
    two = layers.Dense(1, name="two")(layers.Dense(8, name="b")(x))
    plain = keras.Model(i, {"one": one, "two": two})
    assert set(backend_of(plain).prunable_layers(plain)) == {"a", "b"}


@pytest.mark.parametrize("names", [["dw", "pw"], ["pw", "dw"], ["table", "pw"]])
def test_all_names_asked_for_are_pruned(keras, names):
    layers = keras.layers
    i, words = layers.Input((8, 8, 2)), layers.Input((5,), dtype="int32")
    x = layers.DepthwiseConv2D(3, name="dw")(layers.Conv2D(4, 3, name="stem")(i))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1, name="pw")(x))
    y = layers.Flatten()(layers.Embedding(9, 4, name="table")(words))
    plain = keras.Model([i, words], layers.Dense(3, name="last")(layers.Concatenate()([x, y])))
    masks = pruned(et.wrap_for_pruning(plain, prunable=names)).masks()
    assert {name.split("/")[0] for name in masks} == set(names)
    chosen = [plain.get_layer(name) for name in names]
    assert list(pruned(et.wrap_for_pruning(plain, prunable=chosen)).masks()) == list(masks)
    for wrong in ("bn", "stem/kernel"):
        with pytest.raises(et.InputError, match=f"prunable='{wrong}': expected names or layers"):
            et.wrap_for_pruning(plain, prunable=[*names, wrong])


def test_constraints_and_regularizers_that_move_zeros_do_not(keras, compiled, examples):
    layers = keras.layers

    class Away(keras.constraints.Constraint):
        def __call__(self, w):
            return w + 0.01

        def get_config(self):
            return {}

    class Pull(keras.regularizers.Regularizer):
        def __call__(self, w):
            return keras.backend.sum(w) if keras.__name__ == "tf_keras" else keras.ops.sum(w)

        def get_config(self):
            return {}

    plain = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(8, kernel_constraint=Away(), name="a"),
            layers.Dense(8, kernel_regularizer=Pull(), name="b"),
            layers.Dense(3, name="last"),
        ]
    )
    schedule = et.EarlyTicketPolynomialDecay(0.5, begin_step=0, ramp_steps=0)
    model = compiled(et.wrap_for_pruning(plain, schedule), "adam")
    before = pruned(model).weights()
    model.fit(*examples, epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    assert pruned(model).violations() == 0
    assert (pruned(model).weights()["a/kernel"] != before["a/kernel"]).any()


def test_losses_metrics_and_monitor_by_the_names_of_outputs(keras, examples):
    layers = keras.layers
    images, labels = examples
    i = layers.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, name="second")(layers.Conv2D(4, 3, name="first")(i))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = [layers.Dense(3, name="kind")(x), layers.Dense(1, name="flag")(x)]
    plain = keras.Model(i, outputs)
    data = tf.data.Dataset.from_tensor_slices(
        (images, {"kind": labels, "flag": (labels[:, None] > 0).astype(np.float32)})
    ).batch(32)
    schedule = et.EarlyTicketPolynomialDecay(0.5)
    # All of them: the names of outputs are those of wrapped layers.
    for prunable in (None, ["second", "kind", "flag"]):
        model = et.wrap_for_pruning(plain, schedule, prunable=prunable)
        model.compile(
            "sgd",
            loss={
                "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                "flag": keras.losses.BinaryCrossentropy(from_logits=True),
            },
            metrics={"kind": ["accuracy"], "flag": ["mae"]},
        )
        probe = et.EarlyTicket(data, data, monitor="kind_accuracy", verbose=0)
        history = model.fit(data, validation_data=data, epochs=6, verbose=0, callbacks=[probe])
        assert {"kind_accuracy", "flag_mae", "val_kind_loss"} <= set(history.history)
        assert pruned(model).violations() == 0


def test_sparse_inputs(keras, compiled):
    layers = keras.layers
    if hasattr(keras, "ops") and keras.backend.backend() == "jax":
        return
    plain = keras.Sequential(
        [
            layers.Input((20,), sparse=True),
            layers.Dense(8, name="middle"),
            layers.Dense(3, name="last"),
        ]
    )
    random = np.random.RandomState(0)
    values = (random.uniform(size=(32, 20)) > 0.8).astype(np.float32)
    sparse = tf.sparse.from_dense(values)
    data = tf.data.Dataset.from_tensor_slices((sparse, np.arange(32) % 3)).batch(8)
    model = compiled(et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.5)))
    callbacks = [et.EarlyTicket(data, data, verbose=0)]
    model.fit(data, validation_data=data, epochs=6, verbose=0, callbacks=callbacks)
    assert pruned(model).violations() == 0


def test_quantised_and_low_rank_layers_are_left_dense(keras):
    layers = keras.layers
    if keras.__name__ == "tf_keras":
        assert not hasattr(layers.Dense(3), "quantize")
        return
    plain = keras.Sequential(
        [layers.Input((6,)), *(layers.Dense(8, name=name) for name in ("a", "b", "c", "last"))]
    )
    plain.get_layer("a").enable_lora(2)
    plain.get_layer("b").quantize("int8")
    backend = backend_of(plain)
    assert backend.prunable_layers(plain) == ["c"]
    reasons = backend.left_dense(plain)
    assert "LoRA" in reasons["a/kernel"] and "quantised" in reasons["b/kernel"]
    for name in "ab":
        with pytest.raises(et.InputError, match="cannot be pruned"):
            et.wrap_for_pruning(plain, prunable=[name])
    inputs = np.ones((2, 6), np.float32)
    np.testing.assert_allclose(
        np.asarray(et.wrap_for_pruning(plain)(inputs)), np.asarray(plain(inputs)), rtol=1e-5
    )
