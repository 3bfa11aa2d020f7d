"""What people reported of such tools, tried under every Keras."""

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.deploy import tflite
from tf_earlyticket.errors import RunError
from tf_earlyticket.pruning.select import RANKINGS


def _zeros(model):
    return sum(int((w == 0).sum()) for w in pruned(model).weights().values())


def _half(model):
    random = np.random.RandomState(3)
    adapter = pruned(model)
    adapter.set_masks({n: random.uniform(size=w.shape) > 0.5 for n, w in adapter.weights().items()})
    return _zeros(model)


def test_masks_hold_by_themselves_from_the_moment_they_are_written(network, compiled, examples):
    images, labels = examples
    model = et.wrap_for_pruning(network())
    # Before any optimizer is there.
    zeros = _half(model)
    compiled(model)
    model.fit(images, labels, batch_size=16, epochs=2, verbose=0)
    assert _zeros(model) == zeros
    # Another optimizer, and single steps.
    compiled(model, "adam")
    model.train_on_batch(images[:16], labels[:16])
    model.fit(images, labels, batch_size=16, epochs=1, verbose=0)
    assert _zeros(model) == zeros


def test_a_rewound_ticket_trains_sparse_without_a_callback(network, compiled, data, tmp_path):
    model = compiled(et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.7)))
    model.fit(
        data[0],
        validation_data=data[1],
        epochs=6,
        verbose=0,
        callbacks=[et.EarlyTicket(*data, verbose=0)],
    )
    et.export_ticket(model, tmp_path / "ticket")
    ticket = et.Ticket.load(tmp_path / "ticket")
    again = compiled(et.wrap_for_pruning(network()))
    et.rewind(again, ticket)
    zeros = _zeros(again)
    again.fit(data[0], epochs=2, verbose=0)
    assert _zeros(again) == zeros == sum(int((~m).sum()) for m in ticket.masks.values())
    assert et.export_ticket(again, tmp_path / "again").sparsity == ticket.sparsity


@pytest.mark.parametrize("when", ["uncompiled", "compiled", "trained"])
def test_weights_from_a_file_come_with_their_masks(
    keras, network, compiled, examples, when, tmp_path
):
    images, labels = examples
    model, file = compiled(et.wrap_for_pruning(network())), str(tmp_path / "last.weights.h5")
    zeros = _half(model)
    model.fit(images, labels, verbose=0)
    model.save_weights(file)
    again = et.wrap_for_pruning(network())
    if when != "uncompiled":
        compiled(again)
    if when == "trained":
        again.fit(images, labels, verbose=0)
    again.load_weights(file)
    compiled(again).fit(images, labels, verbose=0)
    assert _zeros(again) == zeros and pruned(again).violations() == 0
    for name, mask in pruned(model).masks().items():
        np.testing.assert_array_equal(pruned(again).masks()[name], mask)
    if keras.__name__ == "tf_keras":
        # Its wrappers are layers of their own.
        return
    # Plain models read the weights alone, and files of plain models leave masks as they are.
    plain = network()
    plain.load_weights(file)
    plain.save_weights(file)
    again.load_weights(file)
    for name, mask in pruned(model).masks().items():
        np.testing.assert_array_equal(pruned(again).masks()[name], mask)


@pytest.mark.parametrize("form", ["lists", "inputs", "dict"])
def test_a_model_is_exported_however_its_inputs_are_given(keras, compiled, form, tmp_path):
    layers = keras.layers
    images = np.random.RandomState(0).normal(size=(32, 8, 8, 1)).astype(np.float32)
    labels = np.arange(32) % 3
    i = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, name="first")(i)
    x = layers.Conv2D(8, 3, name="second")(x)
    o = layers.Dense(3, name="last")(layers.GlobalAveragePooling2D()(x))
    base = keras.Model(i, o)
    inputs = {"lists": [i], "inputs": base.inputs, "dict": {"image": i}}[form]
    plain = keras.Model(inputs=inputs, outputs=[o] if form == "lists" else o)
    given = {"image": images} if form == "dict" else images
    data = tf.data.Dataset.from_tensor_slices((given, labels)).batch(8)
    model = compiled(et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.7)))
    callbacks = [et.EarlyTicket(data, data, verbose=0)]
    model.fit(data, validation_data=data, epochs=6, verbose=0, callbacks=callbacks)
    et.export_ticket(model, tmp_path / "ticket")
    served = tf.saved_model.load(str(tmp_path / "ticket" / "saved_model"))
    found = served.serve({"image": images} if form == "dict" else images)
    found = found[0] if isinstance(found, (list, tuple)) else found
    wanted = model.predict(given, verbose=0)
    wanted = wanted[0] if isinstance(wanted, list) else wanted
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-4, atol=1e-5)


def test_recurrent_layers_become_tflite_files_for_one_example(keras, tmp_path):
    layers = keras.layers

    def make(batch_size):
        i = layers.Input((5, 6), batch_size=batch_size, name="series")
        x = layers.Dense(8, name="middle")(layers.LSTM(4, name="recurrent")(i))
        return keras.Model(i, layers.Dense(3, name="last")(x))

    model = et.wrap_for_pruning(make(None), et.EarlyTicketPolynomialDecay(0.5))
    _half(model)
    ticket = et.export_ticket(model, tmp_path / "ticket")
    with pytest.raises(RunError, match="recurrent layers .*batch_size=1.*SELECT_TF_OPS") as error:
        tflite.convert(tmp_path / "ticket/saved_model", tflite.FORMATS["tflite"])
    assert "\n" not in str(error.value)
    if hasattr(keras, "ops") and keras.backend.backend() == "jax":
        return
    # As it says.
    one = make(1)
    et.load_trained_weights(one, ticket)
    # Keras 3 exports any batch size otherwise.
    signature = [tf.TensorSpec((1, 5, 6), tf.float32)]
    options = {"verbose": False, "input_signature": signature} if hasattr(keras, "ops") else {}
    one.export(str(tmp_path / "one"), **options)
    run = tflite.runner(tflite.convert(tmp_path / "one", tflite.FORMATS["tflite"]))
    series = np.random.RandomState(0).normal(size=(1, 5, 6)).astype(np.float32)
    expected = np.asarray(et.strip_pruning(model)(series))
    np.testing.assert_allclose(run(series), expected, rtol=1e-4, atol=1e-5)


def test_transposed_convolutions_are_pruned_and_depthwise_ones_are_not(keras):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="first"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.SeparableConv2D(4, 3, name="separable"),
            layers.Conv2DTranspose(4, 3, name="transposed"),
            layers.Flatten(),
            layers.Dense(5, name="dense"),
            layers.Dense(3, name="last"),
        ]
    )
    masks = pruned(et.wrap_for_pruning(model)).masks()
    assert list(masks) == ["separable/pointwise_kernel", "transposed/kernel", "dense/kernel"]


@pytest.fixture
def taylor():
    """A ranking by |w g|, forgotten afterwards; looks at two batches."""
    before = dict(RANKINGS._entries)

    def score(context):
        gradients = context.gradients(batches=2)
        return {name: np.abs(w * gradients[name]) for name, w in context.weights.items()}

    et.register_ranking("taylor", et.Ranking(score))
    yield score
    RANKINGS._entries.clear()
    RANKINGS._entries.update(before)


def _plain_network(keras):
    layers = keras.layers
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="tanh", name="first"),
            layers.Conv2D(8, 3, activation="tanh", name="middle"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="last"),
        ]
    )


def test_gradients_are_those_of_the_compiled_loss(keras, compiled, data):
    model = compiled(et.wrap_for_pruning(_plain_network(keras)))
    adapter = pruned(model)
    batches = data[1].take(2)
    adapter.score_data = lambda: batches
    found = adapter.score_context().gradients(batches=2)["middle/kernel"]
    before = adapter.all_weights()
    for place in [(0, 0, 0, 0), (1, 2, 3, 7), (2, 2, 1, 4)]:
        losses = []
        for change in (1e-2, -1e-2):
            moved = {name: weight.copy() for name, weight in before.items()}
            moved["middle/kernel"][place] += change
            adapter.set_all_weights(moved)
            with adapter.sandbox():
                losses.append(adapter.evaluate(batches)["loss"])
        assert found[place] == pytest.approx((losses[0] - losses[1]) / 2e-2, abs=2e-4)
    assert np.abs(found).max() > 1e-3


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_probes_retrain_by_the_weights_of_examples(keras, compiled, data, weight):
    weighted = data[0].map(lambda x, y: (x, y, weight * tf.ones(tf.shape(y))))
    schedule = et.EarlyTicketPolynomialDecay(0.75)
    wrapped = et.wrap_for_pruning(_plain_network(keras), schedule)
    model = compiled(wrapped, keras.optimizers.SGD(0.05))
    probe = et.PPRProbe(weighted, data[1], monitor="loss")
    model.fit(weighted, epochs=1, verbose=0, callbacks=[probe])
    seen = probe.results[0].observation
    assert (seen.ppr_accuracy == seen.pruned_accuracy) == (weight == 0)


def test_a_ranking_may_look_at_gradients(keras, compiled, data, taylor):
    schedule = et.EarlyTicketPolynomialDecay(0.75)
    wrapped = et.wrap_for_pruning(_plain_network(keras), schedule, ranking="taylor")
    model, adapter = compiled(wrapped), pruned(wrapped)
    with pytest.raises(et.InputError, match="asks for gradients"):
        adapter.ranked_masks(0.75)
    batches = data[1].take(2)
    adapter.score_data = lambda: batches
    before, masks = adapter.all_weights(), adapter.ranked_masks(0.75)["middle/kernel"]
    scores = taylor(adapter.score_context())["middle/kernel"]
    assert masks.sum() == masks.size // 4 and scores[masks].min() >= scores[~masks].max()
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, before[name])
    callbacks = [et.EarlyTicket(*data, verbose=0)]
    model.fit(data[0], validation_data=data[1], epochs=6, verbose=0, callbacks=callbacks)
    assert _zeros(model) == masks.size - masks.size // 4


def test_activations_are_the_mean_magnitudes_of_a_layers_inputs(keras, compiled, data):
    model = compiled(et.wrap_for_pruning(_plain_network(keras)))
    adapter = pruned(model)
    context = adapter.score_context()
    with pytest.raises(et.InputError, match="asks for activations"):
        context.activations()
    adapter.score_data = lambda: data[1]
    before = adapter.all_weights()
    found = adapter.score_context().activations(batches=2)
    assert list(found) == ["middle/kernel"] and found["middle/kernel"].shape == (4,)

    # By hand: the first layer's kernel on every patch of the pictures.
    kernel, bias = before["first/kernel"].reshape(9, 4), before["first/bias"]
    sums = []
    for images, _ in data[1].take(2):
        windows = np.lib.stride_tricks.sliding_window_view(images.numpy(), (3, 3), axis=(1, 2))
        outputs = np.tanh(windows.reshape(-1, 9) @ kernel + bias)
        sums.append(np.abs(outputs).mean(axis=0))
    np.testing.assert_allclose(found["middle/kernel"], np.mean(sums, axis=0), rtol=1e-4)

    # Nothing is left behind.
    assert not any("call" in vars(layer) for layer in adapter.named_layers().values())
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, before[name])
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.MaskUpdate()])


def test_activations_of_a_kernel_that_meets_no_input_are_refused(keras, compiled, data):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(4, 3, name="first"),
            layers.SeparableConv2D(6, 3, depth_multiplier=2, name="separable"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="last"),
        ]
    )
    adapter = pruned(compiled(et.wrap_for_pruning(model)))
    adapter.score_data = lambda: data[1]
    with pytest.raises(et.InputError, match="activations of 'separable/pointwise_kernel'"):
        adapter.score_context().activations()
