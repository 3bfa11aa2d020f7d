"""The channels of a functional or sequential model of either Keras, found by a walk through it.

Layers and operations are told by the names of their classes, so that no Keras is imported. What is
not understood keeps its channels, with the reason.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tf_earlyticket.backends.graph_calls import Call, calls_of, graph_of, shape_of, tensors
from tf_earlyticket.backends.layers import variables_of
from tf_earlyticket.backends.weight_uses import (
    CONVOLUTIONS,
    DEPTHWISE,
    SEPARABLE,
    TRANSPOSED,
    depthwise_kernel,
    uses_of_call,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.channels import (
    CARRIES,
    MAKES,
    READS,
    ChannelBuilder,
    ChannelGraph,
    Numbers,
)

_DIMENSIONS = ("1D", "2D", "3D")
# Layers that treat each channel by itself, all alike, and keep their number.
_EACH_ALIKE = (
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout"}
    | {"GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity"}
    | {"ReLU", "LeakyReLU", "ELU", "ThresholdedReLU"}
)
# The same, where channels are the last axis.
_SPATIAL = {
    f"{kind}{dimensions}"
    for dimensions in _DIMENSIONS
    for kind in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")
    + ("ZeroPadding", "Cropping", "UpSampling")
}
_MERGES = (
    {"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"}
    # Adds a part of a residual, in InceptionResNetV2.
    | {"CustomScaleLayer"}
)
_ACTIVATIONS = (
    {"linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "sigmoid", "tanh"}
    | {
        "silu",
        "swish",
        "hard_sigmoid",
        "hard_silu",
        "hard_swish",
        "hard_tanh",
        "mish",
        "exponential",
    }
    | {"softplus", "softsign", "log_sigmoid", "hard_shrink", "soft_shrink", "tanh_shrink"}
    | {"squareplus", "sparse_plus", "threshold"}
)
# Functions of single numbers, as tf_keras and Keras 3 call the operations of a graph.
_OPERATIONS = (
    {name.replace("_", "") for name in _ACTIVATIONS - {"linear"}}
    | {"add", "subtract", "sub", "multiply", "mul", "divide", "truediv", "truedivide", "divnonan"}
    | {"maximum", "minimum", "clip", "clipbyvalue", "square", "sqrt", "rsqrt", "exp", "log", "abs"}
    | {"absolute", "negative", "neg", "cast", "identity", "stopgradient", "pow", "power"}
)
_WHOLE = {
    "Softmax": "softmax over channels",
    "LayerNormalization": "normalises over channels",
    "GroupNormalization": "normalises over channels",
    "UnitNormalization": "normalises over channels",
    "GroupNorm": "normalises over channels",
    "LSTM": "a recurrent layer",
    "GRU": "a recurrent layer",
    "SimpleRNN": "a recurrent layer",
    "Bidirectional": "a recurrent layer",
    "MultiHeadAttention": "attention",
    "GroupedQueryAttention": "attention",
}


def channel_graph(model) -> ChannelGraph:
    """Returns the channels of a model: which weights make and read them, which must stay and why.

    Also what its layers cost in multiply-adds and parameters.

    Args:
        model: A built functional or sequential model of either Keras, plain or made by
            `wrap_for_pruning`; nested models and layers that are used twice are fine.

    Raises:
        InputError: If the model has no graph (a subclassed one), or is not built.

    Example:
        >>> for family in et.channel_graph(model).pinned:
        ...     print(family.name, family.size, family.pinned)
    """
    # Back ends look at channels themselves.
    from tf_earlyticket.backends import backend_of

    backend = backend_of(model)
    return walk(model, backend.named_layers(model), backend.named_weights(model))


def walk(
    model, layers: Mapping[str, Any], weights: Mapping[str, Any], *, needed: bool = True
) -> ChannelGraph:
    """Returns the graph of a model whose layers and weights are called by these names.

    Without `needed`, that of a model without layers' calls has no channels and counts no use.
    """
    if graph_of(model) is None and not needed:
        return _Walk(layers, weights).build()
    if graph_of(model) is None:
        raise InputError(
            f"model {model.name!r} of type {type(model).__name__} has no graph of layers: expected "
            "a functional or sequential model that is built."
        )
    found = _Walk(layers, weights)
    inputs = [found.inputs(tensor) for tensor in tensors(graph_of(model).inputs)]
    for channels in found.model(model, inputs):
        found.channels.pin(channels, "an output of the model")
    return found.build()


class _Walk:
    """One walk: channels of tensors and weights, and how often weights are used."""

    def __init__(self, layers: Mapping[str, Any], weights: Mapping[str, Any]):
        self.channels = ChannelBuilder()
        self._layers = {id(layer): name for name, layer in layers.items()}
        self._weights = {id(weight): name for name, weight in weights.items()}
        self._shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        # None: not known.
        self._positions: dict[str, int | None] = {}
        self._products: dict[str, int | None] = {}
        # Weights that layers which are not understood compute with, and which those are.
        self._held: dict[str, str] = {}
        # Of models within the model: the channels of their inputs and outputs.
        self._models: dict[int, tuple[list, list]] = {}

    def build(self) -> ChannelGraph:
        for name, reason in self._held.items():
            self.channels.pin_weight(name, reason)
        uncounted = [
            name
            for name, shape in self._shapes.items()
            if self._positions.get(name, None if len(shape) > 1 else 0) is None
        ]
        counted = {name: times for name, times in self._positions.items() if times is not None}
        return self.channels.build(self._shapes, counted, uncounted, self._products)

    def inputs(self, tensor) -> Numbers:
        return self._pinned(tensor, "an input of the model")

    def _pinned(self, tensor, reason: str) -> Numbers:
        shape = shape_of(tensor)
        channels = self.channels.new(shape[-1] if len(shape) > 1 and shape[-1] else 0)
        self.channels.pin(channels, reason)
        return channels

    def model(self, model, inputs: list[Numbers]) -> list[Numbers]:
        """Returns the channels of a model's outputs."""
        graph = graph_of(model)
        # The graph of each layer is walked at every call, so that its cost is counted.
        known = {id(t): c for t, c in zip(tensors(graph.inputs), inputs, strict=True)}
        for call in calls_of(graph, self._layers):
            if all(id(tensor) in known for tensor in call.outputs):
                continue
            found = self._call(call, [known[id(tensor)] for tensor in call.inputs])
            known |= {id(t): c for t, c in zip(call.outputs, found, strict=True)}
        return [known[id(tensor)] for tensor in tensors(graph.outputs)]

    def _call(self, call: Call, inputs: list[Numbers]) -> list[Numbers]:
        if call.of_keras and graph_of(call.layer) is not None:
            return self._nested(call, inputs)
        self._count(call)
        rule = self._rule(call)
        found = rule(call, inputs) if rule is not None and len(call.outputs) == 1 else None
        # One number for a whole batch, such as a mean of everything, has no axis.
        if isinstance(found, np.ndarray) and len(found) == (
            [0, *shape_of(call.outputs[0])][-1] or 0
        ):
            return [found]
        reason = found if isinstance(found, str) else _WHOLE.get(call.kind, "not understood")
        return self._opaque(call, inputs, f"{call.name} ({call.kind}): {reason}")

    def _opaque(self, call: Call, inputs: list[Numbers], reason: str) -> list[Numbers]:
        for channels in inputs:
            self.channels.pin(channels, reason)
        for weight in variables_of(call.layer):
            # Maybe that of another layer.
            self._held.setdefault(self._name(weight) or "", reason)
        return [self._pinned(tensor, reason) for tensor in call.outputs]

    def _nested(self, call: Call, inputs: list[Numbers]) -> list[Numbers]:
        for channels in inputs:
            # Its shape of inputs is given, not found.
            self.channels.pin(channels, f"{call.name}: an input of a model within the model")
        found = self.model(call.layer, inputs)
        known = self._models.setdefault(id(call.layer), (inputs, found))
        for channels, others in zip([*inputs, *found], [*known[0], *known[1]], strict=True):
            self.channels.join(channels, others)
        return found

    def _rule(self, call: Call) -> Callable[[Call, list[Numbers]], Any] | None:
        kind = call.kind
        if not call.of_keras:
            return None
        if call.is_operation:
            return self._operation
        if kind in CONVOLUTIONS:
            return self._convolution
        if kind in TRANSPOSED:
            return self._transposed
        if kind in DEPTHWISE:
            return self._depthwise
        if kind in SEPARABLE:
            return self._separable
        if kind in _MERGES:
            return self._merge
        if kind in _SPATIAL:
            return self._spatial
        if kind in _EACH_ALIKE:
            return lambda call, inputs: inputs[0]
        rules: dict[str, Any] = {
            "Activation": self._activation,
            "BatchNormalization": self._batch_norm,
            "Concatenate": self._concatenate,
            "Dense": self._dense,
            "Flatten": self._reshape,
            "PReLU": self._prelu,
            "Rescaling": self._rescaling,
            "Reshape": self._reshape,
        }
        return rules.get(kind)

    # What each kind of layer does to channels: those of its output, or why they must stay.

    def _name(self, weight) -> str | None:
        return self._weights.get(id(weight))

    def _count(self, call: Call) -> None:
        for used, times in uses_of_call(call, self._layers):
            if (name := self._name(used)) is not None:
                self._add(self._positions, name, times)
            elif id(used) in self._layers:
                self._add(self._products, self._layers[id(used)], times)

    @staticmethod
    def _add(counts: dict[str, int | None], name: str, times: int | None) -> None:
        known = counts.get(name, 0)
        counts[name] = None if known is None or times is None else known + times

    def _kernel(
        self, call: Call, kernel, axes: tuple[int, int], inputs: Numbers, size: str
    ) -> Numbers | str:
        """Says that a kernel reads the inputs along one axis, and makes others along another."""
        name, (reads, makes) = self._name(kernel), axes
        if name is None:
            return "its kernel is not a weight of its own"
        outputs = self.channels.new(kernel.shape[makes])
        self.channels.use(name, reads % len(kernel.shape), READS, inputs)
        self.channels.use(name, makes % len(kernel.shape), MAKES, outputs)
        if size:
            self.channels.size(call.path, (size,), outputs)
        self._carried(call.layer.bias, outputs)
        return self._activated(call.layer, outputs)

    def _carried(self, weight, channels: Numbers, axis: int = 0) -> None:
        name = self._name(weight)
        if name is not None:
            self.channels.use(name, axis, CARRIES, channels)

    def _activated(self, layer, channels: Numbers) -> Numbers:
        function = getattr(layer.activation, "__name__", type(layer.activation).__name__)
        if function not in _ACTIVATIONS:
            self.channels.pin(channels, f"{layer.name}: activation {function} over channels")
        return channels

    def _convolution(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        layer = call.layer
        if not call.channels_last:
            return "channels are not the last axis"
        if layer.groups != 1:
            return "a convolution of groups"
        return self._kernel(call, layer.kernel, (-2, -1), inputs[0], "filters")

    def _transposed(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        if not call.channels_last:
            return "channels are not the last axis"
        return self._kernel(call, call.layer.kernel, (-1, -2), inputs[0], "filters")

    def _depthwise(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        layer = call.layer
        if not call.channels_last:
            return "channels are not the last axis"
        kernel = depthwise_kernel(layer)
        outputs = np.repeat(inputs[0], layer.depth_multiplier)
        self._carried(kernel, inputs[0], len(kernel.shape) - 2)
        self._carried(layer.bias, outputs)
        return self._activated(layer, outputs)

    def _separable(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        layer = call.layer
        if not call.channels_last:
            return "channels are not the last axis"
        self._carried(layer.depthwise_kernel, inputs[0], len(layer.depthwise_kernel.shape) - 2)
        between = np.repeat(inputs[0], layer.depth_multiplier)
        return self._kernel(call, layer.pointwise_kernel, (-2, -1), between, "filters")

    def _dense(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        return self._kernel(call, call.layer.kernel, (0, 1), inputs[0], "units")

    def _batch_norm(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        layer = call.layer
        axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)
        if axes not in ([-1], [len(shape_of(call.inputs[0])) - 1]):
            return "normalises along another axis than the last"
        if any(len(weight.shape) != 1 for weight in layer.weights):
            return "has weights of other kinds"
        for weight in layer.weights:
            self._carried(weight, inputs[0])
        return inputs[0]

    def _prelu(self, call: Call, inputs: list[Numbers]) -> Numbers:
        if call.layer.alpha.shape[-1] == len(inputs[0]):
            self._carried(call.layer.alpha, inputs[0], len(call.layer.alpha.shape) - 1)
        return inputs[0]

    def _activation(self, call: Call, inputs: list[Numbers]) -> Numbers:
        return self._activated(call.layer, inputs[0])

    def _rescaling(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        alike = np.ndim(call.layer.scale) == np.ndim(call.layer.offset) == 0
        return inputs[0] if alike else "has a scale for each channel"

    def _spatial(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        if call.channels_last:
            return inputs[0]
        if call.kind != "ZeroPadding2D":
            return "channels are not the last axis"
        # So it pads the last two axes: the residual network's shortcut without parameters.
        before, after = (self.channels.new(count) for count in call.layer.padding[1])
        self.channels.size(call.path, ("padding", 1, 0), before)
        self.channels.size(call.path, ("padding", 1, 1), after)
        return np.concatenate([before, inputs[0], after])

    def _merge(self, call: Call, inputs: list[Numbers]) -> Numbers:
        outputs = max(inputs, key=len)
        for channels in inputs:
            if len(channels) == len(outputs):
                self.channels.join(channels, outputs)
            else:
                # One channel that meets all of the others.
                self.channels.pin(channels, f"{call.name}: broadcast over channels")
        return outputs

    def _concatenate(self, call: Call, inputs: list[Numbers]) -> Numbers:
        if call.layer.axis in (-1, len(shape_of(call.inputs[0])) - 1):
            return np.concatenate(inputs)
        return self._merge(call, inputs)

    def _reshape(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        before, after = shape_of(call.inputs[0])[1:], shape_of(call.outputs[0])[1:]
        count = len(inputs[0])
        known = before and after and None not in (*before, *after)
        if not count or not known or not call.channels_last:
            return "its sizes are not known"
        if after[-1] % count:
            return "divides channels"
        outputs = np.tile(inputs[0], after[-1] // count)
        if call.kind == "Reshape":
            self.channels.size(call.path, ("target_shape", len(after) - 1), outputs)
        return outputs

    def _operation(self, call: Call, inputs: list[Numbers]) -> Numbers | str:
        function = call.kind.replace("_", "").lower()
        if not inputs or function not in _OPERATIONS:
            return "not understood"
        if any(np.size(value) != 1 for value in call.constants):
            return "has a number for each channel"
        return self._merge(call, inputs)
