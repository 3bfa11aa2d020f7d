"""Image data sets as `tf.data` streams whose every epoch is a function of (seed, epoch).

Importing this package imports neither TensorFlow nor TFDS; `load` does.
"""

from tf_earlyticket.data.catalog import (
    DATASETS,
    DatasetSpec,
    check_available,
    describe,
    load,
    register_dataset,
)

__all__ = ["DATASETS", "DatasetSpec", "check_available", "describe", "load", "register_dataset"]
