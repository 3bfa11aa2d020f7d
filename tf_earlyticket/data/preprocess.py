"""Augmentation and normalisation; every random function is keyed and stateless."""

import tensorflow as tf

from tf_earlyticket.data.catalog import DATASETS

# Evaluation resizes the shorter side to 256 and takes the central 224; other
# image sizes keep this proportion.
_CENTER_FRACTION = 224 / 256


def normalize(images: tf.Tensor, name: str) -> tf.Tensor:
    """Returns (image - mean) / standard deviation with the constants of a data set.

    Args:
        images: numbers in 0..255, [..., height, width, channels], static but for
            the leading axes.
        name: of a registered data set.

    Returns:
        float32, the shape of `images`.
    """
    entry = DATASETS.get(name)
    mean = tf.constant(entry.mean, tf.float32)
    deviation = tf.constant(entry.deviation, tf.float32)
    # Constants of a whole image: broadcasting along an innermost axis of 3 is slow on CPU.
    shape = images.shape[-3:]
    scale = tf.broadcast_to(1.0 / deviation, shape)
    offset = tf.broadcast_to(-mean / deviation, shape)
    return tf.cast(images, tf.float32) * scale + offset


def random_crop_flip(images: tf.Tensor, key: tf.Tensor, *, pad: int, flip: bool) -> tf.Tensor:
    """Pads with black, crops back to the same size at a random place, flips at random.

    The place and the flip are drawn for each image.

    Args:
        images: uint8 [batch, height, width, channels], static but for the batch.
        key: integer key of shape [2].
        pad: pixels added on each side.
        flip: whether to mirror half of the images left to right.

    Returns:
        uint8, the shape of `images`.
    """
    _, height, width, channels = images.shape
    batch = tf.shape(images)[0]
    places = 2 * pad + 1
    draws = tf.random.stateless_uniform([batch, 3], key, alg="philox")
    top, left, mirrored = tf.unstack(tf.cast(draws * [places, places, 2], tf.int32), axis=1)
    padded = tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]])

    rows = tf.range(height) + top[:, None]
    columns = tf.range(width)[None]
    if flip:
        columns = tf.where(mirrored[:, None] == 1, width - 1 - columns, columns)
    columns = columns + left[:, None]
    # One gather of whole pixels for the batch: 10 times as fast as slicing image by image.
    lines = tf.range(batch)[:, None] * (height + 2 * pad) + rows
    pixels = lines[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    return tf.gather(tf.reshape(padded, [-1, channels]), pixels)


def decode_random_crop(jpeg: tf.Tensor, key: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes a random part of an image, resized and flipped at random.

    The part has 8 to 100 % of the area and a width to height ratio of 3/4 to 4/3.

    Args:
        jpeg: string [], the encoded image.
        key: integer key of shape [2].
        image_size: height and width of the result, pixels.

    Returns:
        float32 [image_size, image_size, 3] in 0..255.
    """
    keys = tf.random.split(key, 2, alg="philox")
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(jpeg),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=keys[0],
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    image = _decode_crop(jpeg, begin[0], begin[1], size[0], size[1], image_size)
    mirrored = tf.random.stateless_uniform([], keys[1], alg="philox") < 0.5
    # Twice as fast as a whole as tf.where, which makes the mirror image of every picture.
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def decode_center_crop(jpeg: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes the central part of an image as evaluation sees it.

    Resizing the shorter side to image_size * 256 / 224 and taking the centre gives
    the same up to rounding to whole pixels; here only what is used gets decoded.

    Args:
        jpeg: string [], the encoded image.
        image_size: height and width of the result, pixels.

    Returns:
        float32 [image_size, image_size, 3] in 0..255.
    """
    shape = tf.io.extract_jpeg_shape(jpeg)
    height, width = shape[0], shape[1]
    shorter = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(1, tf.cast(tf.round(_CENTER_FRACTION * shorter), tf.int32))
    return _decode_crop(jpeg, (height - side) // 2, (width - side) // 2, side, side, image_size)


def _decode_crop(
    jpeg: tf.Tensor,
    top: tf.Tensor,
    left: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    image_size: int,
) -> tf.Tensor:
    window = tf.stack([top, left, height, width])
    image = tf.io.decode_and_crop_jpeg(jpeg, window, channels=3)
    # Large crops shrink several times; without antialiasing that would keep single pixels only.
    image = tf.image.resize(image, [image_size, image_size], antialias=True)
    return tf.ensure_shape(image, [image_size, image_size, 3])
