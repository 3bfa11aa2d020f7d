"""Writes a tiny data set in TFDS's imagenet2012 format, to try that pipeline.

    python tools/make_tiny_tfds.py --output_dir=tiny_tfds
    python -m tf_earlyticket.train --data_dir=tiny_tfds ...

The images are synthetic: each class has a colour and stripes of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags

_CLASSES = 1000


def make(
    output_dir: str | Path,
    *,
    examples_train: int = 64,
    examples_test: int = 16,
    labels_used: int = 10,
    shards: int = 3,
    sides: tuple[int, int] = (80, 160),
    noise: float = 10.0,
    seed: int = 0,
) -> Path:
    """Writes `<output_dir>/imagenet2012/5.1.0` and returns that folder.

    Args:
        output_dir: a TFDS data directory, made if it does not exist.
        examples_train: images in the split "train".
        examples_test: images in the split "validation", which serves as test set.
        labels_used: labels run through 0..labels_used-1, of 1000 declared classes.
        shards: files per split.
        sides: least and greatest height and width in pixels.
        noise: standard deviation of the pixels' noise; more of it makes larger files.
        seed: of the synthetic images.
    """
    random = np.random.RandomState(seed)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(num_classes=_CLASSES),
            "file_name": tfds.features.Text(),
        }
    )
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        name="imagenet2012",
        version="5.1.0",
        features=features,
        split_datasets={
            "train": _examples(examples_train, labels_used, sides, noise, random),
            "validation": _examples(examples_test, labels_used, sides, noise, random),
        },
        data_dir=output_dir,
        download_config=tfds.download.DownloadConfig(num_shards=shards),
        description="Synthetic images in the format of imagenet2012.",
    )
    return Path(builder.data_dir)


def _examples(
    count: int,
    labels_used: int,
    sides: tuple[int, int],
    noise: float,
    random: np.random.RandomState,
) -> Iterator[tuple[int, dict[str, object]]]:
    for number in range(count):
        label = number % labels_used
        height, width = random.randint(sides[0], sides[1] + 1, size=2)
        colour = 64 + 127 * ((label >> np.arange(3)) & 1)
        stripes = 40 * np.sin(np.arange(width) * (0.1 + 0.1 * label))[None, :, None]
        grain = random.normal(0, noise, (height, width, 3))
        image = np.clip(colour + stripes + grain, 0, 255).astype(np.uint8)
        yield number, {"image": image, "label": label, "file_name": f"synthetic_{number}.JPEG"}


def main(argv: list[str]) -> None:
    """Writes the data set that the flags describe."""
    del argv
    folder = make(
        flags.FLAGS.output_dir,
        examples_train=flags.FLAGS.examples_train,
        examples_test=flags.FLAGS.examples_test,
    )
    print(f"Wrote {folder}")


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", None, "TFDS data directory to write into.", required=True)
    flags.DEFINE_integer("examples_train", 64, "Images for training.", lower_bound=1)
    flags.DEFINE_integer("examples_test", 16, "Images for the test.", lower_bound=1)
    app.run(main)
