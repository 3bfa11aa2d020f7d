from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tf_earlyticket import data
from tf_earlyticket.data.catalog import DATASETS
from tf_earlyticket.data.found import find
from tf_earlyticket.errors import InputError

_DATA_DIR = Path(__file__).resolve().parents[2].parent / "shared" / "tfds"

pytestmark = pytest.mark.skipif(
    not (_DATA_DIR / "cifar10").is_dir(), reason=f"no prepared cifar10 in {_DATA_DIR}"
)


def _read(part):
    builder = tfds.builder("cifar10", data_dir=_DATA_DIR)
    return tfds.as_numpy(builder.as_dataset(split=part, as_supervised=True, batch_size=-1))


@pytest.fixture(scope="module")
def cifar10():
    return data.load(data.describe("cifar10", train_examples=2000), _DATA_DIR)


def test_the_counts_are_those_asked_for(cifar10):
    assert cifar10.spec == data.describe("cifar10", train_examples=2000)
    assert cifar10.steps_per_epoch(128) == 15


def test_the_last_5000_training_images_are_held_out(cifar10):
    images, labels = _read("train[45000:]")
    np.testing.assert_array_equal(cifar10.arrays("validation").images, images)
    np.testing.assert_array_equal(cifar10.arrays("validation").labels, labels)


def test_training_starts_at_the_first_image_and_avoids_those_held_out(cifar10):
    train = cifar10.arrays("train")
    np.testing.assert_array_equal(train.images, _read("train[:2000]")[0])
    held_out = {image.tobytes() for image in cifar10.arrays("validation").images}
    assert not held_out & {image.tobytes() for image in train.images}


def test_evaluation_covers_the_original_test_split(cifar10):
    batches = list(cifar10.test(3000).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [3000, 3000, 3000, 1000]
    np.testing.assert_array_equal(np.concatenate([b[1] for b in batches]), _read("test")[1])


def test_training_batches_are_normalised(cifar10):
    batches = cifar10.train(128, seed=0, last_epoch=1).as_numpy_iterator()
    images = np.concatenate([images for images, _ in batches])
    # The black border that the crop brings in lowers the mean a little.
    assert -0.5 < images.mean() < 0.1 and 0.9 < images.std() < 1.3


def test_nothing_may_be_held_out():
    everything = data.load(
        data.describe("cifar10", validation_examples=0, train_examples=100), _DATA_DIR
    )
    assert everything.spec.validation_examples == 0
    with pytest.raises(InputError, match="validation_examples=0"):
        everything.validation(10)


def test_any_prepared_set_is_described_by_its_files(cifar10):
    find("tfds/cifar10", _DATA_DIR)
    spec = data.describe("tfds/cifar10", train_examples=2000, validation_examples=5000)
    assert (spec.num_classes, spec.image_shape, spec.test_examples) == (10, (32, 32, 3), 10_000)
    assert DATASETS.get("tfds/cifar10").classes == DATASETS.get("cifar10").classes
