"""Goals in place of a sparsity, on literals and by property."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.goals import Measured, best, next_to_train, parse_goal

NAMES = ("0.5", "0.7", "0.8", "0.9", "0.95")


def test_what_a_goal_says():
    goal = parse_goal("accuracy>=dense-0.5, size<=100kB")
    assert (goal.loss, goal.bytes, goal.accuracy) == (0.005, 100_000, None)
    assert goal.of_accuracy
    assert parse_goal("accuracy>=dense").loss == 0
    assert parse_goal("accuracy>=97.5").accuracy == 0.975
    assert parse_goal("size<=1.5MB").bytes == 1_500_000 and parse_goal("size<=10B").bytes == 10
    assert parse_goal("macs<=0.5").macs == 0.5
    latency = parse_goal("latency<=2ms@litert")
    assert (latency.latency, latency.runtime) == (2, "litert")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.8",
        "accuracy<=dense-0.5",
        "accuracy>=dense+0.5",
        "accuracy>=dense-0.5,accuracy>=dense-1",
        "accuracy>=120",
        "size<=100",
        "size<=0kB",
        "macs<=1.5",
        "macs<=0",
        "latency<=2ms",
        "latency<=2s@litert",
        "energy<=3J",
    ],
)
def test_what_is_no_goal_is_told_in_a_line(text):
    with pytest.raises(InputError, match="goal=.*: expected ") as error:
        parse_goal(text)
    assert "\n" not in str(error.value)


def test_what_is_missed_is_told_in_words():
    goal = parse_goal("accuracy>=dense-0.5,accuracy>=97,size<=1kB,macs<=0.5,latency<=2ms@litert")
    assert goal.missed(Measured()) == []
    assert goal.missed(Measured(0.975, 0.98, 1000, 0.5, 2.0)) == []
    assert goal.missed(Measured(0.96, 0.98, 1001, 0.51, 2.5)) == [
        "accuracy 96.00 %, 2.00 points below dense",
        "accuracy 96.00 %",
        "size 1,001 bytes",
        "0.510 of the multiply-adds",
        "latency 2.5 ms",
    ]


def test_one_example_less_still_meets_a_goal_of_accuracy():
    goal = replace(parse_goal("accuracy>=dense-0.5"), examples=300)
    assert goal.missed(Measured(299 / 300, 299 / 300)) == []
    (words,) = goal.missed(Measured(298 / 300, 299 / 300))
    assert words == (
        "accuracy 99.33 %, 0.33 points below dense, too near to the goal for 300 examples"
    )
    assert goal.missed(Measured(297 / 300, 299 / 300)) == [
        "accuracy 99.00 %, 0.67 points below dense"
    ]
    # Of many examples one is next to nothing; none has to be more accurate than dense.
    assert replace(goal, examples=5000).missed(Measured(0.9753, 0.98)) == []
    assert replace(parse_goal("accuracy>=dense"), examples=10).missed(Measured(0.9, 0.9)) == []
    goal = replace(parse_goal("accuracy>=97"), examples=100)
    assert goal.missed(Measured(0.98)) == []
    assert goal.missed(Measured(0.97)) == [
        "accuracy 97.00 %, too near to the goal for 100 examples"
    ]
    assert goal.missed(Measured(0.97, dense_accuracy=0.97)) == []
    assert replace(parse_goal("accuracy>=100"), examples=100).missed(Measured(1.0)) == []


def _accuracies(values, dense=0.98):
    return {name: Measured(value, dense) for name, value in zip(NAMES, values, strict=True)}


@pytest.mark.parametrize(("points", "examples"), [(1, 300), (2, 150), (0.5, 5000)])
def test_a_ticket_at_the_very_end_of_what_it_may_lose_has_met_the_goal(points, examples):
    goal = replace(parse_goal(f"accuracy>=dense-{points}"), examples=examples)
    most = round(points / 100 * examples) - 1
    for right in range(examples // 2, examples - most):
        # As a run keeps them.
        ticket, dense = (float(f"{n / examples:.7g}") for n in (right, right + most))
        assert goal.missed(Measured(ticket, dense)) == []
        below = float(f"{(right - 1) / examples:.7g}")
        assert "too near" in goal.missed(Measured(below, dense))[0]


def test_a_dense_network_at_the_goal_is_not_below_it():
    for percent in ("99.4", "98.4", "97.5"):
        goal = parse_goal(f"accuracy>={percent}")
        assert not goal.is_above(float(percent) / 100) and not goal.is_above(0.9999)
        assert goal.is_above(float(percent) / 100 - 0.001)
    assert not parse_goal("accuracy>=dense").is_above(0.1)


def test_of_goals_of_cost_that_are_all_missed_the_sparsest_comes_nearest():
    trained = {"0.5": Measured(0.99, bytes=500_000), "0.9": Measured(0.9, bytes=12_000)}
    assert best(parse_goal("size<=10kB"), trained, NAMES) == "0.9"


def test_the_search_begins_where_probes_say_and_goes_on_by_outcomes():
    goal = parse_goal("accuracy>=dense-0.5")
    predicted = _accuracies([0.98, 0.979, 0.97, 0.9, 0.5])
    assert next_to_train(goal, predicted, {}) == "0.7"
    trained = {"0.7": Measured(0.98, 0.98)}
    assert next_to_train(goal, predicted, trained) == "0.9"
    trained["0.9"] = Measured(0.97, 0.98)
    assert next_to_train(goal, predicted, trained) == "0.8"
    trained["0.8"] = Measured(0.976, 0.98)
    assert next_to_train(goal, predicted, trained) is None
    assert best(goal, trained, NAMES) == "0.8"
    # None should hold: the densest is the likeliest.
    assert next_to_train(goal, _accuracies([0.9] * 5), {}) == "0.5"


def test_without_an_accuracy_the_densest_is_wanted():
    goal = parse_goal("size<=100kB")
    unknown = {name: Measured() for name in NAMES}
    assert next_to_train(goal, unknown, {}) == "0.5"
    trained = {"0.5": Measured(bytes=200_000)}
    assert next_to_train(goal, unknown, trained) == "0.9"
    trained["0.9"] = Measured(bytes=90_000)
    assert next_to_train(goal, unknown, trained) == "0.8"
    trained["0.8"] = Measured(bytes=99_000)
    assert next_to_train(goal, unknown, trained) == "0.7"
    trained["0.7"] = Measured(bytes=150_000)
    assert next_to_train(goal, unknown, trained) is None
    assert best(goal, trained, NAMES) == "0.8"
    assert next_to_train(goal, unknown, {"0.5": Measured(bytes=90_000)}) is None


def test_goals_that_contradict_each_other_end_with_the_nearest():
    goal = parse_goal("accuracy>=dense-0.5,size<=100kB")
    predicted = _accuracies([0.98] * 5)
    trained = {"0.95": Measured(0.97, 0.98, 90_000)}
    assert next_to_train(goal, predicted, trained) == "0.8"
    trained["0.8"] = Measured(0.979, 0.98, 150_000)
    assert next_to_train(goal, predicted, trained) == "0.9"
    trained["0.9"] = Measured(0.976, 0.98, 120_000)
    assert next_to_train(goal, predicted, trained) is None
    assert best(goal, trained, NAMES) == "0.8"


@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
    st.lists(st.floats(0, 1), min_size=5, max_size=5).map(lambda v: sorted(v, reverse=True)),
    st.floats(0, 100),
)
def test_the_sparsest_that_meets_it_is_found_whatever_is_predicted(predicted, real, points):
    """Where denser tickets are no less accurate, as is assumed."""
    goal = parse_goal(f"accuracy>=dense-{points:.3f}")
    known, truth, trained = _accuracies(predicted, 1.0), _accuracies(real, 1.0), {}
    while (name := next_to_train(goal, known, trained)) is not None:
        assert name not in trained
        trained[name] = truth[name]
    meeting = [name for name in NAMES if not goal.missed(truth[name])]
    found = best(goal, trained, NAMES)
    if meeting:
        assert found == meeting[-1] and len(trained) <= 4
    else:
        assert goal.missed(trained[found])
