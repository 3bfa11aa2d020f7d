"""The devices that a job can be given by name, and TensorFlow's strategies for them.

TensorFlow is imported when a strategy is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
# Of those, what was tried with each Keras.
_SERVED = {"tf_keras": STRATEGIES, "keras": STRATEGIES[:3]}


def check_served(framework: str, name: str) -> None:
    """Checks that models of a Keras train under a strategy.

    Raises:
        InputError: If they do not.
    """
    if name not in _SERVED[framework]:
        names = ", ".join(_SERVED[framework])
        expected = f"one of {names} with config.model.keras={framework!r}"
        raise checks.refuse("--strategy", name, expected)


def make_strategy(name: str, tpu: str | None = None) -> tf.distribute.Strategy:
    """Returns the `tf.distribute` strategy of that name.

    Args:
        name: "auto" (all GPUs if there are several, else the one device there is), "one_device",
            "mirrored" (all GPUs, or all logical CPUs), "multi_worker" (from TF_CONFIG) or "tpu".
        tpu: Name or address of the TPU.

    Raises:
        InputError: If the name is unknown or there is no TPU of that name.
    """
    import tensorflow as tf

    checks.choice("--strategy", name, STRATEGIES)
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
