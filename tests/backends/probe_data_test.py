"""`probe_dataset`: copies that yield the same every time and do not disturb the original."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket.backends.probe_data import probe_dataset
from tf_earlyticket.errors import InputError


def numbers(dataset):
    return [np.asarray(element).ravel().tolist() for element in dataset]


def base():
    return tf.data.Dataset.range(24)


PIPELINES = {
    "plain": lambda: base().batch(4),
    "seeded": lambda: base().shuffle(24, seed=3).batch(4),
    "unseeded": lambda: base().shuffle(24).batch(4),
    "fixed_order": lambda: base().shuffle(24, reshuffle_each_iteration=False).batch(4),
    "two_shuffles": lambda: base().shuffle(24).map(lambda n: n * 2).shuffle(8).batch(4),
    "repeat": lambda: base().shuffle(24).repeat(3).batch(4).take(9),
    "prefetch": lambda: base().shuffle(24).batch(4).prefetch(tf.data.AUTOTUNE),
    "cache": lambda: base().cache().shuffle(24).batch(4),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_copies_yield_the_same_every_time(name):
    dataset = PIPELINES[name]()
    make = probe_dataset(dataset, "train_data")
    first = numbers(make())
    assert first == numbers(make()) == numbers(make())
    assert make().element_spec == dataset.element_spec
    assert make().cardinality() == dataset.cardinality()
    if name != "repeat":
        assert sorted(sum(first, [])) == sorted(sum(numbers(dataset), []))
    if "shuffle" in name or name == "unseeded":
        assert first != numbers(PIPELINES["plain"]())


@pytest.mark.parametrize("name", PIPELINES)
def test_reading_copies_does_not_change_the_originals_order(name):
    def epochs(probe):
        # The order of an unseeded shuffle comes from TensorFlow's seed and counter.
        tf.random.set_seed(11)
        dataset = PIPELINES[name]()
        make = probe_dataset(dataset, "train_data") if probe else None
        orders = []
        for _ in range(3):
            orders.append(numbers(dataset))
            if probe:
                numbers(make())
        return orders

    undisturbed = epochs(probe=False)
    assert epochs(probe=True) == undisturbed
    if name in ("seeded", "unseeded"):
        assert undisturbed[0] != undisturbed[1]


def test_a_generator_is_read_anew():
    reads = []

    def generator():
        reads.append(1)
        yield from range(6)

    spec = tf.TensorSpec((), tf.int64)
    dataset = tf.data.Dataset.from_generator(generator, output_signature=spec).shuffle(6).batch(2)
    make = probe_dataset(dataset, "train_data")
    assert numbers(make()) == numbers(make())
    assert len(reads) == 2


def test_options_are_kept():
    options = tf.data.Options()
    options.deterministic = False
    make = probe_dataset(base().with_options(options), "train_data")
    assert make().options().deterministic is False


def test_copies_may_be_made_and_read_while_the_original_is_read():
    dataset = base().shuffle(24, seed=5).batch(4)
    expected = [numbers(base().shuffle(24, seed=5).batch(4)) for _ in range(1)][0]
    make = probe_dataset(dataset, "train_data")
    seen = []
    for element in dataset:
        seen.append(element.numpy().tolist())
        numbers(make())
    assert seen == expected


def test_a_function_is_used_as_it_is():
    def function():
        return base()

    assert probe_dataset(function, "train_data") is function


def test_a_data_set_that_cannot_be_copied_is_used_itself_with_a_warning(monkeypatch, caplog):
    def fail(**arguments):
        raise tf.errors.InvalidArgumentError(None, None, "too large\nmore")

    monkeypatch.setattr(tf.raw_ops, "DatasetToGraphV2", fail)
    dataset = base().batch(4)
    with caplog.at_level(logging.WARNING, "tf_earlyticket"):
        make = probe_dataset(dataset, "validation_data")
    assert make() is dataset
    (record,) = caplog.records
    assert "validation_data cannot be copied (too large)" in record.getMessage()


@pytest.mark.parametrize("data", [np.ones(3), [1, 2], None, (np.ones(2), np.ones(2))])
def test_other_data_is_refused_by_name(data):
    with pytest.raises(InputError, match="train_data is a .*expected a batched tf.data.Dataset"):
        probe_dataset(data, "train_data")
