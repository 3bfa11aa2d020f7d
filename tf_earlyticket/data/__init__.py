"""Image data sets as `tf.data` streams whose every epoch is a function of (seed, epoch).

Importing this package imports neither TensorFlow nor TFDS; `load` does.
"""

from tf_earlyticket.data.catalog import (
    DatasetSpec,
    check_available,
    dataset_names,
    describe,
)
from tf_earlyticket.data.loading import load

__all__ = ["DatasetSpec", "check_available", "dataset_names", "describe", "load"]
