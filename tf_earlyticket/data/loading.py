"""`load`: from a specification to data that can be streamed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tf_earlyticket.data.catalog import DatasetSpec
from tf_earlyticket.data.own_datasets import OWN_DATASETS

if TYPE_CHECKING:
    from tf_earlyticket.data.streams import Data


def load(
    spec: DatasetSpec, data_dir: str | Path | None = None, *, deterministic: bool = True
) -> Data:
    """Opens a data set; small sets are read into memory, nothing is downloaded.

    The `spec` of the returned data is the truth: where the files hold fewer
    examples than the original set (a tiny copy), its counts are theirs.

    Args:
        spec: from `describe`.
        data_dir: a TFDS data directory; None for `~/tensorflow_datasets`. Not
            used by "digits".
        deterministic: False lets streamed data (ImageNet) be handed on in the order in which
            reading and decoding finish.

    Raises:
        InputError: if the set is unknown, is not found, or holds too few
            examples for `spec.validation_examples`.
    """
    # Imported here, so that `tf_earlyticket.data` itself stays free of TensorFlow.
    if spec.name in OWN_DATASETS:
        from tf_earlyticket.data.in_memory import own_data

        return own_data(spec)
    if spec.name == "digits":
        from tf_earlyticket.data.digits import load_digits

        return load_digits(spec)
    if spec.name == "cifar10":
        from tf_earlyticket.data.cifar10 import load_cifar10

        return load_cifar10(spec, data_dir)
    from tf_earlyticket.data.imagenet import load_imagenet

    return load_imagenet(spec, data_dir, deterministic)
