"""Which groups of weights, that live or die together, are the largest.

Groups are those of the paper's appendix B.1 (Fig. 7); for single weights see `magnitude.py`.
A group is `group_size` consecutive weights along the input-channel axis: axis -2 of kernels
[..., c_in, c_out], the only axis of 1-D tensors. Where the axis does not divide, the last
group is short.
"""

from collections.abc import Sequence

import numpy as np

from tf_earlyticket.errors import InputError


def _channel_axis(shape: Sequence[int]) -> int:
    return -2 if len(shape) > 1 else -1


def _members(array: np.ndarray, group_size: int, fill: float) -> np.ndarray:
    """Splits the channel axis into groups and members; members lie along `_channel_axis`."""
    axis = _channel_axis(array.shape)
    channels = array.shape[axis]
    short = -channels % group_size
    if short:
        padding = [(0, 0)] * array.ndim
        padding[axis] = (0, short)
        array = np.pad(array, padding, constant_values=fill)
    split = [-(-channels // group_size), group_size]
    return array.reshape(*array.shape[:axis], *split, *array.shape[axis + 1 or array.ndim :])


def group_sizes(shape: Sequence[int], group_size: int) -> np.ndarray:
    """Returns the number of members of each group of a tensor of this shape.

    Args:
        shape: Shape of the weights, at least 1-D.
        group_size: Members of a full group, >= 1.

    Returns:
        int64 array like `shape` with ceil(c_in / group_size) for c_in.
    """
    axis = _channel_axis(shape)
    channels = shape[axis]
    sizes = np.minimum(group_size, channels - np.arange(0, channels, group_size))
    grouped = list(shape)
    grouped[axis] = sizes.size
    return np.broadcast_to(sizes.reshape(-1, 1) if axis == -2 else sizes, grouped)


def group_scores(weight: np.ndarray, group_size: int) -> np.ndarray:
    """Returns the mean magnitude of the members of each group.

    Args:
        weight: Float array, at least 1-D, e.g. [h, w, c_in, c_out].
        group_size: Members of a full group, >= 1.

    Returns:
        float64 array, e.g. [h, w, ceil(c_in / group_size), c_out]. The mean of a short group
        is over the members it has.
    """
    magnitudes = _members(np.abs(weight), group_size, 0.0)
    sums = magnitudes.sum(axis=_channel_axis(weight.shape), dtype=np.float64)
    return sums / group_sizes(weight.shape, group_size)


def whole_groups(mask: np.ndarray, group_size: int) -> np.ndarray:
    """Returns which groups have all their members in the mask.

    Args:
        mask: Bool array, at least 1-D, True = kept.
        group_size: Members of a full group, >= 1.

    Returns:
        Bool array of the shape of `group_scores`.
    """
    return _members(mask, group_size, True).all(axis=_channel_axis(mask.shape))


def expand_groups(kept_groups: np.ndarray, shape: Sequence[int], group_size: int) -> np.ndarray:
    """Returns the mask of weights that belongs to a mask of groups.

    Args:
        kept_groups: Bool array of the shape of `group_scores`.
        shape: Shape of the weights, at least 1-D.
        group_size: Members of a full group, >= 1.

    Returns:
        Bool array of shape `shape`, True = kept.
    """
    axis = _channel_axis(shape)
    mask = np.repeat(kept_groups, group_size, axis=axis)
    return mask[..., : shape[-2], :] if axis == -2 else mask[: shape[-1]]


def group_masks(
    weights: Sequence[np.ndarray],
    kept: int,
    group_size: int,
    previous: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Ranks the groups of all tensors by mean magnitude and keeps the largest.

    Groups are taken in rank order until the next one would exceed `kept`. Equal scores are
    ranked by tensor order, then by flat (C) order of `group_scores`.

    Args:
        weights: Finite float arrays of any shapes.
        kept: Number of weights to keep over all tensors.
        group_size: Members of a full group, >= 1.
        previous: Bool masks like `weights`; groups with a pruned member stay pruned.

    Returns:
        Bool masks like `weights`, True = kept. They keep at most `kept` weights, and fewer
        than `group_size` below it.

    Raises:
        InputError: The groups that are whole in `previous` hold too few weights.
    """
    tensors = [np.atleast_1d(weight) for weight in weights]
    scores = [group_scores(tensor, group_size) for tensor in tensors]
    sizes = np.concatenate([group_sizes(t.shape, group_size).ravel() for t in tensors])
    flat_scores = np.concatenate([score.ravel() for score in scores])
    candidates = np.arange(sizes.size)
    if previous is not None:
        whole = [whole_groups(np.atleast_1d(mask), group_size).ravel() for mask in previous]
        candidates = np.flatnonzero(np.concatenate(whole))
        available = int(sizes[candidates].sum())
        # A step of the same sparsity may find up to group_size - 1 weights too few.
        if available + group_size <= kept:
            raise InputError(
                f"previous must keep whole groups of {group_size} for {kept} weights to keep, "
                f"got whole groups of {available} weights"
            )
    # The exact order matters only among as many groups as can be taken: full and short ones.
    most = kept // group_size + np.count_nonzero(sizes < group_size) + 1
    if most < candidates.size:
        values = flat_scores[candidates]
        cut = candidates.size - most
        candidates = candidates[values >= np.partition(values, cut)[cut]]
    order = candidates[np.argsort(-flat_scores[candidates], kind="stable")]
    taken = np.searchsorted(np.cumsum(sizes[order]), kept, side="right")
    flat_kept = np.zeros(sizes.size, dtype=bool)
    flat_kept[order[:taken]] = True
    ends = np.cumsum([score.size for score in scores])
    masks = []
    for weight, tensor, score, end in zip(weights, tensors, scores, ends, strict=True):
        kept_groups = flat_kept[end - score.size : end].reshape(score.shape)
        masks.append(expand_groups(kept_groups, tensor.shape, group_size).reshape(weight.shape))
    return masks
