"""The data set a ticket was trained on: to calibrate with, and to test with."""

from collections.abc import Callable

import numpy as np

from tf_earlyticket.config import config_from_dict
from tf_earlyticket.data.catalog import check_available, load
from tf_earlyticket.data.streams import Data
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.preflight import check_config
from tf_earlyticket.tickets.ticket import Ticket

_CALIBRATION_EXAMPLES = 256
_BATCH = 100


def data_of(ticket: Ticket, data_dir: str | None) -> Data | None:
    """Returns the data set named by the config in the ticket's provenance; None if it has none.

    Raises:
        InputError: If the config cannot be used, or its data set is not there.
    """
    values = ticket.provenance.get("config")
    if values is None:
        return None
    config = config_from_dict({**values, "ticket": None} if isinstance(values, dict) else values)
    check_config(config)
    check_available(config.data.name, data_dir)
    return load(dataset_spec(config), data_dir, deterministic=True)


def calibration_inputs(data: Data) -> np.ndarray:
    """Returns held-out training images [examples, ...], float32, as the network takes them."""
    batches = [images.numpy() for images, _ in data.validation(_BATCH).take(3)]
    return np.concatenate(batches)[:_CALIBRATION_EXAMPLES]


def test_accuracy(data: Data, run: Callable[[np.ndarray], np.ndarray]) -> float:
    """Returns the fraction of test images to whose label `run` gives the greatest output."""
    right = total = 0
    for images, labels in data.test(_BATCH):
        right += int(np.sum(np.argmax(run(images.numpy()), axis=-1) == labels.numpy()))
        total += len(labels)
    return right / total
