import numpy as np
import pytest
from sklearn import datasets

from tf_earlyticket import data
from tf_earlyticket.data.in_memory import stratified_order


def _rows(split):
    return {image.tobytes() for image in split.images}


@pytest.fixture(scope="module")
def digits():
    return data.load(data.describe("digits"))


def test_default_split_has_the_stated_sizes(digits):
    assert [len(digits.arrays(name).labels) for name in ("train", "validation", "test")] == [
        1097,
        200,
        500,
    ]
    assert digits.arrays("train").images.shape[1:] == (16, 16, 1)


def test_splits_are_disjoint_and_complete(digits):
    train, validation, test = (_rows(digits.arrays(n)) for n in ("train", "validation", "test"))
    assert not train & validation and not train & test and not validation & test
    assert len(train) + len(validation) + len(test) == len(
        np.unique(datasets.load_digits().data, axis=0)
    )


def test_every_split_has_all_classes_in_proportion(digits):
    for name in ("train", "validation", "test"):
        counts = np.bincount(digits.arrays(name).labels, minlength=10)
        assert counts.max() - counts.min() <= 0.05 * counts.sum()


def test_the_test_set_does_not_depend_on_what_is_held_out(digits):
    other = data.load(data.describe("digits", validation_examples=50, train_examples=64))
    assert other.spec.train_examples == len(other.arrays("train").labels) == 64
    np.testing.assert_array_equal(other.arrays("test").images, digits.arrays("test").images)


def test_training_images_are_normalised(digits):
    images = np.concatenate(
        [images for images, _ in digits.train(128, seed=0, last_epoch=1).as_numpy_iterator()]
    )
    assert abs(images.mean()) < 0.1 and abs(images.std() - 1) < 0.1


def test_larger_images_hold_the_same_digits(digits):
    large = data.load(data.describe("digits", image_size=32))
    assert large.arrays("test").images.shape == (500, 32, 32, 1)
    small = digits.arrays("test").images.astype(float)
    halved = large.arrays("test").images.reshape(500, 16, 2, 16, 2, 1).mean(axis=(2, 4))
    assert np.abs(halved - small).mean() < 8
    np.testing.assert_array_equal(large.arrays("test").labels, digits.arrays("test").labels)


def test_stratified_order_spreads_each_class_evenly():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    order = stratified_order(labels)
    assert sorted(order) == list(range(100))
    for start in range(0, 100, 20):
        counts = np.bincount(labels[order[start : start + 20]], minlength=3)
        assert np.all(np.abs(counts - [12, 6, 2]) <= 1)
    np.testing.assert_array_equal(stratified_order(labels), order)
