"""Scores: what a context computes and refuses, magnitudes of every float type."""

import ml_dtypes
import numpy as np
import pytest

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.scores import SCORES, ScoreContext, lamp, magnitude


def test_weights_are_by_name_or_by_index():
    weights = {"b": np.array([1.0]), "a": np.array([2.0])}
    context = ScoreContext(weights)
    assert list(context.weights) == ["b", "a"] and context.collection is weights
    assert list(ScoreContext([np.ones(1), np.ones(2)]).weights) == [0, 1]


def test_gradients_and_activations_are_computed_when_asked_and_once_a_request():
    asked = []

    def gradients(batches):
        asked.append(("gradients", batches))
        return {"a": np.full(1, float(batches))}

    def activations(batches):
        asked.append(("activations", batches))
        return {"a": np.full(1, -float(batches))}

    context = ScoreContext({"a": np.ones(1)}, gradients=gradients, activations=activations)
    assert asked == []
    assert context.gradients()["a"] == 1 and context.gradients(1)["a"] == 1
    assert context.gradients(batches=3)["a"] == 3 and context.gradients(3)["a"] == 3
    assert context.activations()["a"] == -1 and context.activations(1)["a"] == -1
    assert asked == [("gradients", 1), ("gradients", 3), ("activations", 1)]


@pytest.mark.parametrize("what", ["gradients", "activations"])
def test_what_nobody_can_compute_is_refused(what):
    context = ScoreContext({"a": np.ones(1)})
    with pytest.raises(InputError) as refused:
        getattr(context, what)()
    assert str(refused.value) == (
        f"The score asks for {what}: expected a model in training, by et.EarlyTicket or "
        "et.MaskUpdate(train_data=...), got weights alone."
    )
    with pytest.raises(InputError, match="^batches=0: expected an integer of at least 1.$"):
        getattr(context, what)(0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_weights_that_are_not_finite_are_refused_by_name(value, dtype):
    weights = {"ok": np.ones(2), "conv/kernel": np.array([1, value], dtype)}
    with pytest.raises(InputError, match=r"^weights\['conv/kernel'\]=array.*: expected finite num"):
        ScoreContext(weights)
    with pytest.raises(InputError, match=r"^weights\[1\]=array.*: expected finite numbers.$"):
        ScoreContext(list(weights.values()))


@pytest.mark.parametrize("dtype", [np.int64, bool, np.complex64, object])
def test_weights_of_other_types_are_refused(dtype):
    name = np.dtype(dtype).name
    expected = f"weights['a'].dtype='{name}': expected one of float16, bfloat16, float32, float64."
    with pytest.raises(InputError) as refused:
        ScoreContext({"a": np.ones(3, dtype)})
    assert str(refused.value) == expected


def test_unusable_collections_are_refused():
    for weights in ({}, []):
        with pytest.raises(InputError, match=r"^weights=.*: expected at least one array.$"):
            ScoreContext(weights)
    for weights in (np.ones(3), "abc", b"abc", 3, (w for w in [np.ones(2)])):
        with pytest.raises(InputError, match="^weights=.*expected a mapping or a sequence of arr"):
            ScoreContext(weights)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["f2"], np.float32),
        ([ml_dtypes.bfloat16], np.float32),
        (["f4"], np.float32),
        ([">f4"], np.float32),
        (["f8"], np.float64),
        (["f2", ml_dtypes.bfloat16, "f4"], np.float32),
        (["f2", "f8"], np.float64),
    ],
)
def test_magnitudes_are_exact_and_of_one_type_that_can_be_compared(types, expected):
    weights = [np.array([[-2.5, 1.0], [-0.0, 3.0]]).astype(kind).T for kind in types]
    scores = magnitude(ScoreContext(weights))
    assert list(scores) == list(range(len(types)))
    for score in scores.values():
        assert score.dtype == expected and score.dtype.isnative
        np.testing.assert_array_equal(score, [[2.5, 0.0], [1.0, 3.0]])


def test_the_tiniest_and_the_closest_magnitudes_stay_apart():
    weights = [np.array([1.0, 1.0 + 2**-52]), np.array([1e-45, 0], np.float32)]
    scores = magnitude(ScoreContext(weights))
    assert scores[0][1] > scores[0][0] and scores[1][0] > scores[1][1] == 0


def test_magnitude_is_a_score_by_name():
    assert SCORES.get("magnitude") is magnitude
    with pytest.raises(InputError, match="score='size': expected one of magnitude"):
        SCORES.get("size")


WEIGHTS = {"a": np.array([[1.0, -2.0], [3.0, 4.0]]), "b": np.array([[[0.5], [-1.0]]])}
GRADIENTS = {"a": np.array([[1.0, 1.0], [-1.0, 0.0]]), "b": np.array([[[2.0], [0.5]]])}
INPUTS = {"a": np.array([1.0, 10.0]), "b": np.array([2.0, 0.0])}


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("taylor", [[1, 2], [3, 0]], [1, 0.5]),
        ("snip", [[1, 2], [3, 0]], [1, 0.5]),
        ("movement", [[-1, 2], [3, 0]], [-1, 0.5]),
        ("wanda", [[1, 2], [30, 40]], [1, 0]),
    ],
)
def test_scores_that_look_at_data(name, a, b):
    asked = []

    def measure(values):
        return lambda batches: asked.append(batches) or values

    context = ScoreContext(WEIGHTS, gradients=measure(GRADIENTS), activations=measure(INPUTS))
    found = SCORES.get(name)(context, batches=7)
    np.testing.assert_allclose(found["a"], a)
    np.testing.assert_allclose(found["b"].ravel(), b)
    assert asked == [7]


def test_inputs_of_a_transposed_convolution_are_its_last_axis():
    context = ScoreContext({"a": np.ones((1, 2, 3))}, activations=lambda _: {"a": np.arange(3.0)})
    np.testing.assert_array_equal(SCORES.get("wanda")(context)["a"], [[[0, 1, 2]] * 2])
    square = {"a": np.ones((1, 3, 3))}, lambda _: {"a": np.arange(3.0)}
    context = ScoreContext(square[0], activations=square[1], inputs_last=["a"])
    np.testing.assert_array_equal(SCORES.get("wanda")(context)["a"], [[[0, 1, 2]] * 3])


def test_random_scores_are_the_same_each_time_and_differ_by_seed():
    score, context = SCORES.get("random"), ScoreContext(WEIGHTS)
    for key in WEIGHTS:
        np.testing.assert_array_equal(score(context)[key], score(context, seed=0)[key])
        assert (score(context)[key] != score(context, seed=1)[key]).all()


def test_lamp_is_the_share_of_what_is_not_smaller():
    found = lamp(ScoreContext({"a": np.array([[3.0, -1.0], [0.0, 2.0]]), "b": np.zeros((1, 2))}))
    np.testing.assert_allclose(found["a"], [[1, 1 / 14], [0, 4 / 13]])
    np.testing.assert_array_equal(found["b"], 0)
