import json
import types

import pytest

from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.job import devices
from tf_earlyticket.job.devices import config_for_replicas, output_directory


class Strategy:
    """Stands for a strategy with so many replicas."""

    def __init__(self, replicas):
        self.num_replicas_in_sync = replicas


def test_the_global_batch_and_the_learning_rate_stay_as_they_are():
    config = Config()
    assert config_for_replicas(config, Strategy(1)) == config
    assert config_for_replicas(config, Strategy(4)) == config


def test_linear_scaling_on_request():
    config = Config()
    config.train.scale_with_replicas = True
    scaled = config_for_replicas(config, Strategy(4)).train
    assert (scaled.batch_size, scaled.learning_rate) == (128, 0.4)
    assert config.train.batch_size == 32


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(InputError, match="batch_size=32: expected a multiple of the 3 replicas"):
        config_for_replicas(Config(), Strategy(3))


def test_devices_that_take_even_batches_only_need_data_that_they_can_share(monkeypatch):
    jax = types.SimpleNamespace(even_batches=True)
    monkeypatch.setattr(devices, "backend_named", lambda framework: jax)
    config = Config()
    config.data.validation_examples = 100
    assert config_for_replicas(config, Strategy(2)) == config
    config.data.validation_examples = 101
    assert config_for_replicas(config, Strategy(1)) == config
    with pytest.raises(InputError, match="'mirrored': expected one_device for 101 held-out"):
        config_for_replicas(config, Strategy(2))


def test_only_the_chief_has_no_directory_of_its_own(monkeypatch):
    def worker(index):
        cluster = {"worker": ["a:1", "b:1"]}
        task = {"type": "worker", "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))

    worker(0)
    with output_directory("multi_worker") as folder:
        assert folder is None
    worker(1)
    with output_directory("multi_worker") as folder:
        assert folder.is_dir()
    assert not folder.exists()
