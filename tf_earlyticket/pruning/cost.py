"""What iterative pruning to the same sparsity would cost, in epochs."""

import math

from tf_earlyticket.pruning.schedule import check_integer, check_number


def iterative_pruning_rounds(final_sparsity: float, prune_fraction: float = 0.2) -> int:
    """Returns how many rounds iterative pruning (IP+WT) needs for `final_sparsity`.

    The smallest n with (1 - prune_fraction)^n <= 1 - final_sparsity (Frankle & Carbin, 2018).

    Args:
        final_sparsity: Fraction of prunable weights removed at the end, in [0, 1).
        prune_fraction: Fraction of the remaining weights removed per round, in (0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    final_sparsity = check_number("final_sparsity", final_sparsity, 0, 1)
    prune_fraction = check_number("prune_fraction", prune_fraction, 0, 1, open_low=True)
    rounds = math.log1p(-final_sparsity) / math.log1p(-prune_fraction)
    # 0.36 at 0.2 per round is exactly 2 rounds: float error must not make it a third.
    return math.ceil(rounds - 1e-9)


def iterative_sparsities(final_sparsity: float, prune_fraction: float = 0.2) -> list[float]:
    """Returns the sparsity after each round of iterative pruning (IP+WT), rising.

    Every round removes `prune_fraction` of the remaining weights; the last one as many as
    `final_sparsity` asks for.

    Args:
        final_sparsity: Fraction of prunable weights removed at the end, in [0, 1).
        prune_fraction: Fraction of the remaining weights removed per round, in (0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    rounds = iterative_pruning_rounds(final_sparsity, prune_fraction)
    return [1 - (1 - prune_fraction) ** n for n in range(1, rounds)] + [final_sparsity] * (
        rounds > 0
    )


def iterative_pruning_epochs(
    final_sparsity: float, epochs: int, prune_fraction: float = 0.2
) -> int:
    """Returns the training epochs of iterative pruning (IP+WT): (rounds + 1) * epochs.

    Dense training for `epochs`, then one retraining of `epochs` per round of
    `iterative_pruning_rounds`, the last of which trains the ticket itself (Frankle & Carbin,
    2018; the comparison of the paper's Table 4).

    Args:
        final_sparsity: Fraction of prunable weights removed at the end, in [0, 1).
        epochs: Epochs of one full training, >= 1.
        prune_fraction: Fraction of the remaining weights removed per round, in (0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    rounds = iterative_pruning_rounds(final_sparsity, prune_fraction)
    return (rounds + 1) * check_integer("epochs", epochs, 1)
