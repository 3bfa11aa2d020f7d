"""Weight statistics over training (paper, section 3.2, Fig. 2)."""

from typing import Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.pruning.masks import Arrays, Key, layer_sparsity, match_masks, repack, unpack
from tf_earlyticket.pruning.select import global_masks


def weight_statistics(weights: Arrays, masks: Arrays | None = None) -> Any:
    """Describes the weights of each tensor, in float64; "std" is the paper's W_std (Fig. 2a).

    Args:
        weights: Collection of float arrays of any shapes. NaN and infinities carry over into
            the result.
        masks: Masks of the weights, 1 = kept: only kept weights count. None: all count.

    Returns:
        A collection of the same kind of dicts: "mean", "std" (population), "abs_mean" and
        "abs_max" of the weights that count, 0.0 where there are none; "kept", their number;
        "sparsity", the pruned fraction of the tensor, in [0, 1].

    Raises:
        InputError: There are no weights, or the masks do not fit them.
    """
    arrays = unpack("weights", weights)
    fitting = {} if masks is None else match_masks("masks", masks, "weights", weights)
    rows: dict[Key, dict[str, float | int]] = {}
    for key, array in arrays.items():
        values = (array[fitting[key]] if fitting else array).astype(np.float64)
        magnitudes = np.abs(values)
        rows[key] = {
            "mean": float(values.mean()) if values.size else 0.0,
            "std": float(values.std()) if values.size else 0.0,
            "abs_mean": float(magnitudes.mean()) if values.size else 0.0,
            "abs_max": float(magnitudes.max()) if values.size else 0.0,
            "kept": values.size,
            "sparsity": 1 - values.size / array.size if array.size else 0.0,
        }
    return repack(weights, rows)


def predicted_std(
    std: float, updates: int, learning_rate: float, weight_decay: float, momentum: float
) -> float:
    """Returns W_std after low-gradient training (paper, eq. 5).

    W_std - n * eta * lambda * W_std / (1 - m): weight decay alone moves the weights, linearly
    in the few updates n for which the shrinkage stays small.

    Args:
        std: W_std before, >= 0.
        updates: Optimizer steps n, >= 0.
        learning_rate: eta, >= 0.
        weight_decay: lambda in the paper's form v <- m v + (lambda w + g), >= 0; twice the
            factor of a Keras `l2` regularizer.
        momentum: m, in [0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    std = checks.number("std", std, low=0)
    updates = checks.integer("updates", updates, 0)
    learning_rate = checks.number("learning_rate", learning_rate, low=0)
    weight_decay = checks.number("weight_decay", weight_decay, low=0)
    momentum = checks.number("momentum", momentum, low=0, below=1)
    return std - updates * learning_rate * weight_decay * std / (1 - momentum)


def pseudo_pruning_rates(weights: Arrays, sparsity: float) -> Any:
    """Returns the sparsity each tensor would get under global ranking (paper, Fig. 2b).

    Nothing is pruned.

    Args:
        weights: Collection of finite float arrays.
        sparsity: Fraction to prune over all tensors together, in [0, 1).

    Returns:
        Fractions in [0, 1] (the paper plots percent), in a collection of the same kind.

    Raises:
        InputError: As `global_masks`.
    """
    return layer_sparsity(global_masks(weights, sparsity))
