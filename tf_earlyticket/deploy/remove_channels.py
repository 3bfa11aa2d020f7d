"""Channels that nothing reads are taken out: the same network, smaller."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.channel_graph import channel_graph
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.channels import ChannelGraph, Size
from tf_earlyticket.pruning.masks import Mask


def remove_channels(model):
    """Returns a smaller plain model with the same outputs, without the channels nothing reads.

    A channel is taken out where all weights that read it are zero; pinned ones (`et.channel_graph`)
    stay. Sums have fewer terms and may be rounded otherwise: outputs differ by the rounding of the
    number type alone.

    Args:
        model: A functional or sequential model of either Keras, usually trained with
            `structure="channels"`: as it is, or plain by `et.strip_pruning`. It stays usable.

    Raises:
        InputError: If the model has no graph of layers, a layer cannot be copied, or a weight
            that its masks prune is not zero.

    Example:
        >>> small = et.remove_channels(model)
        >>> small.count_params(), et.channel_graph(small).multiply_adds()
    """
    return without_channels(model)[0]


def without_channels(model) -> tuple[Any, ChannelGraph, Mask]:
    """Returns the result of `remove_channels`, the graph, and which channels [channels] stayed."""
    backend, graph = backend_of(model), channel_graph(model)
    weights = {name: w.numpy() for name, w in backend.named_weights(model).items()}
    try:
        adapter = pruned(model)
    except InputError:
        kept = graph.without_readers(weights)
    else:
        weights = adapter.all_weights()
        kept = graph.without_readers(weights | adapter.masks())
        model = backend.strip(model)
    return _small(model, graph, weights, kept), graph, kept


def _small(model, graph: ChannelGraph, weights: Mapping[str, np.ndarray], kept: Mask):
    for name, count in graph.revived(weights, kept).items():
        raise InputError(
            f"{count} weights of {name!r} read channels that are to be taken out, and are not "
            "zero: something wrote weights after training."
        )
    sizes = defaultdict(list)
    for size in graph.sizes:
        sizes[size.layer].append(size)
    configs = {
        layer: lambda config, own=own: _resized(config, own, kept) for layer, own in sizes.items()
    }
    cut = {name: graph.cut(name, array, kept) for name, array in weights.items()}
    return backend_of(model).resized(model, configs, cut)


def _resized(config: dict, sizes: list[Size], kept: Mask) -> dict:
    for size in sizes:
        config = _with(config, size.path, int(np.count_nonzero(kept[size.channels])))
    return config


def _with(config, path: tuple, value):
    """Returns nested dicts and tuples with another value at a path."""
    if not path:
        return value
    first, *rest = path
    if isinstance(config, dict):
        return {**config, first: _with(config[first], rest, value)}
    items = list(config)
    items[first] = _with(items[first], rest, value)
    return tuple(items)
