"""The Python code of the README runs as written."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tf_earlyticket.keras_compat import keras

README = Path(__file__).parents[1] / "README.md"


def test_the_code_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(64, 8, 8, 3)).astype("float32")
    labels = generator.integers(0, 4, size=64)
    layers = keras.layers
    my_model = keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    names = {
        "my_model": my_model,
        "optimizer": "sgd",
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "train": data.shuffle(64).batch(16),
        "val": data.batch(16),
        "images": images,
    }
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        # Fewer epochs: what is tested is that the code runs.
        exec(block.replace("epochs=60", "epochs=6"), names)
    assert names["predictions"].shape == (64, 4)
    assert names["ticket"].sparsity == pytest.approx(0.8, abs=0.01)
