import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.paper.summary import parse_shard, shard_of, spread, summarize


def test_spread_on_a_literal():
    assert spread([1.0, 2.0, 6.0]) == {
        "mean": 3.0,
        "min": 1.0,
        "max": 6.0,
        "std": pytest.approx(2.6458, abs=1e-4),
        "count": 3,
    }
    assert spread([0.5])["std"] is None
    with pytest.raises(ValueError, match="at least one number"):
        spread([])


def test_records_are_grouped_by_their_keys_and_sorted():
    records = [
        {"s": 8, "mode": "b", "accuracy": 0.7, "seed": 0},
        {"s": 2, "mode": "a", "accuracy": 0.5, "seed": 0},
        {"s": 8, "mode": "b", "accuracy": 0.9, "seed": 1},
    ]
    rows = summarize(records, ["s", "mode"], ["accuracy"])
    assert [(row["s"], row["mode"], row["seeds"]) for row in rows] == [(2, "a", 1), (8, "b", 2)]
    assert rows[1]["accuracy_mean"] == pytest.approx(0.8)
    assert (rows[1]["accuracy_min"], rows[1]["accuracy_max"]) == (0.7, 0.9)
    assert rows[0]["accuracy_std"] is None and "seed" not in rows[0]
    assert summarize([], ["s"], ["accuracy"]) == []


@given(st.lists(st.integers()), st.integers(1, 7))
def test_the_shards_together_are_all_items_once(items, count):
    parts = [shard_of(items, index, count) for index in range(count)]
    assert sorted(sum(parts, [])) == sorted(items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("text", "shard"), [("0/1", (0, 1)), ("3/4", (3, 4)), ("07/10", (7, 10))])
def test_a_shard_is_read(text, shard):
    assert parse_shard(text) == shard


@pytest.mark.parametrize("text", ["", "1", "4/4", "0/0", "-1/4", "1/4/2", "a/b", "1.0/2"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ValueError, match="expected i/n with 0 <= i < n"):
        parse_shard(text)
