"""How often a call of a layer multiplies with each of its weights, in one example.

What is not understood, or depends on a length that is not known, is None and never a guess.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tf_earlyticket.backends.graph_calls import (
    Call,
    Shape,
    calls_of,
    channels_last,
    graph_of,
    of_keras,
    product,
    shape_of,
)
from tf_earlyticket.backends.layers import plain_layer, variables_of

CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D")
TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
SEPARABLE = ("SeparableConv1D", "SeparableConv2D")
_ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN")
_RECURRENT_CONVOLUTIONS = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
_CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell")
# What is multiplied with: a weight, how often each of its numbers is used. Or the layer itself,
# how many products of two activations it makes.
Use = tuple[Any, int | None]


def uses_of_call(call: Call, layers: Mapping[int, str]) -> Iterator[Use]:
    """Yields what a call multiplies with, and how often in one example; None: not known.

    Args:
        call: In the graph of a model.
        layers: Names of layers by id, as for `Call`.
    """
    if call.of_keras and call.kind in _ATTENTION:
        yield from _attention(call)
        return
    ends = ([shape_of(each) for each in tensors] for tensors in (call.inputs, call.outputs))
    inputs, outputs = (shapes[0] if shapes else () for shapes in ends)
    yield from _uses(call.layer, layers, inputs, outputs)


def depthwise_kernel(layer):
    """Returns the kernel of a depthwise convolution."""
    # tf_keras and Keras 3 have different names for it.
    kernel = getattr(layer, "depthwise_kernel", None)
    return layer.kernel if kernel is None else kernel


def _uses(layer, layers: Mapping[int, str], inputs: Shape, outputs: Shape) -> Iterator[Use]:
    """Yields the uses of a layer or model, from the shapes of what it takes and gives."""
    kind = type(layer).__name__ if of_keras(layer) else ""
    if kind and graph_of(layer) is not None:
        for call in calls_of(graph_of(layer), layers):
            yield from uses_of_call(call, layers)
    elif kind in CONVOLUTIONS:
        yield layer.kernel, _places(layer, outputs)
    elif kind in TRANSPOSED:
        yield layer.kernel, _places(layer, inputs)
    elif kind in DEPTHWISE:
        yield depthwise_kernel(layer), _places(layer, outputs)
    elif kind in SEPARABLE:
        for kernel in (layer.depthwise_kernel, layer.pointwise_kernel):
            yield kernel, _places(layer, outputs)
    elif kind == "Dense":
        yield layer.kernel, product(outputs[1:-1])
    elif kind == "EinsumDense":
        yield from _einsum(layer, inputs)
    elif kind == "Embedding":
        # It looks rows up.
        yield layer.embeddings, 0
    elif kind == "PReLU":
        yield layer.alpha, 0
    elif kind in _RECURRENT:
        yield from _often(_cell(layer.cell), _steps(layer, inputs))
    elif kind in _RECURRENT_CONVOLUTIONS:
        each = _each_step(outputs) if layer.return_sequences else outputs
        times = product((_steps(layer, inputs), _places(layer, each)))
        yield from _often(_cell(layer.cell), times)
    elif kind == "Bidirectional":
        for way in (layer.forward_layer, layer.backward_layer):
            # What one way gives is not known, only what both give together.
            yield from _uses(plain_layer(way), layers, inputs, (None,) * len(outputs))
    elif kind == "TimeDistributed":
        inside = _uses(plain_layer(layer.layer), layers, _each_step(inputs), _each_step(outputs))
        yield from _often(inside, _steps(layer, inputs))
    else:
        yield from _unknown(layer)


def _unknown(layer) -> Iterator[Use]:
    for weight in variables_of(layer):
        if len(weight.shape) > 1:
            yield weight, None


def _often(uses: Iterator[Use], times: int | None) -> Iterator[Use]:
    for used, count in uses:
        yield used, product((count, times))


def _places(layer, shape: Shape) -> int | None:
    """Returns the number of vectors of channels in a tensor of a shape."""
    return product(shape[1:-1] if channels_last(layer) else shape[2:])


def _steps(layer, inputs: Shape) -> int | None:
    # Only recurrent layers of tf_keras can have it.
    return inputs[0 if getattr(layer, "time_major", False) else 1]


def _each_step(shape: Shape) -> Shape:
    return (*shape[:1], *shape[2:])


def _cell(cell) -> Iterator[Use]:
    """Yields the uses of a recurrent cell in one step, at one place."""
    kind = type(cell).__name__ if of_keras(cell) else ""
    if kind == "StackedRNNCells":
        for each in cell.cells:
            yield from _cell(each)
    elif kind in _CELLS:
        yield cell.kernel, 1
        yield cell.recurrent_kernel, 1
        # It may have two axes.
        yield cell.bias, 0
    else:
        yield from _unknown(cell)


def _einsum(layer, inputs: Shape) -> Iterator[Use]:
    """Yields the uses of an einsum layer: its kernel for each place that the kernel lacks."""
    given, kernel = layer.equation.replace(" ", "").partition("->")[0].split(",")
    labels = given.replace("...", "." * (len(inputs) - len(given) + len("...")))
    places = zip(labels[1:], inputs[1:], strict=False)
    yield layer.kernel, product([size for label, size in places if label not in kernel])
    yield layer.bias, 0


def _attention(call: Call) -> Iterator[Use]:
    """Yields the uses of the projections of attention, and its own products.

    These are of queries with keys and of weights with values. All are made, whatever masks hide.
    """
    layer = call.layer
    query, value = (shape_of(call.argument(*of)) for of in (("query", 0), ("value", 1)))
    key = call.argument("key", 2)
    key = value if key is None else shape_of(key)
    if call.kind == "MultiHeadAttention":
        heads, of_key, of_value = layer._num_heads, layer._key_dim, layer._value_dim
        axes = layer._attention_axes
    else:
        heads, of_key, of_value = layer.num_query_heads, layer.head_dim, layer.head_dim
        axes = (1,)
    projections = [
        (layer._query_dense, query),
        (layer._key_dense, key),
        (layer._value_dense, value),
        (getattr(layer, "_gate_dense", None), query),
        (layer._output_dense, (*query[:-1], heads, of_value)),
    ]
    for projection, shape in projections:
        if projection is not None:
            yield from _einsum(plain_layer(projection), shape)
    seen = product([value[axis] for axis in axes])
    yield layer, product((product(query[1:-1]), seen, heads * (of_key + of_value)))
