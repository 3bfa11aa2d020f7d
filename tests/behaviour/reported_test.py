"""What people reported of such tools, tried under every Keras."""

import os

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.deploy import tflite
from tf_earlyticket.detectors.weight_signals import FixedEpoch
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


def test_wanda_looks_at_the_inputs_of_as_many_outputs_and_refuses_groups(keras, compiled):
    import tensorflow as tf

    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Input((4, 4, 4)),
            layers.Conv2DTranspose(4, 2, name="back"),
            layers.Conv2D(4, 2, groups=2, name="groups"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="last"),
        ]
    )
    sizes = np.array([1, 2, 4, 8], np.float32)
    rows = tf.data.Dataset.from_tensors((np.ones((2, 4, 4, 4), np.float32) * sizes, np.zeros(2)))
    options = {"ranking": "global(score='wanda')"}
    adapter = pruned(compiled(et.wrap_for_pruning(plain, prunable=["back"], **options)))
    adapter.score_data = lambda: rows
    scores = adapter.criterion.score(adapter.score_context())["back/kernel"]
    # [height, width, c_out, c_in]
    np.testing.assert_allclose(scores, np.abs(adapter.weights()["back/kernel"]) * sizes, rtol=1e-5)
    adapter = pruned(compiled(et.wrap_for_pruning(plain, prunable=["groups"], **options)))
    adapter.score_data = lambda: rows
    with pytest.raises(et.InputError, match="activations of 'groups/kernel': expected a conv"):
        adapter.score_context().activations()


@pytest.fixture(scope="module")
def tied(keras):
    """Returns a function that makes a network in which a layer reads the kernel of another."""

    class Back(keras.layers.Layer):
        """Multiplies with the transposed kernel of another layer, of which it has another name."""

        def __init__(self, other, as_config, **options):
            super().__init__(**options)
            self.other, self.as_config = other, as_config
            self.norm = keras.layers.LayerNormalization()

        def call(self, inputs):
            ops = getattr(keras, "ops", tf)
            return self.norm(ops.matmul(inputs, ops.transpose(self.other.kernel)))

        def get_config(self):
            other = self.other
            if self.as_config:
                other = keras.layers.serialize(other)
            return {**super().get_config(), "other": other, "as_config": self.as_config}

        @classmethod
        def from_config(cls, config):
            other = config.pop("other")
            other = keras.layers.deserialize(other) if isinstance(other, dict) else other
            return cls(other, **config)

    def make(as_config):
        keras.utils.set_random_seed(1)
        layers = keras.layers
        inputs = layers.Input((8,))
        x = layers.Dense(8, "relu", name="first")(inputs)
        there = layers.Dense(16, name="there")
        x = Back(there, as_config, name="back")(there(x))
        return keras.Model(inputs, layers.Dense(3, name="last")(x))

    return make


@pytest.fixture(scope="module")
def rows():
    """48 examples of 8 numbers in 3 classes that can be learned, in batches of 8."""
    random = np.random.RandomState(0)
    labels = random.randint(0, 3, 48).astype(np.int32)
    numbers = random.normal(size=(48, 8)).astype(np.float32) + labels[:, None]
    return tf.data.Dataset.from_tensor_slices((numbers, labels)).batch(8)


def _small(keras, **options):
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8,)),
            layers.Dense(16, "relu", name="a", **options),
            layers.Dense(16, "relu", name="b", **options),
            layers.Dense(3, name="c", **options),
        ]
    )


@pytest.mark.parametrize("as_config", [False, True])
def test_weights_that_layers_have_in_common_are_one_in_the_copy(
    keras, compiled, tied, rows, as_config
):
    plain = tied(as_config)
    before = [np.array(weight) for weight in plain.get_weights()]
    inputs = next(iter(rows))[0].numpy()
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=4, ramp_steps=6)
    model = compiled(et.wrap_for_pruning(plain, schedule, prunable=["there"]))
    assert len(model.trainable_weights) == len(plain.trainable_weights)
    np.testing.assert_allclose(model(inputs), plain(inputs), rtol=1e-5, atol=1e-6)
    model.fit(rows, epochs=3, verbose=0, callbacks=[et.MaskUpdate()])
    # Momentum that the other layer's gradients leave moves no zero.
    model.fit(rows, epochs=1, verbose=0)
    assert pruned(model).violations() == 0 and _zeros(model) == 96
    stripped = et.strip_pruning(model)
    assert stripped.get_layer("back").other is stripped.get_layer("there")
    for weight, value in zip(plain.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_channels_along_a_weight_that_another_layer_reads_stay(tied):
    # Those of `first` are axes of the kernel that `back` transposes.
    assert not et.channel_graph(tied(as_config=False)).removable


def test_weights_in_common_that_a_copy_would_lose_are_refused(keras):
    class Both(keras.layers.Layer):
        def __init__(self, others, **options):
            super().__init__(**options)
            self.others = list(others)

        def call(self, inputs):
            for each in self.others:
                inputs = each(inputs)
            return inputs

        def get_config(self):
            return {**super().get_config(), "others": [keras.layers.serialize(self.others[0])]}

        @classmethod
        def from_config(cls, config):
            others = [keras.layers.deserialize(each) for each in config.pop("others")]
            return cls(others, **config)

    inputs, dense = keras.Input((8,)), keras.layers.Dense(8, name="there")
    x = Both([dense], name="both")(dense(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    with pytest.raises(et.InputError, match="'both' of type Both .*weights of another layer"):
        et.wrap_for_pruning(model)


@pytest.fixture(scope="module")
def averages(keras):
    """A callback with the usual average of all weights: in at the end of an epoch, out again."""

    class Averages(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.shadow, self.live = self._weights(), None

        def _weights(self):
            return [np.array(weight) for weight in self.model.get_weights()]

        def on_epoch_begin(self, epoch, logs=None):
            if self.live is not None:
                self.model.set_weights(self.live)

        def on_train_batch_end(self, batch, logs=None):
            pairs = zip(self.shadow, self._weights(), strict=True)
            self.shadow = [0.9 * old + 0.1 * new for old, new in pairs]

        def on_epoch_end(self, epoch, logs=None):
            self.live = self._weights()
            self.model.set_weights(self.shadow)

    return Averages


@pytest.mark.parametrize("place", ["before", "after"])
def test_averages_that_a_callback_writes_between_epochs_are_pruned(
    keras, compiled, rows, averages, place, caplog
):
    model = compiled(et.wrap_for_pruning(_small(keras), et.EarlyTicketPolynomialDecay(0.75)))
    ours = et.EarlyTicket(rows, rows, detector=FixedEpoch(2), verbose=0)
    callbacks = [averages(), ours] if place == "before" else [ours, averages()]
    model.fit(rows, epochs=6, verbose=0, callbacks=callbacks)
    assert pruned(model).violations() == 0 and _zeros(model) == 288
    assert ours.start_epoch == 2 and pruned(model).sparsity_schedule().begin_step == 12
    said = [r.getMessage() for r in caplog.records if r.name.startswith("tf_earlyticket")]
    assert all(each.startswith("Another callback wrote") for each in said) and said


@pytest.mark.parametrize("place", ["before", "after"])
def test_weights_of_an_earlier_epoch_do_not_bring_its_masks_back(
    keras, compiled, rows, place, tmp_path
):
    file = str(tmp_path / "best.weights.h5")

    class Back(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.save_weights(file)
            if epoch == 4:
                self.model.load_weights(file)

    model = compiled(et.wrap_for_pruning(_small(keras), et.EarlyTicketPolynomialDecay(0.75)))
    ours = et.EarlyTicket(rows, rows, detector=FixedEpoch(2), ramp_epochs=1, verbose=0)
    callbacks = [Back(), ours] if place == "before" else [ours, Back()]
    model.fit(rows, epochs=6, verbose=0, callbacks=callbacks)
    assert pruned(model).violations() == 0 and _zeros(model) == 288


# Keras 3 has one form of weights.
FORMS = [".weights.h5", ".h5", ".h5 by name", ".checkpoint"]
if os.environ.get("FRAMEWORK", "tf_keras") != "tf_keras":
    del FORMS[1:]


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_a_plain_model_go_into_a_wrapped_one(keras, form, tmp_path):
    ending, _, by_name = form.partition(" ")
    plain, file = _small(keras), str(tmp_path / f"dense{ending}")
    plain.set_weights([np.full(weight.shape, 0.5) for weight in plain.get_weights()])
    plain.save_weights(file)
    model = et.wrap_for_pruning(_small(keras))
    zeros = _half(model)
    model.load_weights(file, **({"by_name": True} if by_name else {}))
    assert _zeros(model) == zeros
    for name, mask in pruned(model).masks().items():
        np.testing.assert_array_equal(pruned(model).weights()[name], np.where(mask, 0.5, 0))
    # Those of a wrapped one, with masks.
    model.save_weights(file)
    again = et.wrap_for_pruning(_small(keras))
    again.load_weights(file)
    assert _zeros(again) == zeros and pruned(again).violations() == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_networks_of_16_bits_are_exported_in_float32(keras, rows, dtype, tmp_path):
    model = et.wrap_for_pruning(_small(keras, dtype=dtype))
    zeros = _half(model)
    plain = backend_of(model).exportable(model)
    inputs = next(iter(rows))[0].numpy()
    found, wanted = np.asarray(plain(inputs)), np.asarray(model(inputs))
    assert found.dtype == np.float32 != wanted.dtype
    np.testing.assert_allclose(found, wanted.astype(np.float32), rtol=0.1, atol=0.05)
    if hasattr(keras, "ops") and keras.backend.backend() == "jax":
        return
    et.export_ticket(model, tmp_path / "ticket")
    again = et.wrap_for_pruning(_small(keras, dtype=dtype))
    et.rewind(again, et.Ticket.load(tmp_path / "ticket"))
    assert _zeros(again) == zeros


@pytest.mark.parametrize("change", ["LoRA", "quantised"])
def test_layers_that_change_after_wrapping_are_told(keras, compiled, change, tmp_path):
    if not hasattr(keras, "ops"):
        pytest.skip("tf_keras has neither")
    model = compiled(et.wrap_for_pruning(_small(keras)))
    _half(model)
    if change == "LoRA":
        model.get_layer("a").enable_lora(2)
    else:
        model.quantize("int8")
    words = f"'a' has changed since wrap_for_pruning .*{change}.*strip_pruning"
    with pytest.raises(et.InputError, match=words):
        et.export_ticket(model, tmp_path / "ticket")
    with pytest.raises(et.InputError, match=words):
        compiled(model)


def test_a_student_in_a_model_of_its_own_is_pruned_or_said_where(keras, compiled, rows):
    class Distiller(keras.Model):
        def __init__(self, student, teacher):
            super().__init__()
            self.student, self.teacher = student, teacher
            self.teacher.trainable = False

        def call(self, inputs, training=None):
            return self.student(inputs, training=training)

    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=0, ramp_steps=6)
    student = et.wrap_for_pruning(_small(keras), schedule)
    model = Distiller(student, _small(keras))
    model(next(iter(rows))[0].numpy())
    compiled(model)
    if not hasattr(keras, "ops"):
        # Its wrappers are found wherever they are.
        model.fit(rows, epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
        assert _zeros(student) == 288
        return
    with pytest.raises(et.InputError, match="only its part .* is. Give wrap_for_pruning .*copy=F"):
        model.fit(rows, epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    model = Distiller(_small(keras), _small(keras))
    model(next(iter(rows))[0].numpy())
    model = compiled(et.wrap_for_pruning(model, schedule, copy=False))
    model.fit(rows, epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    kernels = [np.asarray(layer.kernel) for layer in model.student.layers]
    assert sum((kernel == 0).sum() for kernel in kernels) == _zeros(model) == 324


def test_a_schedule_that_another_callback_of_ours_has_begun_is_no_reason_to_warn(
    keras, compiled, rows, caplog
):
    for place in (0, 1):
        model = compiled(et.wrap_for_pruning(_small(keras), et.EarlyTicketPolynomialDecay(0.75)))
        callbacks = [et.EarlyTicket(rows, rows, detector=FixedEpoch(2), verbose=0)]
        callbacks.insert(place, et.MaskUpdate())
        model.fit(rows, epochs=6, verbose=0, callbacks=callbacks)
        assert _zeros(model) == 288
    assert not [r for r in caplog.records if r.name.startswith("tf_earlyticket")]


def test_gradients_that_are_accumulated_do_not_shift_the_schedule(keras, compiled, rows):
    if not hasattr(keras, "ops"):
        pytest.skip("tf_keras accumulates none")
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=4)
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=6, ramp_steps=9)
    model = compiled(et.wrap_for_pruning(_small(keras), schedule), optimizer)
    update = et.MaskUpdate()
    model.fit(rows, epochs=3, verbose=0, callbacks=[update])
    assert update.updates[0][0] == 7 and update.updates[-1][1] == 0.75 and _zeros(model) == 288


def test_a_network_called_twice_is_pruned_and_counted_once(keras, compiled, rows):
    layers = keras.layers
    keras.utils.set_random_seed(1)
    base = keras.Sequential([layers.Input((4,)), layers.Dense(16), layers.Dense(16)], name="base")
    one, other = layers.Input((4,)), layers.Input((4,))
    x = layers.Concatenate()([base(one), base(other)])
    plain = keras.Model([one, other], layers.Dense(3, name="last")(x))
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=2, ramp_steps=4)
    model = compiled(et.wrap_for_pruning(plain, schedule))
    halves = rows.map(lambda x, y: ((x[:, :4], x[:, 4:]), y))
    model.fit(halves, epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    masks = pruned(model).masks()
    assert len(masks) == 2 and _zeros(model) == 240
    # Of 320 weights of the two, and 96 of the last.
    assert pruned(model).network_sparsity(masks) == pytest.approx(240 / 416)
    assert len(et.strip_pruning(model).weights) == len(plain.weights)


def test_steps_that_a_loss_scale_skips_do_not_shift_the_end(keras, compiled, rows, caplog):
    home = getattr(keras.mixed_precision, "LossScaleOptimizer", None)
    scaled = home or keras.optimizers.LossScaleOptimizer
    optimizer = scaled(keras.optimizers.SGD(0.05), initial_scale=2.0**127)
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=0, ramp_steps=18)
    model = compiled(et.wrap_for_pruning(_small(keras), schedule), optimizer, loss_weights=[100])
    update = et.MaskUpdate()
    model.fit(rows, epochs=3, verbose=0, callbacks=[update])
    # Those of Keras 3 do not count what they skip.
    assert pruned(model).step() < 18 or not hasattr(keras, "ops")
    assert update.updates[-1][1] == 0.75 and _zeros(model) == 288
    assert not [r for r in caplog.records if r.name.startswith("tf_earlyticket")]


def test_zeros_hold_under_an_optimizer_and_in_a_loop_of_ones_own(keras, rows):
    if hasattr(keras, "ops") and keras.backend.backend() == "jax":
        # Its loops are functions of all weights.
        return
    model, optimizer = et.wrap_for_pruning(_small(keras)), keras.optimizers.SGD(0.05, momentum=0.9)
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def train():
        for inputs, labels in rows:
            with tf.GradientTape() as tape:
                loss = entropy(labels, model(inputs, training=True))
            weights = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))

    # Momentum that was there before the masks is not theirs to zero.
    train()
    zeros = _half(model)
    train()
    assert pruned(model).violations() == 0 and _zeros(model) == zeros
