"""Masks against which a ticket has to prove itself: as sparse as it, but not found by magnitude."""

from collections.abc import Callable

import numpy as np

from tf_earlyticket.pruning.masks import Arrays, match_masks, repack


def random_masks(masks: Arrays, seed: int) -> dict | list:
    """Returns masks that keep as many weights of each tensor, at places drawn at random.

    What a ticket gains over these is due to more than its per-layer sparsities (Frankle & Carbin,
    2018).

    Args:
        masks: Collection of bool or 0/1 arrays, 1 = kept.
        seed: Of the draw, >= 0.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """
    return _rearranged(masks, seed, lambda generator, mask: generator.permutation(mask.ravel()))


def shuffled_masks(masks: Arrays, seed: int) -> dict | list:
    """Returns masks whose places are shuffled within each output channel.

    Keeps also how many weights each filter (index along the last axis) has left, which
    `random_masks` does not.

    Args:
        masks: Collection of bool or 0/1 arrays [..., c_out], 1 = kept.
        seed: Of the shuffle, >= 0.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """

    def shuffle(generator: np.random.Generator, mask: np.ndarray) -> np.ndarray:
        channels = mask.shape[-1] if mask.ndim else 1
        return generator.permuted(mask.reshape(-1, channels), axis=0)

    return _rearranged(masks, seed, shuffle)


def _rearranged(
    masks: Arrays, seed: int, rearrange: Callable[[np.random.Generator, np.ndarray], np.ndarray]
) -> dict | list:
    found = match_masks("masks", masks, "masks", masks)
    generator = np.random.default_rng(seed)
    return repack(
        masks, {key: rearrange(generator, mask).reshape(mask.shape) for key, mask in found.items()}
    )
