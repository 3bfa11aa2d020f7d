"""What a sparsity is of the whole network, and what layers cost: the same under every Keras."""

import numpy as np
import pytest
import tensorflow as tf
from networks import half

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.commands.inspect import inspect


def _bert(keras):
    """A small text network whose embeddings stay dense."""
    layers = keras.layers
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8, name="words")(words)
    for number in range(2):
        attention = layers.MultiHeadAttention(2, 4, name=f"attention_{number}")
        x = layers.LayerNormalization()(layers.Add()([x, attention(x, x)]))
        inner = layers.Dense(16, activation="relu", name=f"inner_{number}")(x)
        x = layers.Add()([x, layers.Dense(8, name=f"outer_{number}")(inner)])
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(words, layers.Dense(3, name="classifier")(x))


def test_a_sparsity_is_told_of_the_whole_network_too(keras, compiled, tmp_path):
    plain = _bert(keras)
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=1, ramp_steps=2, frequency=1)
    model = compiled(et.wrap_for_pruning(plain, schedule))
    words = np.random.RandomState(0).randint(0, 20, (48, 6))
    fitted = model.fit(
        words, np.arange(48) % 3, epochs=2, batch_size=8, verbose=0, callbacks=[et.MaskUpdate()]
    )
    # Attention and two dense layers of two blocks: the embedding and the classifier are not.
    prunable = 2 * (8 * 16 + 16 * 8 + 4 * 8 * 8)
    kernels = prunable + 20 * 8 + 8 * 3
    assert {name.split("/")[0] for name in pruned(model).masks()} == {
        f"{layer}_{block}" for layer in ("attention", "inner", "outer") for block in (0, 1)
    }
    assert fitted.history["sparsity"][-1] == 0.75
    share = 0.75 * prunable / kernels
    assert fitted.history["network_sparsity"][-1] == pytest.approx(share, abs=1e-12)
    ticket = et.export_ticket(model, tmp_path / "ticket")
    found = inspect(tmp_path / "ticket")
    assert ticket.network_sparsity == found["totals"]["network_sparsity"] == share < 0.7
    # Nothing is left out: every kernel is pruned or listed as dense.
    sizes = {n: np.prod(w.shape) for n, w in backend_of(plain).named_weights(plain).items()}
    dense = found["about"]["left_dense"]
    assert sum(sizes[name] for name in dense) + prunable == kernels
    costs = {cost["name"]: cost for cost in found["about"]["layers"]}
    # Six words through each layer.
    assert costs["inner_0"]["macs"]["dense"] == 6 * 8 * 16
    kept = int(ticket.masks["inner_0/kernel"].sum())
    assert costs["inner_0"]["macs"]["masked"] == 6 * kept
    assert costs["inner_0"]["parameters"]["masked"] == kept + 16
    # Four projections of six words, and what words see of each other: two heads of four.
    attention = [cost["macs"]["dense"] for name, cost in costs.items() if "attention" in name]
    assert sum(attention) == 2 * (4 * 6 * 8 * 8 + 6 * 6 * 2 * (4 + 4))
    assert sum(cost["parameters"]["dense"] for cost in costs.values()) == plain.count_params()


def test_a_warning_tells_of_the_whole_network_too(network, compiled, data, caplog):
    model = compiled(et.wrap_for_pruning(network()))
    early_ticket = et.EarlyTicket(*data, verbose=0)
    model.fit(data[0], epochs=6, verbose=0, callbacks=[early_ticket])
    assert not caplog.records
    kernels = 9 * 4 + 9 * 4 * 8 + 9 * 8 * 8 + 8 * 3
    pruned_weights = round(0.8 * (9 * 4 * 8 + 9 * 8 * 8))
    share = pruned(model).network_sparsity(pruned(model).masks())
    assert share == pytest.approx(pruned_weights / kernels, abs=1 / kernels)
    early_ticket.mask_update.restore_masks()
    assert not caplog.records
    # As a callback does that loads weights of an earlier time.
    pruned(model)._write_masks({n: m | True for n, m in pruned(model).masks().items()})
    early_ticket.mask_update.restore_masks()
    assert f"80.0 % ({100 * share:.1f} % of all kernels), without retraining" in caplog.text


def test_layers_cost_what_is_counted_by_hand_dense_masked_and_removed(keras):
    framework = keras.__name__.partition(".")[0]
    plain = et.models.resnet20(framework=framework)
    adapter = pruned(et.wrap_for_pruning(plain, structure="channels"))
    graph = et.channel_graph(plain)
    kept = half(graph)
    masks = {name: graph.mask(name, kept) for name in adapter.masks()}
    costs = {cost.name: cost for cost in adapter.layer_costs(masks)}
    # As He et al. (2016), section 4.2; shortcuts have no parameters.
    stages = [(32, 16, 16), (16, 16, 32), (8, 32, 64)]
    by_hand = {"stem_conv": 32 * 32 * 9 * 3 * 16, "classifier": 64 * 10}
    for stage, (side, before, width) in enumerate(stages, start=1):
        for block in (1, 2, 3):
            read = before if block == 1 else width
            by_hand[f"stage{stage}_block{block}_conv1"] = side * side * 9 * read * width
            by_hand[f"stage{stage}_block{block}_conv2"] = side * side * 9 * width * width
    assert {n: c.macs.dense for n, c in costs.items() if c.macs.dense} == by_hand
    assert sum(by_hand.values()) == 40_551_040
    # Masks of whole channels leave what is left of the kernels when they are taken out ...
    assert all(cost.macs.masked == cost.macs.removed for cost in costs.values())
    adapter.set_masks(masks)
    small = et.remove_channels(adapter.model)
    removed = {cost.layer: cost for cost in et.channel_graph(small).costs()}
    assert removed.keys() == costs.keys()
    for name, cost in costs.items():
        assert removed[name].multiply_adds == cost.macs.removed <= cost.macs.dense
        assert removed[name].parameters == cost.parameters.removed <= cost.parameters.masked
    assert sum(cost.parameters.removed for cost in costs.values()) == small.count_params()
    # ... of BatchNorm they leave everything.
    norm = costs["stage1_block1_bn1"].parameters
    assert (norm.dense, norm.masked, norm.removed) == (64, 64, 32)


def test_multiply_adds_are_those_that_the_runtime_counts(keras):
    framework = keras.__name__.partition(".")[0]
    if keras.backend.backend() == "jax":
        import jax

        # It does not count what is multiplied with the zeros around a picture, and counts sums.
        layers = keras.layers
        plain = keras.Sequential(
            [
                layers.Input((12, 12, 3)),
                layers.Conv2D(16, 3, use_bias=False),
                layers.Conv2D(8, 3, strides=2, use_bias=False),
                layers.Flatten(),
                layers.Dense(5, use_bias=False),
            ]
        )
        weights = [w.value for w in plain.weights]
        compiled = jax.jit(lambda w, x: plain.stateless_call(w, [], x)[0]).lower(
            weights, np.zeros((1, 12, 12, 3), np.float32)
        )
        counted = compiled.cost_analysis()["flops"]
        operations = {"all": counted}
    else:
        plain = et.models.resnet20(framework=framework)
        function = tf.function(lambda x: plain(x, training=False))
        graph = function.get_concrete_function(tf.TensorSpec((1, 32, 32, 3))).graph
        profiler = tf.compat.v1.profiler
        options = profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
        found = profiler.profile(graph, cmd="op", options=options).children
        operations = {}
        while found:
            operations[found[0].name] = found[0].float_ops
            found = found[0].children
    counted = sum(operations.get(name, 0) for name in ("Conv2D", "MatMul", "all"))
    assert et.channel_graph(plain).multiply_adds() == counted / 2, operations


def test_what_has_no_graph_or_no_known_shape_is_not_counted_but_has_parameters(keras):
    layers = keras.layers
    if keras.__name__ == "keras":

        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.a, self.b = layers.Dense(4, name="a"), layers.Dense(2, name="b")

            def call(self, inputs):
                return self.b(self.a(inputs))

        model = Own()
        model(np.zeros((1, 3), np.float32))
    else:
        # How many axes it returns is not known to tf_keras, and no subclassed model is served.
        inputs = keras.Input((3,))
        same = layers.Lambda(lambda x: tf.py_function(lambda y: y, [x], tf.float32))
        x = same(layers.Dense(4, name="a")(inputs))
        x = layers.Lambda(lambda x: tf.ensure_shape(x, (None, 4)))(x)
        model = keras.Model(inputs, layers.Dense(2, name="b")(x))
    copy = keras.__name__ != "keras"
    adapter = pruned(et.wrap_for_pruning(model, prunable=["a"], copy=copy))
    first, second = adapter.layer_costs({"a/kernel": np.eye(3, 4, dtype=bool)})
    assert (first.parameters.dense, first.parameters.masked) == (12 + 4, 3 + 4)
    assert (second.parameters.dense, second.parameters.removed) == (8 + 2, 8 + 2)
    assert (first.macs.dense, second.macs.dense) == ((12, 8) if copy else (None, None))


def _recurrent(keras):
    layers = keras.layers
    x = i = keras.Input((5, 6))
    x = layers.LSTM(4, return_sequences=True, name="lstm")(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")(x)
    cells = [layers.SimpleRNNCell(7), layers.GRUCell(2, reset_after=False)]
    x = layers.RNN(cells, return_sequences=True, name="stack")(x)
    x = layers.TimeDistributed(layers.Dense(8), name="each")(x)
    x, _ = layers.SimpleRNN(9, return_state=True, name="simple")(x)
    return keras.Model(i, layers.Dense(3, name="last")(x)), {
        "lstm": 5 * 4 * (6 + 4) * 4,
        "both": 2 * 5 * 3 * (4 + 3) * 3,
        "stack": 5 * ((6 + 7) * 7 + 3 * (7 + 2) * 2),
        "each": 5 * 2 * 8,
        "simple": 5 * (8 + 9) * 9,
        "last": 9 * 3,
    }


def _of_attention(keras):
    layers = keras.layers
    inputs = query, value, key = [keras.Input(shape) for shape in ((5, 6), (7, 6), (7, 9))]
    x = layers.MultiHeadAttention(2, 4, value_dim=3, name="heads")(query, value, key=key)
    by_hand = {
        # The query, key, value and output, and queries with keys, weights with values.
        "heads": 5 * 6 * 8 + 7 * 9 * 8 + 7 * 6 * 6 + 5 * 6 * 6 + 5 * 7 * 2 * (4 + 3),
        "itself": 4 * 5 * 6 * 8 + 5 * 5 * 2 * (4 + 4),
        # Each of 3 x 4 places sees the 4 of its row.
        "rows": 4 * 12 * 6 * 4 + 12 * 4 * 1 * (4 + 4),
        "last": 3 * 4 * 6 * 2,
    }
    x = layers.MultiHeadAttention(2, 4, name="itself")(x, x)
    if hasattr(layers, "GroupQueryAttention"):
        x = layers.GroupQueryAttention(4, 6, 2, name="groups")(x, value, key=key)
        by_hand["groups"] = 5 * 6 * 24 + 7 * 9 * 8 + 7 * 6 * 8 + 5 * 24 * 6 + 5 * 7 * 6 * (4 + 4)
    x = layers.Reshape((3, 4, 6))(layers.ZeroPadding1D((3, 4))(x))
    x = layers.MultiHeadAttention(1, 4, attention_axes=(2,), name="rows")(x, x)
    return keras.Model(inputs, layers.Dense(2, name="last")(x)), by_hand


def _einsum(keras):
    layers = keras.layers
    x = i = keras.Input((5, 6))
    x = layers.EinsumDense("abc,cde->abde", (5, 2, 4), bias_axes="de", name="heads")(x)
    y = layers.EinsumDense("...x,xy->...y", 3, name="any")(x)
    x = layers.EinsumDense("abde,def->abf", (5, 8), name="joined")(x)
    x = layers.EinsumDense("abc,bd->adc", (7, 8), name="steps")(x)
    x = layers.EinsumDense("abc,bcd->ad", 2, name="last")(x)
    return keras.Model(i, [x, y]), {
        "heads": 5 * 6 * 2 * 4,
        "any": 5 * 2 * 4 * 3,
        "joined": 5 * 2 * 4 * 8,
        "steps": 8 * 5 * 7,
        "last": 7 * 8 * 2,
    }


def _films(keras):
    layers = keras.layers
    x = i = keras.Input((5, 8, 8, 2))
    still = keras.Input((6, 6, 4))
    inner = layers.Conv2D(3, 3, name="inner")(still)
    inner = keras.Model(still, layers.Conv2DTranspose(2, 2, strides=2)(inner))
    x = layers.TimeDistributed(layers.Conv2D(4, 3), name="pictures")(x)
    x = layers.TimeDistributed(inner, name="network")(x)
    x = layers.ConvLSTM2D(3, 3, return_sequences=True, name="films")(x)
    x = layers.ConvLSTM2D(2, 3, padding="same", name="last_film")(x)
    return keras.Model(i, layers.Dense(2, name="last")(layers.Flatten()(x))), {
        "pictures": 5 * 6 * 6 * 9 * 2 * 4,
        "network": 5 * 4 * 4 * (9 * 4 * 3 + 4 * 3 * 2),
        "films": 5 * 6 * 6 * 4 * 9 * (2 + 3) * 3,
        "last_film": 5 * 6 * 6 * 4 * 9 * (3 + 2) * 2,
        "last": 6 * 6 * 2 * 2,
    }


def _by_layer(costs):
    """Returns multiply-adds by outermost layer; None where a part is not counted."""
    found = {}
    for name, count in costs:
        outer = name.split("/")[0]
        former = found.get(outer, 0)
        found[outer] = None if None in (former, count) else former + count
    return {name: count for name, count in found.items() if count != 0}


@pytest.mark.parametrize("make", [_recurrent, _of_attention, _einsum, _films])
def test_layers_of_steps_and_tokens_cost_what_is_counted_by_hand(keras, make):
    plain, by_hand = make(keras)
    graph = et.channel_graph(plain)
    assert _by_layer((cost.layer, cost.multiply_adds) for cost in graph.costs()) == by_hand
    assert graph.multiply_adds() == sum(by_hand.values())
    assert graph.uncounted == ()
    # The same in a model that is wrapped.
    adapter = pruned(et.wrap_for_pruning(plain))
    masks = {n: np.arange(m.size).reshape(m.shape) % 2 == 0 for n, m in adapter.masks().items()}
    costs = adapter.layer_costs(masks)
    assert _by_layer((cost.name, cost.macs.dense) for cost in costs) == by_hand
    assert sum(cost.macs.masked for cost in costs) == graph.multiply_adds(masks=masks)
    # No mask takes away what queries and keys make.
    nothing = {name: np.zeros(graph.shapes[name], bool) for name in graph.positions}
    assert graph.multiply_adds(masks=nothing) == sum(graph.products.values())


def test_an_unknown_length_is_said_and_not_guessed(keras):
    layers = keras.layers

    class Cell(layers.SimpleRNNCell):
        pass

    words = keras.Input((None,), dtype="int32")
    x = layers.Embedding(20, 8, name="words")(words)
    shared = layers.Dense(8, name="shared")
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.EinsumDense("abc,cd->abd", (None, 8), name="einsum")(shared(x))
    x = layers.TimeDistributed(layers.Dense(8), name="each")(x)
    x = shared(layers.LSTM(8, name="memory")(x))
    x = layers.RNN(Cell(4), name="own")(layers.Reshape((2, 4))(x))
    graph = et.channel_graph(keras.Model(words, layers.Dense(3, name="last")(x)))
    costs = _by_layer((cost.layer, cost.multiply_adds) for cost in graph.costs())
    names = ("attention", "shared", "einsum", "each", "memory", "own")
    assert costs == {**dict.fromkeys(names), "last": 4 * 3}
    assert graph.products == {"attention": None}
    # Looking words up multiplies nothing.
    assert "words/embeddings" not in graph.uncounted
    assert graph.multiply_adds() == 4 * 3
