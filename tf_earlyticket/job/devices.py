"""Which devices a run uses."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.cluster import is_chief
from tf_earlyticket.job.preflight import check_strategy


def make_strategy(name: str, tpu: str | None = None) -> tf.distribute.Strategy:
    """Returns the `tf.distribute` strategy of that name.

    Args:
        name: "auto" (all GPUs if there are several, else the one device there is), "one_device",
            "mirrored" (all GPUs, or all logical CPUs), "multi_worker" (from TF_CONFIG) or "tpu".
        tpu: Name or address of the TPU.

    Raises:
        InputError: If the name is unknown or there is no TPU of that name.
    """
    check_strategy(name)
    if name == "multi_worker":
        # Before anything else asks for devices: collectives must be set up first.
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu or "")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"--strategy=tpu: no TPU found ({str(error).splitlines()[0]}); expected --tpu "
            "with the name of one."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def config_for_replicas(config: Config, strategy: tf.distribute.Strategy) -> Config:
    """Returns the config with which the devices of a strategy train.

    Batch size and learning rate stay as they are unless `train.scale_with_replicas` asks for
    linear scaling (Goyal et al., 2017).

    Raises:
        InputError: If the replicas cannot have equal parts of the batch.
    """
    replicas, train = strategy.num_replicas_in_sync, config.train
    if train.scale_with_replicas:
        scaled = replace(
            train,
            batch_size=train.batch_size * replicas,
            learning_rate=train.learning_rate * replicas,
        )
        return replace(config, train=scaled)
    if train.batch_size % replicas:
        raise InputError(
            f"config.train.batch_size={train.batch_size}: expected a multiple of the {replicas} "
            "replicas, or config.train.scale_with_replicas=true."
        )
    return config


@contextlib.contextmanager
def output_directory(strategy: str) -> Iterator[Path | None]:
    """Gives workers that are not the chief a place to write to, until the end; others None.

    Args:
        strategy: Its name.
    """
    if is_chief(strategy):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tf_earlyticket_worker_") as folder:
        yield Path(folder)


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Returns once all workers have come here: what the chief wrote before is there to read."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        _meet(strategy)


@tf.function
def _meet(strategy: tf.distribute.Strategy) -> tf.Tensor:
    ones = strategy.run(lambda: tf.constant(1.0))
    return strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)
