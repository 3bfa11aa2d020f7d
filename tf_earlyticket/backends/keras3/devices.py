"""Several devices of JAX: each has all variables, and computes on its part of a batch."""

import contextlib

from tf_earlyticket.backends.keras3.compat import keras
from tf_earlyticket.backends.strategies import make_strategy


class DataParallel(keras.distribution.DataParallel):
    """Keras' own, with what a job asks of a `tf.distribute.Strategy`."""

    @property
    def num_replicas_in_sync(self) -> int:
        """The number of devices."""
        return self.device_mesh.devices.size


@contextlib.contextmanager
def data_parallel(strategy: str):
    """Gives a job all accelerators, or all CPU devices, or one device; see `Backend.devices`.

    Args:
        strategy: "mirrored", "one_device", or "auto": all accelerators if there are several.
    """
    devices = keras.distribution.list_devices()
    several = len(devices) > 1 and not devices[0].startswith("cpu")
    if strategy == "mirrored" or (strategy == "auto" and several):
        parallel = DataParallel(devices=devices)
        # Keras asks for it wherever variables are made and batches taken.
        with parallel.scope():
            yield parallel
    else:
        yield make_strategy("one_device")
