"""Kinds of layers, the same for every Keras: which of their weights can be pruned, and are.

Layers are told by the names of their classes, so that no Keras is imported.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tf_earlyticket import checks
from tf_earlyticket.backends.layers import flat, layers_inside
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
    """

    name: str
    weights: tuple[str, ...] = ()
    default: bool = False
    convolution: bool = False


_CONVOLUTION = Kind("convolution", ("kernel",), default=True, convolution=True)
_TRANSPOSED = Kind("transposed convolution", ("kernel",), default=True, convolution=True)
_SEPARABLE = Kind("separable convolution", ("pointwise_kernel",), default=True, convolution=True)
# tf_keras and Keras 3 have different names for its kernel.
_DEPTHWISE = Kind("depthwise convolution", ("depthwise_kernel", "kernel"))
_RECURRENT = Kind("recurrent layer")
_KINDS = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _CONVOLUTION),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _TRANSPOSED),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _DEPTHWISE),
    **dict.fromkeys(
        ("LocallyConnected1D", "LocallyConnected2D"), Kind("locally connected layer", ("kernel",))
    ),
    "Dense": Kind("dense layer", ("kernel",), default=True),
    "EinsumDense": Kind("einsum layer", ("kernel",)),
    "Embedding": Kind("embedding", ("embeddings",)),
    **dict.fromkeys(("RNN", "SimpleRNNCell", "LSTMCell", "GRUCell"), _RECURRENT),
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), Kind("attention", ())),
}
_OTHER = Kind("layer of another kind")


def kind_of(layer) -> Kind:
    """Returns the kind of a layer; a subclass is of its base's."""
    return next((_KINDS[c.__name__] for c in type(layer).__mro__ if c.__name__ in _KINDS), _OTHER)


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
        prunable: A function of a layer, or names or layers; None: all convolutions and dense
            layers except the first convolution and those that feed the outputs (the paper's), and
            those that are frozen.
        trained: The ids of the weights that training changes.
        last: Returns the ids of the layers that feed the outputs, see `output_layers`.

    Raises:
        InputError: For a layer that is not of the model or has no weights that can be pruned.
    """
    if callable(prunable):
        chosen = [name for name, layer in layers.items() if prunable(layer)]
        chosen = [name for name in chosen if prunable_weights(layers[name])]
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
            if not prunable_weights(layer):
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
    names = []
    for item in prunable:
        name = item if isinstance(item, str) else by_id.get(id(item), getattr(item, "name", item))
        if name not in layers or (item is not name and id(item) not in by_id):
            error = checks.refuse("prunable", name, "names or layers of the model")
            raise InputError(f"{error}{suggestion(str(name), layers)}")
        if not prunable_weights(layers[name]):
            raise cannot_be_pruned(layers[name])
        names.append(name)
    return [name for name in layers if name in set(names)]


def cannot_be_pruned(layer) -> InputError:
    """Returns the error for a chosen layer without weights that can be pruned."""
    reason = not_plain(layer)
    return InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} cannot be pruned"
        f"{f' ({reason})' if reason else ''}: expected "
        "a convolution, dense, einsum or embedding layer, or one with get_prunable_weights()."
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


def _reached(tensor, wanted: Mapping[int, int], seen: set[int]) -> set[int]:
    """Returns the ids of wanted layers that a symbolic tensor comes from, without one between."""
    layer, node, number = tensor._keras_history[:3]
    if not getattr(layer, "outputs", None):
        # Of those inside a layer, the last.
        inside = [id(each) for each in layers_inside(layer) if id(each) in wanted]
        if inside:
            return {max(inside, key=wanted.__getitem__)}
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
