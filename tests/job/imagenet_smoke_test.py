"""ResNet18 and ResNet50 find a ticket on JPEG files in TFDS's imagenet2012 format."""

import importlib.util
from pathlib import Path

import pytest
import tensorflow as tf

from tf_earlyticket.job.job import train_and_evaluate

ROOT = Path(__file__).resolve().parents[2]


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    make_tiny_tfds = _module(ROOT / "tools" / "make_tiny_tfds.py")
    make_tiny_tfds.make(folder, examples_train=80, examples_test=20)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "resnet50"])
def test_the_smoke_config_ends_with_a_ticket(network, data_dir, tmp_path):
    config = _module(ROOT / "configs" / f"imagenet_{network}.py").get_config("smoke")
    config.data.image_size = 32
    config.data.train_examples = 64
    config.data.validation_examples = 16
    config.train.batch_size = 16
    report = train_and_evaluate(config, tmp_path / "run", data_dir=data_dir)
    assert report["ticket"]["sparsity"] == pytest.approx(0.8, abs=1e-6)
    assert report["cost"]["train_epochs"] == 4
    # All convolutions but the first; the dense layer at the end is left alone.
    assert len(report["ticket"]["layers"]) == {"resnet18": 19, "resnet50": 52}[network]
    loaded = tf.saved_model.load(tmp_path / "run" / "ticket" / "saved_model")
    assert loaded.serve(tf.zeros([2, 32, 32, 3])).shape == (2, 1000)
