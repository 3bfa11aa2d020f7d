"""The program `export`: makes a ticket's files for deployment."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from tf_earlyticket import checks
from tf_earlyticket.commands import command_line
from tf_earlyticket.config import config_from_dict
from tf_earlyticket.data.catalog import check_available, load
from tf_earlyticket.deploy import artefacts
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_bytes
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.preflight import find_data
from tf_earlyticket.pruning.masks import sparsity_in_words
from tf_earlyticket.tickets.ticket import Ticket

if TYPE_CHECKING:
    from tf_earlyticket.data.streams import Data

_CALIBRATION_EXAMPLES = 256
_BATCH = 100


def define_flags() -> None:
    """Defines the flags."""
    command_line.load_extensions()
    flags.DEFINE_string("ticket", None, "Directory of the ticket")
    flags.DEFINE_list("format", ["saved_model", "tflite"], "Formats, separated by commas")
    flags.DEFINE_string("output", None, "Where the files go; default DIR/exported of the ticket")
    flags.DEFINE_string("data_dir", None, "Where TFDS data sets lie; default TFDS's own directory")
    flags.DEFINE_string(
        "calibration", None, "FILE.npy of typical inputs [examples, ...] as the network takes them"
    )
    flags.DEFINE_integer("rounds", 20, "Rounds of the latency measurement", lower_bound=1)


def main(argv: list[str]) -> None:
    """Makes the files of the flags."""
    values = flags.FLAGS
    command_line.flags_only(argv)
    if not values.ticket:
        raise InputError("--ticket is missing: expected the directory of a ticket.")
    directory = Path(values.ticket)
    ticket = Ticket.load(directory)
    calibration = None
    if values.calibration:
        calibration = read_array(Path(values.calibration))
    artefacts.check_formats(values.format)
    output = Path(values.output or directory / artefacts.EXPORTED).absolute()
    artefacts.check_output(directory, output)
    command_line.import_tensorflow()

    from tf_earlyticket.job.job import add_to_report
    from tf_earlyticket.report.html import ARTEFACT_COLUMNS, artefact_rows
    from tf_earlyticket.report.report import environment, read_artefacts

    accuracy = None
    try:
        data = data_of(ticket, values.data_dir)
    except InputError as error:
        # The files can be made without it.
        print(f"Accuracy is not measured: {error}")
        data = None
    if data is not None:
        if calibration is None:
            calibration = calibration_inputs(data)

        def accuracy(run):
            return test_accuracy(data, run)

    result = artefacts.make_artefacts(
        directory,
        values.format,
        output,
        calibration=calibration,
        accuracy=accuracy,
        rounds=values.rounds,
        about={
            "command": command_line.command("export", sys.argv[1:]),
            "environment": environment("one_device", 1),
        },
    )
    found = read_artefacts(result["artefacts"])
    title = f"Ticket of sparsity {sparsity_in_words(ticket.sparsity, ticket.network_sparsity)}"
    command_line.print_table(ARTEFACT_COLUMNS, artefact_rows(found), title=title)
    print("Dense: the same network in the same number type with its pruned weights filled.")
    print(f"Files: {output}")
    try:
        if add_to_report(directory, artefacts=found):
            print(f"Added to the report: {directory.resolve().parent / 'report.html'}")
    except OSError as error:
        print(f"Not added to the report: {error}")


def data_of(ticket: Ticket, data_dir: str | None) -> Data | None:
    """Returns the data set named by the config in the ticket's provenance; None if it has none.

    Raises:
        InputError: If the config cannot be used, or its data set is not there.
    """
    values = ticket.provenance.get("config")
    if values is None:
        return None
    config = config_from_dict(values)
    # What else it names, as the file that training began with, may be gone.
    find_data(config, data_dir)
    with checks.prefixed("config.data."):
        spec = dataset_spec(config)
    check_available(config.data.name, data_dir)
    return load(spec, data_dir, deterministic=True)


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


def read_array(path: Path) -> np.ndarray:
    """Returns the array of a `.npy` file.

    Raises:
        InputError: If it cannot be read as an array of numbers.
    """
    content = read_bytes(path)
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"--calibration={path}: expected a .npy file of numbers, got: {error!s:.200}"
        ) from None
    if not isinstance(found, np.ndarray) or not found.ndim:
        raise checks.refuse("--calibration", str(path), "a .npy file of an array of examples")
    return found
