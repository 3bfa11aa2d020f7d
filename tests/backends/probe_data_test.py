"""`probe_dataset`: copies that yield the same every time and do not disturb the original."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket.backends.probe_data import probe_dataset, split_arrays
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


def test_a_function_is_asked_each_time():
    asked = []

    def function():
        asked.append(1)
        return base()

    make = probe_dataset(function, "train_data")
    assert numbers(make()) == numbers(make()) == numbers(base())
    assert len(asked) == 2


INPUTS, LABELS = np.arange(20.0).reshape(10, 2), np.arange(10)


class Batches:
    """A sequence as both Keras have it, which counts what is asked of it."""

    def __init__(self):
        self.asked, self.ends = [], 0

    def __len__(self):
        return 3

    def __getitem__(self, place):
        self.asked.append(place)
        return INPUTS[4 * place : 4 * place + 4], LABELS[4 * place : 4 * place + 4]

    def on_epoch_end(self):
        self.ends += 1


class Loader:
    """As torch's, whose sampler must not be asked."""

    batch_size = 4
    dataset = list(zip(INPUTS, LABELS, strict=True))

    @staticmethod
    def collate_fn(examples):
        return [np.stack(part) for part in zip(*examples, strict=True)]

    def __iter__(self):
        raise AssertionError

    __len__ = __iter__


FORMS = {
    "arrays": lambda: (INPUTS, LABELS),
    "list": lambda: [INPUTS, LABELS],
    "tensors": lambda: (tf.constant(INPUTS, tf.float32), tf.constant(LABELS)),
    "sequence": Batches,
    "loader": Loader,
    "function": lambda: lambda: (INPUTS, LABELS),
    "function of a sequence": lambda: Batches,
}


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("name", FORMS)
def test_what_fit_takes_yields_every_example_in_the_same_order_each_time(name, shuffled):
    options = {} if "sequence" in name else {"batch_size": 4}
    make = probe_dataset(FORMS[name](), "train_data", shuffled=shuffled, **options)
    found = [list(make().as_numpy_iterator()) for _ in range(2)]
    inputs, labels = (np.concatenate(part) for part in zip(*found[0], strict=True))
    assert make().cardinality() == len(found[0]) == 3
    assert inputs.dtype == np.float32
    np.testing.assert_array_equal(inputs, np.stack([2 * labels, 2 * labels + 1], axis=1))
    assert sorted(labels) == list(range(10))
    assert (list(labels) == list(range(10))) == (not shuffled)
    np.testing.assert_array_equal(labels, np.concatenate([batch[1] for batch in found[1]]))
    assert not make().options().autotune.enabled


def test_arrays_of_examples_with_weights_ragged_sparse_and_of_several_inputs():
    ragged = tf.ragged.constant([[1], [2, 2], [], [4]])
    sparse = tf.sparse.from_dense([[0, 1], [2, 0], [0, 0], [4, 4]])
    data = ({"one": np.arange(4), "two": [ragged, sparse]}, np.arange(4), np.ones(4))
    for shuffled in (True, False):
        make = probe_dataset(data, "train_data", batch_size=2, shuffled=shuffled)
        for inputs, labels, weights in make():
            np.testing.assert_array_equal(inputs["one"], labels)
            one, other = inputs["two"]
            assert isinstance(one, tf.RaggedTensor) and isinstance(other, tf.SparseTensor)
            assert one.row_lengths().numpy().tolist() == [[1, 2, 0, 1][n] for n in labels]
            np.testing.assert_array_equal(weights, [1, 1])


def test_a_sequence_is_read_by_place_only():
    sequence = Batches()
    make = probe_dataset(sequence, "train_data")
    list(make().take(1)), list(make())
    assert sequence.ends == 0 and set(sequence.asked) == {0, 1, 2}


def test_the_last_part_of_arrays_is_held_out():
    train, held_out = split_arrays((INPUTS, LABELS), 0.25, "train_data")
    assert train[1].tolist() == [0, 1, 2, 3, 4, 5, 6] and held_out[1].tolist() == [7, 8, 9]
    assert held_out[0].shape == (3, 2)
    for part in (0, 1, 0.99):
        with pytest.raises(InputError, match="validation_split"):
            split_arrays((INPUTS, LABELS), part, "train_data")
    with pytest.raises(InputError, match="train_data=.*expected arrays"):
        split_arrays(base(), 0.5, "train_data")


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


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (np.ones(3), "expected what fit takes"),
        ({"a": np.ones(3)}, "expected what fit takes"),
        (None, "expected what fit takes"),
        ((each for each in ()), "expected what fit takes"),
        ((np.ones(3),), r"expected \(inputs, labels\)"),
        ((np.ones(2), np.ones(3)), "has arrays of shapes .*expected as many examples"),
        ((np.ones(2), 3), "has arrays of shapes .*expected as many examples"),
        ((np.ones((0, 2)), np.ones(0)), "at least 1"),
    ],
)
def test_other_data_is_refused_by_name(data, words):
    with pytest.raises(InputError, match=f"train_data.*{words}"):
        probe_dataset(data, "train_data")


def test_what_a_function_returns_is_refused_by_name():
    with pytest.raises(InputError, match=r"train_data\(\)=3: expected what fit takes"):
        probe_dataset(lambda: 3, "train_data")()
    with pytest.raises(InputError, match=r"train_data\(\)"):
        probe_dataset(lambda: lambda: base(), "train_data")()
