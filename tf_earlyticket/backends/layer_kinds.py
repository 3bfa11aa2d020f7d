"""Kinds of layers, the same for every Keras: which of their weights can be pruned, and are.

Layers are told by the names of their classes, so that no Keras is imported.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tf_earlyticket import checks
from tf_earlyticket.backends.layers import flat, layers_inside, plain_layer
from tf_earlyticket.errors import InputError, suggestion

Prunable = Callable[[Any], bool] | Collection[Any] | None
FROZEN = "frozen (trainable=False)"


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        name: In words.
        weights: Attributes of the layer that hold weights that can be pruned.
        default: Whether these are pruned if the user does not choose.
        convolution: Whether the first of a network is left dense.
        holds: Whether its weights are those of layers inside, which are meant where it is chosen.
        reason: Why these are not pruned if the user does not choose.
        inputs_last: Whether its kernel is [..., c_out, c_in].
    """

    name: str
    weights: tuple[str, ...] = ()
    default: bool = False
    convolution: bool = False
    holds: bool = False
    reason: str = ""
    inputs_last: bool = False


_CONVOLUTION = Kind("convolution", ("kernel",), default=True, convolution=True)
_TRANSPOSED = Kind(
    "transposed convolution", ("kernel",), default=True, convolution=True, inputs_last=True
)
_SEPARABLE = Kind(
    "separable convolution",
    ("pointwise_kernel",),
    default=True,
    convolution=True,
    reason="its depthwise kernel has few weights, and no channel has others",
)
_DEPTHWISE = Kind(
    "depthwise convolution",
    # tf_keras and Keras 3 have different names for its kernel.
    ("depthwise_kernel", "kernel"),
    reason="it has few weights, and no channel has others",
)
_LOCAL = Kind(
    "locally connected layer",
    ("kernel",),
    reason="with implementation=2 most of its kernel is never used",
)
_EMBEDDING = Kind(
    "embedding",
    ("embeddings",),
    reason="rows of rare words have hardly trained, and their magnitudes say little",
)
_CELL = Kind("recurrent cell", ("kernel", "recurrent_kernel"), default=True)
_RECURRENT = Kind("recurrent layer", holds=True)
_ATTENTION = Kind("attention", holds=True)
KINDS = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _CONVOLUTION),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _TRANSPOSED),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    **dict.fromkeys(("LocallyConnected1D", "LocallyConnected2D"), _LOCAL),
    "Dense": Kind("dense layer", ("kernel",), default=True),
    "EinsumDense": Kind("einsum layer", ("kernel",), default=True),
    "Embedding": _EMBEDDING,
    **dict.fromkeys(("SimpleRNNCell", "LSTMCell", "GRUCell", "ConvLSTMCell"), _CELL),
    **dict.fromkeys(("RNN", "Bidirectional", "StackedRNNCells"), _RECURRENT),
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), _ATTENTION),
}
_OTHER = Kind("layer of another kind")


def kind_of(layer) -> Kind:
    """Returns the kind of a layer; a subclass is of its base's.

    A convolution whose groups have one input channel each is a depthwise one.
    """
    kind = kind_of_class(type(layer))
    if kind is _CONVOLUTION and getattr(layer, "groups", 1) > 1:
        kernel = getattr(layer, "kernel", None)
        return _DEPTHWISE if kernel is not None and kernel.shape[-2] == 1 else kind
    return kind


def kind_of_class(layer_class: type) -> Kind:
    """Returns the kind of a class of layers."""
    return next((KINDS[c.__name__] for c in layer_class.__mro__ if c.__name__ in KINDS), _OTHER)


def weights_of_kind(layer) -> list:
    """Returns the weights of a built layer that can be pruned by its kind."""
    if not_plain(layer):
        return []
    values = (getattr(layer, name, None) for name in kind_of(layer).weights)
    return [value for value in values if value is not None]


def prunable_weights(layer) -> list:
    """Returns the weights of a built layer that can be pruned: those that it names, or its kind's.

    None twice, in the order in which they are named.
    """
    named = getattr(layer, "get_prunable_weights", None)
    found = named() if named else weights_of_kind(layer)
    return list({id(weight): weight for weight in found}.values())


def multiplies_its_input(layer) -> bool:
    """Tells whether what a layer is called with is multiplied with its kernel [..., c_in, c_out].

    Not so cells, which have two kernels and which fast code reads past their calls, heads, and
    groups of a convolution, which each see a part of it.
    """
    heads = hasattr(layer, "equation") and len(layer.kernel.shape) > 2
    kind = kind_of(layer)
    groups = kind is _CONVOLUTION and getattr(layer, "groups", 1) > 1
    return kind is not _CELL and not heads and not groups


def matrix_shapes(layers: Iterable[Any]) -> dict[int, tuple[int, int]]:
    """Returns (c_in, c_out) of kernels with more axes than inputs and outputs, by their ids.

    Those of einsum layers, also inside attention, whose first axes are summed over.
    """
    found = {}
    for layer in layers:
        kernel, equation = getattr(layer, "kernel", None), getattr(layer, "equation", None)
        if kernel is None or not isinstance(equation, str):
            continue
        shape = matrix_shape(equation, tuple(kernel.shape))
        if shape is not None:
            found[id(kernel)] = shape
    return found


def matrix_shape(equation: str, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Returns (c_in, c_out) of the kernel of an einsum; None: its axes are in another order.

    Example:
        >>> matrix_shape("abc,cde->abde", (16, 2, 8))
        (16, 16)
    """
    operands, _, output = equation.replace(" ", "").partition("->")
    given, _, axes = operands.partition(",")
    inputs = [axis in given and axis not in output for axis in axes]
    outputs = [axis in output and axis not in given for axis in axes]
    count = sum(inputs)
    whole = len(axes) == len(shape) and all(inputs[:count]) and all(outputs[count:])
    return (math.prod(shape[:count]), math.prod(shape[count:])) if whole else None


def not_plain(layer) -> str:
    """Returns why zeros in a layer's kernel would mean nothing; empty: they do."""
    if getattr(layer, "lora_enabled", False):
        return "LoRA is enabled: its low-rank part fills zeros"
    mode = getattr(layer, "quantization_mode", None)
    return f"quantised ({mode})" if mode else ""


@dataclass(frozen=True)
class Choice:
    """Which layers are pruned.

    Attributes:
        chosen: Their names, in model order.
        reasons: Why each other layer is not, by name.
    """

    chosen: list[str]
    reasons: dict[str, str]


def choose_layers(
    layers: Mapping[str, Any],
    prunable: Prunable,
    trained: Collection[int],
    last: Callable[[], Collection[int]],
) -> Choice:
    """Chooses the layers to prune.

    Args:
        layers: All layers by name, in model order.
        prunable: A function of a layer, or names or layers, of which one that holds others means
            these (attention its four kernels); None: all of the kinds that are pruned by default
            except the first convolution and those that feed the outputs (the paper's), and those
            that are frozen.
        trained: The ids of the weights that training changes.
        last: Returns the ids of the layers that feed the outputs, see `output_layers`.

    Raises:
        InputError: For a layer that is not of the model or has no weights that can be pruned.
    """
    if callable(prunable):
        found = [layer for layer in layers.values() if prunable(layer)]
        # Of other layers that hold some, the function is asked for each of these.
        meant = [_meant(each) if kind_of(each).holds else [each] for each in found]
        chosen = _in_order(layers, [each for each in flat(meant) if prunable_weights(each)])
    elif prunable is not None:
        chosen = _named(layers, prunable)
    if prunable is not None:
        return Choice(chosen, {n: "not chosen by prunable" for n in layers if n not in set(chosen)})
    reasons, first = {}, True
    outputs = last()
    for name, layer in layers.items():
        kind = kind_of(layer)
        if kind.convolution and first:
            first, reasons[name] = False, "the first convolution"
        elif id(layer) in outputs:
            reasons[name] = "feeds the output"
        elif not kind.default:
            reasons[name] = f"{_article(kind.name)}: pruned only if chosen by prunable"
            if kind.holds:
                reasons[name] = f"{_article(kind.name)}: its kernels are those of layers inside"
            elif not prunable_weights(layer):
                reasons[name] = not_plain(layer) or f"{_article(kind.name)}: not pruned"
        elif not prunable_weights(layer):
            reasons[name] = not_plain(layer) or "it has no kernel"
        elif not any(id(weight) in trained for weight in prunable_weights(layer)):
            reasons[name] = FROZEN
    return Choice([name for name in layers if name not in reasons], reasons)


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _named(layers: Mapping[str, Any], prunable) -> list[str]:
    if isinstance(prunable, str):
        raise checks.refuse("prunable", prunable, "a list of names or a function")
    by_id = {id(layer): name for name, layer in layers.items()}
    meant = []
    for item in prunable:
        name = item if isinstance(item, str) else by_id.get(id(item), getattr(item, "name", item))
        if name not in layers or (item is not name and id(item) not in by_id):
            error = checks.refuse("prunable", name, "names or layers of the model")
            raise InputError(f"{error}{suggestion(str(name), layers)}")
        inside = _meant(layers[name])
        if not inside:
            raise cannot_be_pruned(layers[name])
        meant += inside
    return _in_order(layers, meant)


def _in_order(layers: Mapping[str, Any], chosen: Collection[Any]) -> list[str]:
    ids = {id(layer) for layer in chosen}
    return [name for name, layer in layers.items() if id(layer) in ids]


def _meant(layer) -> list:
    """Returns the layers that are pruned where one is chosen: itself, or those inside, if any."""
    if prunable_weights(layer):
        return [layer]
    inside = map(plain_layer, layers_inside(layer)[1:])
    return [each for each in inside if kind_of(each).default and prunable_weights(each)]


def cannot_be_pruned(layer) -> InputError:
    """Returns the error for a chosen layer without weights that can be pruned."""
    reason = not_plain(layer)
    return InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned"
        f"{f' ({reason})' if reason else ''}: expected "
        "a convolution, dense, einsum, recurrent, attention or embedding layer, one that holds "
        "such layers, or one with get_prunable_weights()."
    )


def output_layers(model, layers: Collection[Any]) -> set[int]:
    """Returns the ids of the layers with a kernel that feed the outputs of a functional model.

    Of each output, the last one in model order without another such layer behind it.

    Args:
        model: A functional or sequential model of either Keras.
        layers: All its layers that are pruned by default kinds, in model order.
    """
    order = {id(layer): place for place, layer in enumerate(layers)}
    found = set()
    for tensor in flat(model.outputs):
        reached = _reached(tensor, order, set())
        found |= {max(reached, key=order.__getitem__)} if reached else set()
    return found


def last_inside(layer, wanted: Mapping[int, int]) -> set[int]:
    """Returns the id of the last wanted layer of a layer: of those inside, or itself; or none.

    Args:
        layer: A layer that is no model.
        wanted: Places in model order by the ids of layers.
    """
    inside = [id(each) for each in layers_inside(layer) if id(each) in wanted]
    return {max(inside, key=wanted.__getitem__)} if inside else set()


def _reached(tensor, wanted: Mapping[int, int], seen: set[int]) -> set[int]:
    """Returns the ids of wanted layers that a symbolic tensor comes from, without one between."""
    layer, node, number = tensor._keras_history[:3]
    if not getattr(layer, "outputs", None):
        inside = last_inside(layer, wanted)
        if inside:
            return inside
    if (id(layer), node) in seen:
        return set()
    seen.add((id(layer), node))
    found = set()
    if getattr(layer, "outputs", None):
        # A model within the model.
        found = _reached(flat(layer.outputs)[number], wanted, seen)
    if found:
        return found
    made = layer._inbound_nodes[node]
    # The inputs of a node, as Keras 3 and tf_keras call them.
    inputs = made.input_tensors if hasattr(made, "operation") else made.keras_inputs
    return set().union(*(_reached(each, wanted, seen) for each in flat(inputs)))
