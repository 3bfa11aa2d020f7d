"""Which devices a run uses."""

import tensorflow as tf

from tf_earlyticket.errors import InputError
from tf_earlyticket.preflight import check_strategy


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
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
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
