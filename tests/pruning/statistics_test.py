"""Weight statistics and the low-gradient law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.statistics import predicted_std, pseudo_pruning_rates, weight_statistics


def test_statistics_of_all_weights():
    (row,) = weight_statistics([np.array([[1.0, -3.0], [0.0, 2.0]], np.float32)])
    assert row["mean"] == 0.0
    assert row["std"] == np.sqrt(14 / 4)
    assert (row["abs_mean"], row["abs_max"]) == (1.5, 3.0)
    assert (row["kept"], row["sparsity"]) == (4, 0.0)


def test_statistics_of_kept_weights_leave_out_the_pruned():
    weights = {"a": np.array([1.0, -3.0, 100.0, 0.0]), "b": np.array([5.0])}
    rows = weight_statistics(weights, {"b": np.array([0]), "a": np.array([1, 1, 0, 0])})
    expected = {"mean": -1.0, "std": 2.0, "abs_mean": 2.0, "abs_max": 3.0}
    assert rows["a"] == expected | {"kept": 2, "sparsity": 0.5}
    assert set(rows["b"].values()) == {0.0, 1.0} and rows["b"]["sparsity"] == 1.0


def test_statistics_are_python_numbers_for_every_float_type():
    rows = weight_statistics([np.zeros((0, 3)), np.full(70000, 4.0, np.float16)])
    assert rows[0] == dict.fromkeys(rows[0], 0.0)
    assert rows[1]["mean"] == 4.0 and rows[1]["std"] == 0.0
    assert {type(value) for row in rows for value in row.values()} == {int, float}


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(
        InputError, match=r"^masks\[0\].shape=\(2,\): expected \(3,\), as in weights.$"
    ):
        weight_statistics([np.ones(3)], [np.ones(2)])


def test_predicted_std_reproduces_the_slope_the_paper_reports():
    # Section 3.2: 1.5e-3 less in 782 updates, lambda 1e-4, m 0.9; at eta 0.01 from W_std 0.192.
    assert 0.192 - predicted_std(0.192, 782, 0.01, 1e-4, 0.9) == pytest.approx(1.5e-3, rel=0.01)
    assert predicted_std(0.5, 0, 0.1, 1e-4, 0.9) == 0.5


@given(st.floats(0.01, 1), st.floats(0.001, 0.1), st.floats(0, 0.95))
def test_predicted_std_agrees_with_simulated_weight_decay(std, learning_rate, momentum):
    weight = std
    velocity = 1e-4 * std / (1 - momentum)
    for _ in range(100):
        velocity = momentum * velocity + 1e-4 * weight
        weight -= learning_rate * velocity
    predicted = predicted_std(std, 100, learning_rate, 1e-4, momentum)
    assert std - predicted == pytest.approx(std - weight, rel=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": -0.1}, "std=-0.1: expected a number >= 0."),
        ({"updates": -1}, "updates=-1: expected an integer of at least 0."),
        ({"learning_rate": -1}, "learning_rate=-1: expected a number >= 0."),
        ({"weight_decay": -1}, "weight_decay=-1: expected a number >= 0."),
        ({"momentum": -0.1}, "momentum=-0.1: expected a number >= 0 and < 1."),
        ({"momentum": 1.0}, "momentum=1.0: expected a number >= 0 and < 1."),
    ],
)
def test_predicted_std_refuses_bad_arguments(change, message):
    arguments = dict.fromkeys(["std", "updates", "learning_rate", "weight_decay", "momentum"], 0)
    assert predicted_std(**arguments) == 0
    with pytest.raises(InputError) as refused:
        predicted_std(**arguments | change)
    assert str(refused.value) == message


def test_pseudo_pruning_rates_are_those_of_the_global_ranking():
    weights = {"small": np.array([0.1, 0.2, 0.3, 4.0]), "large": np.array([1.0, 2.0])}
    assert pseudo_pruning_rates(weights, 0.5) == {"small": 0.75, "large": 0.0}
