"""What every stream promises, on a data set whose labels are the example's number."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket.data.catalog import DatasetSpec
from tf_earlyticket.data.in_memory import InMemoryData, Split
from tf_earlyticket.errors import InputError

_ROOT = Path(__file__).resolve().parents[2]
_TRAIN, _VALIDATION, _TEST, _BATCH = 37, 10, 7, 5

_MIRRORED = """
import numpy as np
import tensorflow as tf
from tf_earlyticket import data

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_visible_devices([], "GPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
digits = data.load(data.describe("digits", train_examples=64))
streams = [
    digits.train(16, seed=0, last_epoch=2),
    digits.probe(16, seed=0, fraction=0.5),
    digits.validation(64),
]
for stream in streams:
    expected = list(stream.as_numpy_iterator())
    shared = list(strategy.experimental_distribute_dataset(stream))
    assert len(shared) == len(expected)
    for replicas, batch in zip(shared, expected):
        for part, whole in zip(replicas, batch):
            local = strategy.experimental_local_results(part)
            np.testing.assert_array_equal(np.concatenate(local), whole)
"""


def _split(start, count):
    random = np.random.RandomState(start)
    images = random.randint(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return Split(images, np.arange(start, start + count))


@pytest.fixture(scope="module")
def numbered():
    spec = DatasetSpec("cifar10", 100, (8, 8, 3), _TRAIN, _VALIDATION, _TEST)
    return InMemoryData(
        spec,
        train=_split(0, _TRAIN),
        validation=_split(_TRAIN, _VALIDATION),
        test=_split(_TRAIN + _VALIDATION, _TEST),
    )


def _read(dataset):
    batches = list(dataset.as_numpy_iterator())
    return np.stack([b[0] for b in batches]), np.stack([b[1] for b in batches])


def _same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_resuming_at_an_epoch_repeats_the_uninterrupted_stream(numbered):
    steps = numbered.steps_per_epoch(_BATCH)
    images, labels = _read(numbered.train(_BATCH, seed=3, last_epoch=5))
    resumed = _read(numbered.train(_BATCH, seed=3, first_epoch=4, last_epoch=5))
    assert _same(resumed, (images[3 * steps :], labels[3 * steps :]))


def test_the_endless_stream_begins_like_the_finite_one(numbered):
    endless = numbered.train(_BATCH, seed=3, first_epoch=2)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    finite = numbered.train(_BATCH, seed=3, first_epoch=2, last_epoch=3)
    assert _same(_read(endless.take(len(finite))), _read(finite))


def test_process_wide_seeds_do_not_matter(numbered):
    tf.keras.utils.set_random_seed(1)
    first = _read(numbered.train(_BATCH, seed=3, last_epoch=1))
    tf.keras.utils.set_random_seed(2)
    assert _same(_read(numbered.train(_BATCH, seed=3, last_epoch=1)), first)


def test_each_epoch_visits_distinct_examples_in_another_order(numbered):
    steps = numbered.steps_per_epoch(_BATCH)
    assert steps == 7
    _, labels = _read(numbered.train(_BATCH, seed=0, last_epoch=20))
    epochs = labels.reshape(20, steps * _BATCH)
    assert all(len(set(epoch)) == steps * _BATCH for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 20
    # The two examples that each epoch drops change, so all are seen.
    assert set(epochs.ravel()) == set(range(_TRAIN))


def test_an_epoch_without_a_rest_is_a_permutation(numbered):
    _, labels = _read(numbered.train(_TRAIN, seed=0, last_epoch=1))
    assert sorted(labels.ravel()) == list(range(_TRAIN))


def test_augmentation_differs_between_epochs_and_seeds(numbered):
    def by_example(seed, epoch):
        images, labels = _read(
            numbered.train(_TRAIN, seed=seed, first_epoch=epoch, last_epoch=epoch)
        )
        return images[0][np.argsort(labels[0])]

    reference = by_example(0, 1)
    for other in (by_example(0, 2), by_example(1, 1)):
        same = [np.array_equal(a, b) for a, b in zip(reference, other, strict=True)]
        assert np.mean(same) < 0.3


def test_seeds_above_32_bits_are_told_apart(numbered):
    first = _read(numbered.train(_BATCH, seed=1, last_epoch=1))
    assert not _same(_read(numbered.train(_BATCH, seed=1 + 2**32, last_epoch=1)), first)


def test_probe_repeats_itself_and_has_the_training_spec(numbered):
    probe = numbered.probe(_BATCH, seed=3, epoch=4, fraction=0.5)
    assert probe.element_spec == numbered.train(_BATCH, seed=3).element_spec
    assert probe.element_spec[0].shape == (_BATCH, 8, 8, 3)
    first = _read(probe)
    assert _same(_read(probe), first)
    assert _same(_read(numbered.probe(_BATCH, seed=3, epoch=4, fraction=0.5)), first)
    # round(0.5 * 37) = 18 examples hold three batches of five.
    assert len(first[1]) == len(probe) == 3


def test_probes_of_one_seed_use_the_same_part_in_another_order(numbered):
    batch = 18
    labels = {
        (seed, epoch): _read(numbered.probe(batch, seed=seed, epoch=epoch, fraction=0.5))[1].ravel()
        for seed in (3, 4)
        for epoch in (1, 2)
    }
    assert set(labels[3, 1]) == set(labels[3, 2])
    assert not np.array_equal(labels[3, 1], labels[3, 2])
    assert set(labels[3, 1]) != set(labels[4, 1])
    assert set(labels[3, 1]) <= set(range(_TRAIN))


def test_a_full_probe_does_not_repeat_the_training_epoch(numbered):
    training = _read(numbered.train(_BATCH, seed=3, first_epoch=2, last_epoch=2))
    assert not _same(_read(numbered.probe(_BATCH, seed=3, epoch=2)), training)


def test_evaluation_sees_every_example_once_in_order(numbered):
    for name, start, count in (("validation", 37, 10), ("test", 47, 7)):
        dataset = getattr(numbered, name)(4)
        batches = list(dataset.as_numpy_iterator())
        assert len(batches) == len(dataset)
        labels = np.concatenate([labels for _, labels in batches])
        np.testing.assert_array_equal(labels, np.arange(start, start + count))
        assert labels.dtype == np.int32 and batches[0][0].dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d.steps_per_epoch(38), "batch_size=38.*from 1 to 37"),
        (lambda d: d.steps_per_epoch(0), "batch_size=0"),
        (lambda d: d.train(5, seed=-1), "seed=-1"),
        (lambda d: d.train(5, seed=2**63), "seed=9223372036854775808"),
        (lambda d: d.train(5, seed=0, first_epoch=0), "first_epoch=0"),
        (lambda d: d.train(5, seed=0, first_epoch=3, last_epoch=2), "last_epoch=2.*of at least 3"),
        (lambda d: d.probe(5, seed=0, fraction=0.0), "fraction=0.0"),
        (lambda d: d.probe(5, seed=0, fraction=1.5), "fraction=1.5"),
        (
            lambda d: d.probe(5, seed=0, fraction=0.1),
            "fraction=0.1: .*batch of 5, not 4",
        ),
        (lambda d: d.validation(0), "batch_size=0"),
    ],
)
def test_bad_arguments_are_refused(numbered, call, message):
    with pytest.raises(InputError, match=message):
        call(numbered)


def test_two_mirrored_replicas_share_the_batches_of_one():
    # Logical devices must be made before TensorFlow starts, hence a process of its own.
    result = subprocess.run(
        [sys.executable, "-c", _MIRRORED], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
