"""Measures the input pipelines: do they keep up with training, and with bare reading?

    python tools/benchmark_input.py

CIFAR-10: a training step of ResNet20 (bfloat16) with the pipeline, against the same step with its
batch already in memory. Random pictures in memory; what they show does not matter for time.

ImageNet: images per second of the training and evaluation pipelines, against TFDS reading the same
files without decoding (tfds_read), with decoding (tfds_decoded), and against what one would compose
from that: crop, resize and flip of whole decoded images (tfds_cropped). Synthetic JPEG files of
ImageNet's usual size, in its TFDS format, written to a temporary directory.
"""

import dataclasses
import tempfile
from pathlib import Path

import benchmarking
import make_tiny_tfds
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import app, flags

from tf_earlyticket import data
from tf_earlyticket.config import Config
from tf_earlyticket.data.in_memory import InMemoryData, Split
from tf_earlyticket.data.streams import normalize
from tf_earlyticket.deploy import timing
from tf_earlyticket.job.build import build_wrapped_model, dataset_spec

# The mean ImageNet picture has 400 x 350 pixels in about 110 KB.
_SIDES = (300, 500)
_NOISE = 25
# Batches at the beginning, which come from a pipeline that is still starting.
_UNCOUNTED = 4
_REFERENCES = ("tfds_read", "tfds_decoded", "tfds_cropped")
_IMAGE_SIZE = 224


def cifar10_step(batch_size: int, steps: int, rounds: int, model_name: str = "resnet20") -> dict:
    """Returns the step time with the pipeline against that with a batch in memory."""
    config = Config()
    config.data.name, config.model.name = "cifar10", model_name
    config.train.batch_size, config.train.dtype_policy = batch_size, "mixed_bfloat16"
    spec = dataclasses.replace(dataset_spec(config), train_examples=45_000)
    random = np.random.RandomState(0)

    def split(examples: int) -> Split:
        images = random.randint(0, 256, (examples, *spec.image_shape)).astype(np.uint8)
        return Split(images, random.randint(0, 10, examples).astype(np.int32))

    loaded = InMemoryData(
        spec,
        train=split(spec.train_examples),
        validation=split(spec.validation_examples),
        test=split(spec.test_examples),
    )
    model = build_wrapped_model(
        config, spec.train_examples // batch_size, tf.distribute.get_strategy()
    )
    step = model.make_train_function()
    stream = loaded.train(batch_size, seed=0)
    batch = next(iter(stream))
    streams = {
        "pipeline": iter(stream),
        "in_memory": iter(tf.data.Dataset.from_tensors(batch).cache().repeat()),
    }

    def train(iterator) -> float:
        def work() -> None:
            for _ in range(steps):
                logs = step(iterator)
            # Execution is asynchronous on accelerators.
            logs["loss"].numpy()

        return timing.seconds(work) / steps

    times = timing.alternate(
        {name: lambda iterator=iterator: train(iterator) for name, iterator in streams.items()},
        rounds,
    )
    return {
        "model": model_name,
        "batch_size": batch_size,
        "dtype_policy": config.train.dtype_policy,
        "steps_per_round": steps,
        "milliseconds": {name: 1e3 * benchmarking.median(t) for name, t in times.items()},
        **timing.ratio(times["pipeline"], times["in_memory"]),
    }


def imagenet(images: int, batch_size: int, rounds: int) -> dict:
    """Returns images per second of each way to read the same files."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = make_tiny_tfds.make(
            folder,
            examples_train=images + batch_size,
            examples_test=images,
            shards=8,
            sides=_SIDES,
            noise=_NOISE,
        )
        size = sum(path.stat().st_size for path in prepared.glob("*.tfrecord*"))
        ways = _ways(Path(folder), prepared, images, batch_size)
        batches = images // batch_size
        times = timing.alternate(
            {
                name: lambda way=way: _seconds_per_batch(way, batches) / batch_size
                for name, way in ways.items()
            },
            rounds,
        )
    return {
        "images": batches * batch_size,
        "batch_size": batch_size,
        "image_size": _IMAGE_SIZE,
        "kilobytes_per_image": size / (2 * images + batch_size) / 1e3,
        "images_per_second": {name: 1 / benchmarking.median(t) for name, t in times.items()},
        "speed_against": {
            reference: {
                # Of times, so that it is the speed of `name` in parts of that of the reference.
                name: timing.ratio(times[reference], times[name])
                for name in times
                if name != reference
            }
            for reference in _REFERENCES
        },
    }


def _ways(folder: Path, prepared: Path, images: int, batch_size: int) -> dict[str, tf.data.Dataset]:
    spec = data.describe("imagenet2012", image_size=_IMAGE_SIZE, validation_examples=batch_size)
    ordered, fast = (data.load(spec, folder, deterministic=value) for value in (True, False))
    builder = tfds.builder_from_directory(prepared)

    def read(decoders=None) -> tf.data.Dataset:
        return builder.as_dataset(
            split=f"train[:{images}]", decoders=decoders, shuffle_files=True, as_supervised=False
        )

    def batched(examples: tf.data.Dataset) -> tf.data.Dataset:
        return examples.repeat().batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def crop(example):
        image = example["image"]
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image),
            tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.slice(image, begin, size)
        image = tf.image.resize(image, [_IMAGE_SIZE, _IMAGE_SIZE], antialias=True)
        image = tf.image.random_flip_left_right(tf.ensure_shape(image, [_IMAGE_SIZE] * 2 + [3]))
        return normalize(image, "imagenet2012"), example["label"]

    return {
        "tfds_read": batched(read({"image": tfds.decode.SkipDecoding()})),
        # Their sizes only, since pictures of different sizes make no batch.
        "tfds_decoded": batched(read().map(lambda example: tf.shape(example["image"]))),
        "tfds_cropped": batched(read().map(crop, num_parallel_calls=tf.data.AUTOTUNE)),
        "train": ordered.train(batch_size, seed=0),
        "train_any_order": fast.train(batch_size, seed=0),
        "evaluation": ordered.test(batch_size).repeat(),
    }


def _seconds_per_batch(dataset: tf.data.Dataset, batches: int) -> float:
    # A new iterator each time, for one that waits would go on filling its buffers.
    iterator = iter(dataset)
    for _ in range(_UNCOUNTED):
        next(iterator)
    return timing.seconds(lambda: [next(iterator) for _ in range(batches)]) / batches


def main(argv: list[str]) -> None:
    """Measures, prints the ratios, writes the JSON."""
    del argv
    quick, rounds = flags.FLAGS.quick, flags.FLAGS.rounds
    network = "resnet8" if quick else "resnet20"
    results = {
        "cifar10_step": [
            cifar10_step(batch_size, 2 if quick else steps, rounds, network)
            for batch_size, steps in ((16, 60), (128, 15))
        ],
        "imagenet": imagenet(16 if quick else 512, 8 if quick else 64, rounds),
    }
    benchmarking.show(
        "A training step with the pipeline / with its batch in memory",
        ["network", "batch", "ratio"],
        [
            (row["model"], row["batch_size"], benchmarking.with_spread(row))
            for row in results["cifar10_step"]
        ],
    )
    read = results["imagenet"]
    benchmarking.show(
        f"ImageNet format, {read['kilobytes_per_image']:.0f} KB an image",
        ["way", "images/s", *(f"speed / {name}" for name in _REFERENCES)],
        [
            (
                name,
                f"{speed:.0f}",
                *(
                    benchmarking.with_spread(against[name]) if name in against else "1"
                    for against in read["speed_against"].values()
                ),
            )
            for name, speed in read["images_per_second"].items()
        ],
    )
    benchmarking.write(Path(flags.FLAGS.output), results)


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 11, "Counted rounds of each measurement.", lower_bound=1)
    flags.DEFINE_bool("quick", False, "Tiny sizes: shows that it runs; the numbers mean nothing.")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "input.json"), "The result file.")
    app.run(main)
