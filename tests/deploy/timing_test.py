"""Alternating measurements and the ratios made of them."""

from collections import Counter

from tf_earlyticket.deploy import timing


def test_candidates_take_turns():
    calls = []

    def candidate(name):
        def measure():
            calls.append(name)
            return len(calls)

        return measure

    candidates = {name: candidate(name) for name in "ab"}
    values = timing.alternate(candidates, rounds=2, warmup=1)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert values == {"a": [3, 6], "b": [4, 5]}


def test_no_candidate_follows_another_or_itself_more_often():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) or 1.0 for name in "abc"}
    timing.alternate(candidates, rounds=18, warmup=0)
    assert "".join(calls[:18]) == "abccbabcaacbcabbac"
    # From one round to the next, every candidate meets itself and one other.
    borders = Counter(zip(calls[2::3], calls[3::3], strict=False))
    assert set(borders.values()) <= {2, 3} and len(borders) == 6


def test_a_ratio_is_the_median_of_the_rounds_with_an_interval():
    found = timing.ratio([2, 3, 8], [2, 2, 2])
    assert found == {"ratio": 1.5, "low": 1.0, "high": 4.0, "rounds": 3}
    # A machine that becomes three times as slow changes no ratio.
    assert timing.ratio([2, 6, 2], [1, 3, 1])["high"] == 2.0
