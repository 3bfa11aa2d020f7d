import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket.data import DATASETS
from tf_earlyticket.data.numbered import random_crop_flip
from tf_earlyticket.data.prepared import decode_center_crop, decode_random_crop
from tf_earlyticket.data.streams import normalize


def _plain_crop_flip(images, top, left, mirrored, pad):
    """The same augmentation, one image at a time."""
    height, width = images.shape[1:3]
    result = []
    for image, y, x, flipped in zip(images, top, left, mirrored, strict=True):
        crop = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))[y : y + height, x : x + width]
        result.append(crop[:, ::-1] if flipped else crop)
    return np.stack(result)


def _images(count, height, width, channels):
    shape = (count, height, width, channels)
    return np.random.RandomState(0).randint(1, 256, shape).astype(np.uint8)


def _explanations(image, augmented, pad, flip):
    """All (top, left, mirrored) that turn one image into its augmented form."""
    return [
        (top, left, mirrored)
        for top in range(2 * pad + 1)
        for left in range(2 * pad + 1)
        for mirrored in ((0, 1) if flip else (0,))
        if np.array_equal(
            _plain_crop_flip(image[None], [top], [left], [mirrored], pad)[0], augmented
        )
    ]


@pytest.mark.parametrize(
    ("shape", "pad", "flip"), [((6, 5, 3), 2, True), ((4, 4, 1), 1, False), ((5, 7, 3), 0, True)]
)
def test_every_image_is_a_padded_crop_of_itself(shape, pad, flip):
    images = _images(60, *shape)
    augmented = random_crop_flip(images, tf.constant([1, 2]), pad=pad, flip=flip)
    assert augmented.dtype == tf.uint8 and augmented.shape == images.shape
    found = [
        _explanations(image, result, pad, flip)
        for image, result in zip(images, augmented.numpy(), strict=True)
    ]
    assert all(len(explanations) == 1 for explanations in found)
    tops, lefts, mirrors = (set(values) for values in zip(*(f[0] for f in found), strict=True))
    assert tops == lefts == set(range(2 * pad + 1))
    assert mirrors == ({0, 1} if flip else {0})


def test_augmentation_equals_the_plain_form_for_known_draws():
    images = _images(8, 6, 6, 3)
    key = tf.constant([5, 6], tf.int64)
    draws = tf.random.stateless_uniform([8, 3], key, alg="philox").numpy()
    top, left, mirrored = np.floor(draws * [5, 5, 2]).astype(int).T
    expected = _plain_crop_flip(images, top, left, mirrored, pad=2)
    actual = random_crop_flip(images, key, pad=2, flip=True)
    np.testing.assert_array_equal(actual, expected)


def test_augmentation_depends_on_the_key_only():
    images = _images(16, 6, 6, 3)

    def augment(key):
        return random_crop_flip(images, tf.constant(key), pad=2, flip=True).numpy()

    tf.random.set_seed(1)
    first = augment([1, 2])
    tf.random.set_seed(2)
    np.testing.assert_array_equal(augment([1, 2]), first)
    assert not np.array_equal(augment([1, 3]), first)


@pytest.mark.parametrize("name", ("digits", "cifar10", "imagenet2012"))
def test_normalisation_subtracts_the_mean_and_divides_by_the_deviation(name):
    mean, deviation = (
        np.array(getattr(DATASETS.get(name), value)) for value in ("mean", "deviation")
    )
    images = _images(3, 4, 4, len(mean))
    actual = normalize(tf.constant(images), name)
    assert actual.dtype == tf.float32
    np.testing.assert_allclose(actual, (images - mean) / deviation, rtol=1e-5, atol=1e-5)


def _gradient_jpeg(height, width):
    """Red grows with the row, green with the column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, height)[:, None]
    image[..., 1] = np.linspace(0, 255, width)[None]
    return tf.io.encode_jpeg(image, quality=100)


@pytest.mark.parametrize(("height", "width"), [(128, 96), (96, 128), (150, 120)])
def test_centre_crop_equals_resizing_then_cropping(height, width):
    jpeg = _gradient_jpeg(height, width)
    size = 56
    shorter = 64
    scale = shorter / min(height, width)
    resized = tf.image.resize(
        tf.io.decode_jpeg(jpeg), [round(height * scale), round(width * scale)], antialias=True
    )
    expected = tf.image.resize_with_crop_or_pad(resized, size, size)
    actual = decode_center_crop(jpeg, size)
    assert actual.shape == (size, size, 3)
    np.testing.assert_allclose(actual[..., :2], expected[..., :2], atol=6)


def test_random_crop_stays_within_the_stated_area_and_ratio():
    jpeg = _gradient_jpeg(120, 160)
    areas = []
    flips = set()
    for number in range(40):
        image = decode_random_crop(jpeg, tf.constant([7, number]), 32).numpy()
        # Undo the gradients: the crop's extent in parts of the whole image.
        rows = (image[-1, :, 0].mean() - image[0, :, 0].mean()) / 255 * 32 / 31
        columns = (image[:, -1, 1].mean() - image[:, 0, 1].mean()) / 255 * 32 / 31
        flips.add(columns < 0)
        areas.append(rows * abs(columns))
        assert 0.7 < abs(columns) * 160 / (rows * 120) < 1.4
    assert flips == {True, False}
    assert 0.06 < min(areas) < 0.4 and 0.6 < max(areas) < 1.05


def test_random_crop_depends_on_the_key_only():
    jpeg = _gradient_jpeg(60, 80)
    tf.random.set_seed(1)
    first = decode_random_crop(jpeg, tf.constant([1, 2]), 32)
    tf.random.set_seed(2)
    np.testing.assert_array_equal(decode_random_crop(jpeg, tf.constant([1, 2]), 32), first)
    assert not np.array_equal(decode_random_crop(jpeg, tf.constant([1, 3]), 32), first)
