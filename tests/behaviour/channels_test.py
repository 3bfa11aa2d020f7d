"""Channels of networks of every Keras: found, taken out with the same outputs, or kept and why."""

import contextlib
import os

import numpy as np
import pytest
from networks import SIDES, every_kind, half, make, randomised

import tf_earlyticket as et
from tf_earlyticket.backends import backend_named, backend_of, pruned
from tf_earlyticket.deploy.remove_channels import without_channels
from tf_earlyticket.pruning.channels import READS

FRAMEWORK = os.environ.get("FRAMEWORK", "tf_keras")


@pytest.fixture
def float64(keras):
    """Networks compute in float64, also those of JAX."""
    before, framework = keras.backend.floatx(), keras.__name__.partition(".")[0]
    # Entered first: without a policy of its own, Keras 3 takes the present type for one.
    with backend_named(framework).dtype_policy("float64"):
        keras.backend.set_floatx("float64")
        with _jax_in_64_bits() if FRAMEWORK == "keras_jax" else contextlib.nullcontext():
            yield
        keras.backend.set_floatx(before)


@contextlib.contextmanager
def _jax_in_64_bits():
    import jax

    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def _unread(model, graph, kept):
    """Zeroes the weights that read channels which are not kept; returns those weights' names."""
    variables = backend_of(model).named_weights(model)
    for use in graph.uses:
        if use.role == READS:
            array = variables[use.weight].numpy()
            shape = [1] * array.ndim
            shape[use.axis] = -1
            variables[use.weight].assign(array * kept[use.channels].reshape(shape))
    return variables


def _examples(model, dtype, batch=2):
    random = np.random.default_rng(3)
    inputs = [random.normal(size=(batch, *i.shape[1:])).astype(dtype) for i in model.inputs]
    return inputs if len(inputs) > 1 else inputs[0]


def _outputs(model, inputs):
    if FRAMEWORK == "keras_jax":
        # Each operation by itself is compiled for seconds.
        return model.predict_on_batch(inputs)
    return np.asarray(model(inputs, training=False))


def _largest_difference(model, small, inputs):
    outputs = _outputs(model, inputs)
    assert np.isfinite(outputs).all() and np.std(outputs) > 0
    return np.abs(outputs - _outputs(small, inputs)).max() / np.abs(outputs).max()


def _halved(model):
    """Takes half of all channels out; returns the graph, the choice and the small model."""
    graph = et.channel_graph(randomised(model))
    kept = half(graph)
    _unread(model, graph, kept)
    small = et.remove_channels(model)
    assert small.count_params() == graph.parameters(kept) < model.count_params()
    small_graph = et.channel_graph(small)
    assert small_graph.multiply_adds() == graph.multiply_adds(kept)
    return graph, kept, small


def test_half_of_all_channels_of_every_kind_of_layer(keras, float64):
    model = every_kind(keras)
    graph, kept, small = _halved(model)
    inputs = _examples(model, "float64")
    assert _largest_difference(model, small, inputs) < 1e-12
    pinned = {family.pinned for family in graph.pinned}
    assert pinned == {
        "an input of the model",
        "an output of the model",
        "nested: an input of a model within the model",
    }
    assert graph.uncounted == ()


def test_channels_that_are_read_again_change_the_outputs(keras, float64):
    model = every_kind(keras)
    graph, kept, small = _halved(model)
    inputs = _examples(model, "float64")
    for use in graph.uses:
        if use.role != READS or kept[use.channels].all():
            continue
        variable = backend_of(model).named_weights(model)[use.weight]
        before = variable.numpy()
        revived = np.moveaxis(before.copy(), use.axis, -1)
        revived[..., ~kept[use.channels]] = 1.0
        variable.assign(np.moveaxis(revived, -1, use.axis))
        assert _largest_difference(model, small, inputs) > 1e-6, use.weight
        variable.assign(before)
    assert _largest_difference(model, small, inputs) < 1e-12


def test_half_of_a_residual_network(keras, tmp_path):
    framework = keras.__name__.partition(".")[0]
    model = et.models.resnet8((16, 16, 3), framework=framework)
    _, _, small = _halved(model)
    inputs = _examples(model, "float32")
    assert _largest_difference(model, small, inputs) < 1e-5
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras", compile=False)
    np.testing.assert_array_equal(_outputs(small, inputs), _outputs(loaded, inputs))


def test_what_is_not_understood_keeps_its_channels(keras):
    layers = keras.layers

    class Own(layers.Layer):
        def call(self, inputs):
            return inputs[..., ::-1]

    def pinned(middle):
        inputs = keras.Input((6, 4))
        x = layers.Dense(8, name="before")(inputs)
        model = keras.Model(inputs, layers.Dense(2, name="after")(middle(x)))
        found = {f.name: f.pinned for f in et.channel_graph(model).pinned if f.size == 8}
        return found.get("before/kernel")

    assert pinned(layers.ReLU()) is None
    assert pinned(layers.Activation("relu")) is None
    for middle, reason in {
        layers.Softmax(name="s"): "softmax over channels",
        layers.Activation("softmax", name="s"): "activation softmax over channels",
        layers.LayerNormalization(name="s"): "normalises over channels",
        layers.BatchNormalization(axis=1, name="s"): "another axis",
        layers.LSTM(8, name="s"): "a recurrent layer",
        layers.Conv1D(8, 1, groups=2, name="s"): "a convolution of groups",
        layers.Reshape((12, 4), name="s"): "divides channels",
        layers.Permute((2, 1), name="s"): "not understood",
        layers.Masking(name="s"): "not understood",
        layers.Lambda(lambda x: x[..., ::-1], name="s"): "not understood",
        Own(name="s"): "not understood",
    }.items():
        assert reason in pinned(middle), middle
        assert pinned(middle).startswith("s"), middle


def test_an_operation_with_a_number_for_each_channel_keeps_them(keras):
    def pinned(operation):
        inputs = keras.Input((6, 4))
        x = keras.layers.Dense(8, name="before")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2)(operation(x)))
        found = {f.name: f.pinned for f in et.channel_graph(model).pinned if f.size == 8}
        return found.get("before/kernel", "")

    assert pinned(lambda x: 1 - x / 2 + x**2) == ""
    limits = np.arange(8, dtype=np.float32)
    if FRAMEWORK == "tf_keras":
        import tensorflow as tf

        assert "for each channel" in pinned(lambda x: tf.add(x, limits.tolist()))
        assert "for each channel" in pinned(lambda x: tf.clip_by_value(x, 0.0, limits.tolist()))
        assert pinned(lambda x: tf.clip_by_value(x, 0.0, clip_value_max=[2.0])) == ""
    else:
        assert "for each channel" in pinned(lambda x: keras.ops.clip(x, 0.0, limits))
        assert "for each channel" in pinned(lambda x: keras.ops.add(x, limits))
        assert pinned(lambda x: keras.ops.clip(x, 0.0, 2.0)) == ""


def test_numbers_without_an_axis_are_walked_over(keras):
    layers, inputs = keras.layers, keras.Input((6,))
    x = layers.Dense(8, name="middle")(inputs)
    if FRAMEWORK == "tf_keras":
        import tensorflow as tf

        size = tf.sqrt(tf.reduce_mean(tf.square(x)))
    else:
        size = keras.ops.sqrt(keras.ops.mean(keras.ops.square(x)))
    x = layers.Dense(1, name="last")(x / size)
    graph = et.channel_graph(keras.Model(inputs, layers.Reshape(())(x)))
    assert {family.name: bool(family.pinned) for family in graph.families}["middle/kernel"]


def test_a_layer_that_counts_channels_of_two_calls_counts_the_same(keras):
    layers, inputs = keras.layers, keras.Input((2, 2, 3))
    reshape = layers.Reshape((4, 8))
    ways = [reshape(layers.Conv2D(8, 1, name=name)(inputs)) for name in ("one", "other")]
    outputs = [layers.Dense(2, name=f"out_{n}")(way) for n, way in enumerate(ways)]
    model = keras.Model(inputs, layers.Add()(outputs))
    graph, _, small = _halved(model)
    (family,) = graph.removable
    assert sorted(family.makes) == ["one/kernel", "other/kernel"] and family.size == 8
    assert _largest_difference(model, small, _examples(model, "float32")) < 1e-5


def test_one_channel_that_gates_all_others_stays(keras):
    layers = keras.layers
    inputs = keras.Input((4, 4, 3))
    x = layers.Conv2D(8, 1, name="body")(inputs)
    gate = layers.Conv2D(1, 1, activation="sigmoid", name="gate")(x)
    x = layers.Multiply(name="gated")([x, gate])
    graph = et.channel_graph(keras.Model(inputs, layers.Conv2D(2, 1, name="out")(x)))
    assert {f.name: f.pinned for f in graph.pinned}["gate/kernel"].startswith("gated: broadcast")
    assert [f.name for f in graph.removable] == ["body/kernel"]


def test_multiply_adds_are_those_counted_by_hand(keras):
    framework = keras.__name__.partition(".")[0]
    graph = et.channel_graph(et.models.resnet20(framework=framework))
    # He et al. (2016), section 4.2; shortcuts have no parameters.
    stem = 32 * 32 * 9 * 3 * 16
    first = 6 * 32 * 32 * 9 * 16 * 16
    second = 16 * 16 * 9 * (16 * 32 + 5 * 32 * 32)
    third = 8 * 8 * 9 * (32 * 64 + 5 * 64 * 64)
    assert graph.multiply_adds() == stem + first + second + third + 64 * 10 == 40_551_040
    costs = {cost.layer: cost for cost in graph.costs()}
    assert costs["stem_conv"].multiply_adds == stem
    assert costs["stem_bn"] == type(costs["stem_bn"])("stem_bn", 0, 4 * 16)
    assert costs["classifier"].parameters == 64 * 10 + 10
    assert sum(cost.parameters for cost in costs.values()) == graph.parameters()


def test_masked_weights_do_not_count(keras, network):
    plain = network()
    graph = et.channel_graph(plain)
    mask = np.zeros((3, 3, 4, 8), bool)
    mask[1, 1, :2] = True
    costs = {cost.layer: cost for cost in graph.costs(masks={"middle/kernel": mask})}
    assert costs["middle"].multiply_adds == 3 * 3 * 16
    whole = {cost.layer: cost for cost in graph.costs()}
    assert whole["middle"].multiply_adds == 3 * 3 * 9 * 4 * 8
    assert graph.multiply_adds() - graph.multiply_adds(masks={"middle/kernel": mask}) == (
        whole["middle"].multiply_adds - 3 * 3 * 16
    )


def test_a_model_without_a_graph_is_refused(keras):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(et.InputError, match="no graph of layers"):
        et.channel_graph(Subclassed())


@pytest.mark.slow
@pytest.mark.parametrize("name", SIDES)
def test_half_of_all_channels_of_known_networks(keras, float64, name):
    model = make(keras, name)
    graph, kept, small = _halved(model)
    inputs = _examples(model, "float64")
    # Their own classifiers compute in float32.
    tolerance = 1e-6 if name.startswith("resnet") else 1e-12
    assert _largest_difference(model, small, inputs) < tolerance
    if name.startswith("resnet"):
        (read,) = (u for u in graph.uses if (u.weight, u.role) == ("classifier/kernel", READS))
        features, fewer = (
            _outputs(keras.Model(m.inputs, m.layers[-2].output), inputs) for m in (model, small)
        )
        features = features[:, kept[read.channels]]
        assert np.abs(features - fewer).max() < 1e-12 * features.max()
    # With what was zeroed, channels are read again: then it is another network.
    randomised(model)
    assert _largest_difference(model, small, inputs) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "MobileNetV2", "NASNetMobile"])
def test_float32_differs_by_its_rounding(keras, name):
    model = make(keras, name)
    _, _, small = _halved(model)
    assert _largest_difference(model, small, _examples(model, "float32")) < 1e-5


def _wrapped(network, compiled, structure, sparsity=0.4):
    schedule = et.EarlyTicketPolynomialDecay(sparsity, begin_step=2, ramp_steps=8, frequency=2)
    return compiled(et.wrap_for_pruning(network(), schedule, structure=structure))


@pytest.mark.parametrize("structure", ["channels(multiple=1)", "channels(of='macs', multiple=2)"])
def test_a_network_trains_to_whole_channels(network, compiled, data, structure):
    model = _wrapped(network, compiled, structure)
    update = et.MaskUpdate()
    model.fit(data[0], epochs=3, verbose=0, shuffle=False, callbacks=[update])
    adapter = pruned(model)
    structure = adapter.criterion.structure
    # The first convolution and the classifier take part.
    assert list(adapter.masks()) == [f"{n}/kernel" for n in ("stem", "middle", "last_conv")] + [
        "classifier/kernel"
    ]
    reached = adapter.criterion.sparsity(adapter.masks())
    assert 0.4 <= reached < 0.65 and adapter.violations() == 0
    kept = structure.whole(adapter.masks())
    small = et.remove_channels(model)
    graph = et.channel_graph(small)
    assert graph.multiply_adds() == structure.network.multiply_adds(kept)
    assert small.count_params() == structure.network.parameters(kept)
    assert _largest_difference(model, small, _examples(model, "float32")) < 1e-5


def test_what_writes_weights_after_training_is_found(network, compiled, data):
    model = _wrapped(network, compiled, "channels(multiple=1)")
    model.fit(data[0], epochs=3, verbose=0, shuffle=False, callbacks=[et.MaskUpdate()])
    variable = backend_of(model).named_weights(model)["classifier/kernel"]
    variable.assign(np.ones(variable.shape))
    with pytest.raises(et.InputError, match="of 'classifier/kernel' read channels"):
        et.remove_channels(model)


def test_a_probe_finds_the_start_of_channels(network, compiled, data):
    model = compiled(et.wrap_for_pruning(network(), structure=et.structures.Channels(multiple=2)))
    early = et.EarlyTicket(*data, detector=et.FixedEpoch(2), verbose=0)
    model.fit(data[0], epochs=8, verbose=0, callbacks=[early])
    assert pruned(model).record.start_epoch == 2
    assert pruned(model).criterion.sparsity(pruned(model).masks()) >= 0.8


def test_prunable_says_which_layers_take_part(network):
    model = et.wrap_for_pruning(
        network(),
        et.EarlyTicketPolynomialDecay(0.3),
        structure="channels(multiple=1)",
        prunable=["middle", "last_conv"],
    )
    graph = pruned(model).criterion.structure.network
    assert [family.name for family in graph.removable] == ["middle/kernel"]
    assert list(pruned(model).masks()) == ["middle/kernel", "last_conv/kernel"]


def test_a_goal_that_floors_forbid_is_refused(network):
    with pytest.raises(et.InputError, match=r"final_sparsity=0.95: expected at most 0\.\d+"):
        et.wrap_for_pruning(
            network(), et.EarlyTicketPolynomialDecay(0.95), structure="channels(multiple=4)"
        )


def test_bfloat16_needs_multiples_of_16(keras, network, bfloat16, caplog):
    model = et.wrap_for_pruning(
        _wide(keras), et.EarlyTicketPolynomialDecay(0.3), structure="channels"
    )
    assert pruned(model).criterion.structure.multiple == 16
    assert "multiples" not in caplog.text
    et.wrap_for_pruning(
        _wide(keras), et.EarlyTicketPolynomialDecay(0.3), structure="channels(multiple=8)"
    )
    assert "fast with multiples of 16 only" in caplog.text


def _wide(keras):
    layers = keras.layers
    return keras.Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(64, 3, name="one"), layers.Conv2D(9, 1, name="two")]
    )


def test_frozen_kernels_are_not_pruned_unless_chosen(network):
    frozen = network()
    frozen.get_layer("last_conv").trainable = False
    schedule = et.EarlyTicketPolynomialDecay(0.2)
    model = et.wrap_for_pruning(frozen, schedule, structure="channels(multiple=1)")
    assert list(pruned(model).masks()) == ["stem/kernel", "middle/kernel"]
    backend = backend_of(frozen)
    criterion = pruned(model).criterion
    reasons = {f.name: f.pinned for f in backend.channels_of(frozen, criterion).network.pinned}
    assert reasons["middle/kernel"] == "last_conv/kernel is frozen (trainable=False)"
    left = backend.left_dense(frozen, criterion=criterion)
    assert left["last_conv/kernel"] == "frozen (trainable=False)"
    chosen = ["stem", "middle", "last_conv", "classifier"]
    model = et.wrap_for_pruning(frozen, schedule, structure="channels(multiple=1)", prunable=chosen)
    assert "last_conv/kernel" in pruned(model).masks()


def test_multiply_adds_are_reached_where_weights_already_are(network, compiled, data):
    model = _wrapped(network, compiled, "channels(of='macs', multiple=1)")
    update, adapter = et.MaskUpdate(), pruned(model)
    update.set_model(model)
    update.set_params({"epochs": 1, "steps": 6})
    update.callbacks = []
    update.on_train_begin()
    structure = adapter.criterion.structure
    # A first mask that takes most weights away, and few multiply-adds.
    kept = structure.network.everything()
    for family in structure.network.removable:
        if family.name in ("middle/kernel", "last_conv/kernel"):
            kept[family.channels[2:]] = False
    adapter.set_masks(structure.masks(kept, adapter.masks()))
    reached = structure.sparsity(adapter.masks())
    assert et.mask_sparsity(adapter.masks()) > reached + 0.05
    update.prune_to(reached + 0.05, 1)
    assert structure.sparsity(adapter.masks()) >= reached + 0.05


OPTIMIZERS = {
    "SGD": {"momentum": 0.9},
    "Adam": {"learning_rate": 0.01},
    "Adagrad": {"learning_rate": 0.05},
    "Nadam": {"learning_rate": 0.01, "clipnorm": 1.0},
    "Adafactor": {"learning_rate": 0.01},
}


@pytest.fixture
def half_way(keras, network, compiled, examples):
    """Returns a function: of a trained model whose ramp is over, and makes small ones of it."""

    def make(optimizer):
        def compiled_anew(model):
            kind = getattr(keras.optimizers, optimizer)
            return compiled(model, kind(**OPTIMIZERS[optimizer]))

        # Dropout would draw other numbers for fewer channels.
        layers = [layer for layer in network().layers if "dropout" not in layer.name]
        plain = keras.Sequential([keras.layers.Input((8, 8, 1)), *layers])
        schedule = et.EarlyTicketPolynomialDecay(0.4, begin_step=2, ramp_steps=8, frequency=2)
        wrapped = et.wrap_for_pruning(plain, schedule, structure="channels(multiple=1)")
        model = compiled_anew(wrapped)
        _train(model, examples, 2)
        small, graph, kept = without_channels(model)

        def make_small():
            schedule = et.EarlyTicketPolynomialDecay(0.0)
            small_model = et.wrap_for_pruning(small, schedule, structure="channels(multiple=1)")
            return compiled_anew(small_model)

        return model, make_small, lambda name, array: graph.cut(name, array, kept)

    return make


def _train(model, examples, epochs):
    model.fit(
        *examples,
        epochs=epochs,
        batch_size=16,
        verbose=0,
        shuffle=False,
        callbacks=[et.MaskUpdate()],
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        name if name in ("SGD", "Adam") else pytest.param(name, marks=pytest.mark.slow)
        for name in OPTIMIZERS
        if name != "Adafactor"
    ],
)
def test_a_small_network_trains_on_as_the_masked_one_does(half_way, examples, optimizer):
    model, make_small, cut = half_way(optimizer)
    small, forgetful = make_small(), make_small()
    pruned(small).continue_from(pruned(model), cut)
    assert small.count_params() < model.count_params()
    assert pruned(small).step() == 12 and pruned(small).schedule.begin_step == 2
    for each in (model, small, forgetful):
        _train(each, examples, 1)
    assert pruned(small).step() == 18 and et.mask_sparsity(pruned(small).masks()) == 0
    wanted = {name: cut(name, w) for name, w in pruned(model).all_weights().items()}

    def difference(other):
        found = pruned(other).all_weights()
        return max(np.abs(found[name] - w).max() for name, w in wanted.items())

    assert difference(small) < 1e-4
    # The control begins its optimizer anew.
    assert difference(forgetful) > 1e-3


def test_an_optimizer_that_cannot_be_cut_is_refused(half_way):
    model, make_small, cut = half_way("Adafactor")
    with pytest.raises(et.InputError, match="expected an optimizer that keeps numbers of the w"):
        pruned(make_small()).continue_from(pruned(model), cut)


@pytest.fixture(scope="module")
def exported(network, compiled, make_data, tmp_path_factory):
    """A trained model of channels, its ticket, and where that is; tests leave it as it is."""
    model, path = _wrapped(network, compiled, "channels(multiple=1)"), tmp_path_factory.mktemp("x")
    pruned(model).record_rewind_weights(0, 0)
    train, _ = make_data()
    model.fit(train, epochs=3, verbose=0, shuffle=False, callbacks=[et.MaskUpdate()])
    return model, et.export_ticket(model, path / "ticket"), path / "ticket"


def _assert_same_outputs(one, other):
    one, other = np.asarray(one), np.asarray(other)
    assert np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


def test_the_exported_network_is_small(exported, examples):
    import tensorflow as tf

    model, ticket, directory = exported
    expected = model.predict(examples[0], verbose=0)
    small = et.remove_channels(model)
    whole = backend_of(model).strip(model)
    for name, plain in {"saved_model": small, "masked_model": whole}.items():
        loaded = tf.saved_model.load(directory / name)
        _assert_same_outputs(loaded.serve(examples[0]), expected)
        reader = tf.train.load_checkpoint(str(directory / name / "variables" / "variables"))
        shapes = set(map(tuple, reader.get_variable_to_shape_map().values()))
        expected_shapes = {tuple(w.shape) for w in backend_of(plain).named_weights(plain).values()}
        # Of random states Keras 3 saves more.
        assert {shape for shape in shapes if len(shape) == 4} == {
            shape for shape in expected_shapes if len(shape) == 4
        }
    assert small.count_params() < whole.count_params()
    loaded = et.Ticket.load(directory)
    assert loaded.channels.keys() == ticket.channels.keys() != set()
    for name, weight in ticket.small().final_weights.items():
        np.testing.assert_array_equal(loaded.small().final_weights[name], weight)
        assert weight.shape == tuple(backend_of(small).named_weights(small)[name].shape)
    families = {f["name"]: f for f in loaded.provenance["channels"]}
    assert families["middle/kernel"]["kept"] < families["middle/kernel"]["size"] == 8
    assert families["classifier/kernel"]["pinned"] == "an output of the model"


def test_a_ticket_fits_the_large_and_the_small_network(exported, network, examples, compiled):
    model, ticket, directory = exported
    expected = model.predict(examples[0], verbose=0)
    ticket = et.Ticket.load(directory)
    small = et.remove_channels(model)
    for plain in (network(seed=8), small):
        for variable in backend_of(plain).named_weights(plain).values():
            variable.assign(np.zeros(variable.shape))
        et.load_trained_weights(plain, ticket)
        _assert_same_outputs(plain.predict(examples[0], verbose=0), expected)
    schedule = et.EarlyTicketPolynomialDecay(0.2)
    outputs = []
    for plain, structure in ((network(8), "channels(multiple=1)"), (small, None)):
        again = compiled(et.wrap_for_pruning(plain, schedule, structure=structure))
        et.rewind(again, ticket)
        outputs.append(again.predict(examples[0], verbose=0))
        rewound = pruned(again).masks()
        assert (et.mask_sparsity(rewound) == ticket.sparsity) == (structure is not None)
    _assert_same_outputs(*outputs)
    assert np.abs(outputs[0] - expected).max() > 1e-3


def test_a_new_classifier_reads_the_channels_that_are_there(exported, keras, network, examples):
    _, ticket, _ = exported
    plain = network(seed=8)
    layers = keras.layers
    head = layers.Dense(5, name="classifier")
    other = keras.Sequential([layers.Input((8, 8, 1)), *plain.layers[:-1], head])
    wrapped = et.wrap_for_pruning(
        other, et.EarlyTicketPolynomialDecay(0.2), structure="channels(multiple=1)"
    )
    before = pruned(wrapped).all_weights()["classifier/kernel"]
    et.rewind(wrapped, ticket, new_layers=["classifier"])
    mask = pruned(wrapped).masks()["classifier/kernel"]
    np.testing.assert_array_equal(mask[:, 0], ticket.masks["classifier/kernel"][:, 0])
    kernel = pruned(wrapped).all_weights()["classifier/kernel"]
    np.testing.assert_array_equal(kernel, before * mask)
    small = et.remove_channels(wrapped)
    _assert_same_outputs(
        small.predict(examples[0], verbose=0), wrapped.predict(examples[0], verbose=0)
    )
    assert small.count_params() < other.count_params()


def test_an_exported_network_that_differs_is_refused(exported, monkeypatch, tmp_path):
    from tf_earlyticket.deploy import export
    from tf_earlyticket.errors import RunError

    model = exported[0]

    def wrong(model):
        small, graph, kept = without_channels(model)
        backend_of(small).named_weights(small)["classifier/bias"].assign([1.0, 2.0, 3.0])
        return small, graph, kept

    without_channels = export.without_channels
    monkeypatch.setattr(export, "without_channels", wrong)
    with pytest.raises(RunError, match="outputs differ"):
        et.export_ticket(model, tmp_path / "other")
    assert not (tmp_path / "other").exists()
