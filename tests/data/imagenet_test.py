"""The ImageNet pipeline on a tiny data set of the same TFDS format."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket import data
from tf_earlyticket.errors import InputError

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_tiny_tfds.py"
_BATCH = 8


def _make(*args, **kwargs):
    spec = importlib.util.spec_from_file_location("make_tiny_tfds", _TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make(*args, **kwargs)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    # As many labels as images, so that a label identifies its image.
    _make(folder, examples_train=60, examples_test=11, labels_used=60)
    return folder


@pytest.fixture(scope="module")
def tiny(data_dir):
    spec = data.describe("imagenet2012", image_size=32, validation_examples=12)
    return data.load(spec, data_dir)


def _read(dataset):
    batches = list(dataset.as_numpy_iterator())
    return np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def _same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_the_counts_are_those_of_the_files(tiny):
    spec = tiny.spec
    assert (spec.train_examples, spec.validation_examples, spec.test_examples) == (48, 12, 11)
    assert spec.num_classes == 1000


def test_resuming_at_an_epoch_repeats_the_uninterrupted_stream(tiny):
    images, labels = _read(tiny.train(_BATCH, seed=3, last_epoch=3))
    resumed = _read(tiny.train(_BATCH, seed=3, first_epoch=3, last_epoch=3))
    assert _same(resumed, (images[96:], labels[96:]))


def test_process_wide_seeds_do_not_matter(tiny):
    streams = []
    for seed in (0, 1):
        tf.random.set_seed(seed)
        streams.append(_read(tiny.train(_BATCH, seed=3, last_epoch=1)))
    assert _same(*streams)


def test_each_epoch_is_a_permutation_and_epochs_and_seeds_differ(tiny):
    epochs = [
        _read(tiny.train(_BATCH, seed=seed, first_epoch=epoch, last_epoch=epoch))
        for seed, epoch in ((0, 1), (0, 2), (1, 1))
    ]
    assert all(len(set(labels)) == 48 for _, labels in epochs)
    orders = [tuple(labels) for _, labels in epochs]
    assert len(set(orders)) == 3
    sorted_images = [images[np.argsort(labels)] for images, labels in epochs]
    assert not np.array_equal(sorted_images[0], sorted_images[1])


def test_held_out_examples_are_not_trained_on(tiny):
    _, trained = _read(tiny.train(_BATCH, seed=0, last_epoch=1))
    _, held_out = _read(tiny.validation(5))
    assert len(held_out) == 12
    assert set(trained) | set(held_out) == set(range(60))


def test_probe_repeats_itself_and_has_the_training_spec(tiny):
    probe = tiny.probe(_BATCH, seed=3, epoch=2, fraction=0.5)
    assert probe.element_spec == tiny.train(_BATCH, seed=3).element_spec
    first = _read(probe)
    assert _same(_read(probe), first)
    assert len(first[1]) == len(set(first[1])) == 24
    later = _read(tiny.probe(_BATCH, seed=3, epoch=3, fraction=0.5))
    assert set(later[1]) == set(first[1]) and not _same(later, first)


def test_evaluation_sees_every_example_once(tiny):
    dataset = tiny.test(4)
    images, labels = _read(dataset)
    assert len(dataset) == 3
    assert images.shape == (11, 32, 32, 3) and images.dtype == np.float32
    assert sorted(labels) == list(range(11)) and labels.dtype == np.int32


def test_speed_may_come_before_order(data_dir):
    spec = data.describe("imagenet2012", image_size=32, validation_examples=12)
    ordered, fast = (data.load(spec, data_dir, deterministic=value) for value in (True, False))
    streams = [loaded.train(_BATCH, seed=3, last_epoch=2) for loaded in (ordered, fast)]
    assert [stream.options().deterministic for stream in streams] == [True, False]
    # Examples are the same ones, each once an epoch.
    _, labels = _read(streams[1])
    assert len(labels) == 96 and set(labels) == set(_read(streams[0])[1])
    assert sorted(_read(fast.test(4))[1]) == list(range(11))


def test_training_examples_can_be_limited(data_dir):
    spec = data.describe("imagenet2012", image_size=32, validation_examples=12, train_examples=16)
    limited = data.load(spec, data_dir)
    assert limited.spec.train_examples == 16 and limited.steps_per_epoch(_BATCH) == 2
    assert len(set(_read(limited.train(_BATCH, seed=0, last_epoch=1))[1])) == 16


def test_holding_out_more_than_there_is_names_the_limit(data_dir):
    with pytest.raises(InputError, match="validation_examples=25000.*from 0 to 59"):
        data.load(data.describe("imagenet2012"), data_dir)
