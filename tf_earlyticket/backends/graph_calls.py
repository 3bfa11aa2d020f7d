"""The calls of layers in the graph of a functional or sequential model of either Keras.

What a call is of is told by names of classes, so that no Keras is imported.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Shape = Sequence[int | None]


def graph_of(model):
    """Returns the object that has the graph of a model; None if there is none."""
    # Keras 3 has that of a sequential model inside.
    for graph in (model, getattr(model, "_functional", None)):
        if getattr(graph, "_nodes_by_depth", None) and getattr(graph, "inputs", None):
            return graph
    return None


def calls_of(graph, layers: Mapping[int, str]) -> Iterator["Call"]:
    """Yields the calls in a graph, each after those that make its inputs; inputs are calls too."""
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            yield Call(node, layers)


def tensors(structure) -> list:
    """Returns the symbolic tensors in nested lists and dicts, in order."""
    if isinstance(structure, Mapping):
        structure = list(structure.values())
    if isinstance(structure, (list, tuple)):
        return [each for part in structure for each in tensors(part)]
    return [structure] if is_tensor(structure) else []


def is_tensor(value) -> bool:
    """Tells a symbolic tensor of either Keras."""
    return type(value).__name__ == "KerasTensor"


def shape_of(tensor) -> Shape:
    """Returns the shape of a symbolic tensor, None where it is not known."""
    # tf_keras may not know how many axes there are; of three none is known.
    return (None,) * 3 if getattr(tensor.shape, "rank", 0) is None else tuple(tensor.shape)


def of_keras(layer) -> bool:
    """Tells whether the class of a layer is Keras' own, so that its name says what it does."""
    return type(layer).__module__.split(".")[0] in ("keras", "tf_keras")


def channels_last(layer) -> bool:
    """Tells whether channels are the last axis of what a layer takes and gives."""
    return getattr(layer, "data_format", None) in (None, "channels_last")


def product(sizes: Shape) -> int | None:
    """Returns the product of sizes, None if one is not known."""
    return None if None in sizes else math.prod(sizes)  # type: ignore[arg-type]


def _constants(values: Iterable[Any]) -> list:
    """Returns what is given to an operation beside tensors, None and words; of a list, it whole."""
    found = []
    for value in values:
        if tensors(value):
            inside = value.values() if isinstance(value, Mapping) else value
            found += [] if is_tensor(value) else _constants(inside)
        elif value is not None and not isinstance(value, str):
            found.append(value)
    return found


class Call:
    """A call of a layer, or an operation, in the graph of a model."""

    def __init__(self, node, layers: Mapping[int, str]):
        layer = getattr(node, "operation", None)
        keras3 = layer is not None
        layer = layer if keras3 else node.layer
        inside = getattr(layer, "layer", None)
        if id(layer) not in layers and id(inside) in layers:
            # A pruning wrapper of tf_keras.
            layer = inside
        self.layer = layer
        self.path = layers.get(id(layer), layer.name)
        self.name = self.path
        self.of_keras = of_keras(layer)
        self.inputs = tensors(node.input_tensors if keras3 else node.keras_inputs)
        self.outputs = tensors(node.outputs)
        arguments = node.arguments if keras3 else node
        self._args = arguments.args if keras3 else node.call_args
        self._kwargs = arguments.kwargs if keras3 else node.call_kwargs
        self.kind = type(layer).__name__
        # tf_keras has one class for all operations, Keras 3 one for each, which is no layer.
        self.is_operation = self.kind == "TFOpLambda" or not hasattr(layer, "weights")
        if self.kind == "TFOpLambda":
            self.kind = str(layer.symbol).rpartition(".")[2]
        # Operations of Keras 3 keep some as their attributes.
        own = [value for name, value in vars(layer).items() if keras3 and not name.startswith("_")]
        given = [value for name, value in self._kwargs.items() if name != "name"]
        self.constants = _constants([*self._args, *given, *(own if self.is_operation else ())])

    def argument(self, name: str, place: int) -> Any:
        """Returns what an argument of the call was given, by its name or place; None if not."""
        if name in self._kwargs:
            return self._kwargs[name]
        return self._args[place] if place < len(self._args) else None

    @property
    def channels_last(self) -> bool:
        return channels_last(self.layer)
