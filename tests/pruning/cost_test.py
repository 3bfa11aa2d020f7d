"""The analytic cost of iterative pruning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.cost import (
    iterative_pruning_epochs,
    iterative_pruning_rounds,
    iterative_sparsities,
)


@pytest.mark.parametrize(
    ("sparsity", "fraction", "rounds"),
    [
        (0.0, 0.2, 0),
        (0.2, 0.2, 1),
        (0.36, 0.2, 2),
        (0.488, 0.2, 3),
        (0.8, 0.2, 8),
        (0.9, 0.2, 11),
        (0.75, 0.5, 2),
        (0.99, 0.9, 2),
    ],
)
def test_rounds(sparsity, fraction, rounds):
    assert iterative_pruning_rounds(sparsity, fraction) == rounds


@given(st.integers(0, 60), st.floats(0.01, 0.9))
def test_float_error_adds_no_round(rounds, fraction):
    density = (1 - fraction) ** rounds
    if density > 1e-6:
        assert iterative_pruning_rounds(1 - density, fraction) == rounds


@given(st.floats(0, 0.999), st.floats(0.01, 0.9))
def test_rounds_are_the_fewest_that_reach_the_sparsity(sparsity, fraction):
    rounds = iterative_pruning_rounds(sparsity, fraction)
    assert (1 - fraction) ** rounds <= (1 - sparsity) * (1 + 1e-6)
    assert rounds == 0 or (1 - fraction) ** (rounds - 1) > (1 - sparsity) * (1 - 1e-6)


def test_epochs_are_dense_training_and_one_retraining_per_round():
    assert iterative_pruning_epochs(0.8, 90) == 9 * 90
    assert iterative_pruning_epochs(0.0, 200) == 200


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match=r"final_sparsity must be a number in \[0, 1\), got 1"):
        iterative_pruning_rounds(1)
    with pytest.raises(InputError, match=r"prune_fraction must be a number in \(0, 1\), got 0"):
        iterative_pruning_rounds(0.8, 0)
    with pytest.raises(InputError, match="epochs must be an integer >= 1, got 0"):
        iterative_pruning_epochs(0.8, 0)


def test_rounds_remove_a_part_of_what_remains_and_end_at_the_final_sparsity():
    assert iterative_sparsities(0.8, 0.5) == [0.5, 0.75, 0.8]
    assert iterative_sparsities(0.36) == pytest.approx([0.2, 0.36])
    assert iterative_sparsities(0.0) == []


@given(st.floats(0, 0.99), st.floats(0.01, 0.99))
def test_the_rounds_are_those_that_the_cost_counts(final_sparsity, prune_fraction):
    sparsities = iterative_sparsities(final_sparsity, prune_fraction)
    assert len(sparsities) == iterative_pruning_rounds(final_sparsity, prune_fraction)
    assert sparsities == sorted(sparsities)
    assert not sparsities or sparsities[-1] == final_sparsity
