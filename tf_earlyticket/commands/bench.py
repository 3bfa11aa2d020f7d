"""The program `bench`: tickets in several runtimes, beside the dense network and that again."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import flags

from tf_earlyticket import checks
from tf_earlyticket.commands import command_line
from tf_earlyticket.commands.export import (
    calibration_inputs,
    data_of,
    read_array,
    test_accuracy,
)
from tf_earlyticket.deploy import bench, vela
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.files import write_json
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.report.report import Dense, Report
from tf_earlyticket.tickets.storage import RECORD_FILE, SAVED_MODEL
from tf_earlyticket.tickets.ticket import Ticket

_EXAMPLES = 64


def define_flags() -> None:
    """Defines the flags."""
    command_line.load_extensions()
    estimators = f"besides, estimating: {', '.join(bench.ESTIMATORS)}"
    flags.DEFINE_list("runtime", list(bench.RUNTIMES), f"Runtimes, by commas; {estimators}")
    flags.DEFINE_list("precision", list(bench.PRECISIONS), "Number types of the files")
    flags.DEFINE_list("batch", ["1", "32"], "Examples a call")
    flags.DEFINE_list("threads", ["1", "all"], "Threads of the runtime")
    flags.DEFINE_integer("processes", 5, "Fresh processes for each runtime and precision")
    flags.DEFINE_integer("rounds", 10, "Rounds in each process, for each batch")
    flags.DEFINE_enum(
        "accelerator", bench.Options.accelerator, vela.ACCELERATORS, "What vela estimates for"
    )
    flags.DEFINE_string("json", None, "FILE for the numbers")
    flags.DEFINE_string("output", "bench.png", "The figure; empty: none")
    flags.DEFINE_string("data_dir", None, "Where TFDS data sets lie; default TFDS's own directory")
    flags.DEFINE_string(
        "calibration", None, "FILE.npy of typical inputs [examples, ...] as the network takes them"
    )


def main(argv: list[str]) -> None:
    """Measures the tickets that the arguments name."""
    values = flags.FLAGS
    if len(argv) < 2:
        raise InputError("TICKET: expected the directories of one or more tickets, got none.")
    command_line.check_file("output", values.output, ".png")
    command_line.check_file("json", values.json)
    options = _options(values)
    tickets = {}
    for name in argv[1:]:
        run = Path(name) / "ticket"
        # A name that `bench.measure` does not give to the dense network.
        name = f"./{name}" if name in bench.CONTROLS else name
        tickets[name] = run if (run / RECORD_FILE).exists() else Path(name)
    calibration = None if values.calibration is None else read_array(Path(values.calibration))
    loaded = {name: Ticket.load(directory) for name, directory in tickets.items()}
    for directory in tickets.values():
        if not (directory / SAVED_MODEL).is_dir():
            raise checks.refuse("TICKET", str(directory), f"one with a {SAVED_MODEL}/")
    command_line.import_tensorflow()

    from tf_earlyticket.job.job import add_to_report
    from tf_earlyticket.report import timings
    from tf_earlyticket.report.drawing import save
    from tf_earlyticket.report.report import environment, processor, read_timings

    rows: list[dict] = []
    failures: list[str] = []
    for name, directory in tickets.items():
        print(name)
        arguments = (options, calibration, failures)
        rows += measured(name, directory, loaded[name], *arguments, data_dir=values.data_dir)
    if failures and not rows:
        raise RunError("; ".join(failures))
    if not rows:
        raise InputError("nothing could be measured, see above.")
    estimated = [row for row in rows if row["runtime"] in bench.ESTIMATORS]
    rows = [row for row in rows if row["runtime"] in bench.RUNTIMES]
    found = read_timings(rows)
    if found:
        command_line.print_table(timings.TIMING_COLUMNS, timings.timing_rows(found), texts=3)
        command_line.print_table(timings.FILE_COLUMNS, timings.file_rows(found), texts=3)
    if estimated:
        command_line.print_table(
            timings.ESTIMATE_COLUMNS, timings.estimate_rows(estimated), texts=2
        )
        print("Estimated for one example, nothing was run: what the CPU does is in no cycle.")
    print("Dense: the same network in the same number type with its pruned weights filled.")
    if any(item.told.startswith("–") for item in found):
        print("–: the dense network differed from itself, so no speed-up is told; measure again.")
    if values.json:
        chosen = [bench.EVERY_RUNTIME[runtime] for runtime in options.runtimes]
        names = [name for runtime in chosen for name in runtime.distributions]
        machine = environment("one_device", 1, names) | {"processor": processor()}
        command = command_line.command("bench", sys.argv[1:])
        about = {"machine": machine, "options": vars(options), "command": command}
        write_json(Path(values.json), about | {"rows": rows, "estimates": estimated})
    for name, directory in tickets.items():
        own = [row for row in found if row.path == name]
        if own and add_to_report(directory, timings=own):
            print(f"Added to the report: {directory.resolve().parent / 'report.html'}")
    if values.output and (figure := timings.draw_timings(found)):
        save(figure, Path(values.output))
        print(f"Figure: {values.output}")
    if failures:
        # What was measured is written.
        raise RunError("; ".join(failures))


def _options(values: flags.FlagValues) -> bench.Options:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = [str(cores) if text == "all" else text for text in values.threads]
    options = bench.Options(
        values.runtime,
        values.precision,
        command_line.numbers("batch", values.batch),
        tuple(dict.fromkeys(command_line.numbers("threads", threads))),
        values.processes,
        values.rounds,
        values.accelerator,
    )
    return bench.with_runtimes(options, print)


def measured(
    name: str,
    directory: Path,
    ticket: Ticket,
    options: bench.Options,
    calibration: np.ndarray | None,
    failures: list[str] | None = None,
    data_dir: str | None = None,
) -> list[dict]:
    """Returns what was measured and estimated of a ticket, by `bench.measure` and `estimates`.

    Accuracies are measured where its data set is there.

    Args:
        name: What the rows call it.
        directory: The ticket's, with its SavedModel.
        ticket: It.
        options: What to measure.
        calibration: Typical inputs; None: of its data set, or else random ones.
        failures: As for `bench.measure`.
        data_dir: Where data sets of TFDS lie.

    Raises:
        InputError: If it takes other inputs.
    """
    from tf_earlyticket.deploy.saved_model import Network, filled_copy

    source, data, accuracy = directory / SAVED_MODEL, None, None
    network = Network(source)
    try:
        data = data_of(ticket, data_dir)
    except InputError as error:
        print(f"Accuracy is not measured: {error}")
    if data is not None:

        def accuracy(run):
            return test_accuracy(data, run)

        if calibration is None:
            calibration = calibration_inputs(data)
    inputs = network.example_inputs(_EXAMPLES) if calibration is None else calibration
    network.check_inputs(inputs)
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / SAVED_MODEL
        filled_copy(source, ticket, dense)
        networks = {name: source}
        rows = bench.measure(networks, dense, inputs, options, accuracy=accuracy, failures=failures)
        rows += bench.estimates(networks, dense, inputs, options)
    trained = dense_of_run(directory)
    for row in rows if trained else ():
        # Of 8 bits it is not known.
        if row["precision"] == "float32":
            row["dense_accuracy"] = trained.test_accuracy
    return rows


def dense_of_run(ticket: Path) -> Dense | None:
    """Returns the dense network of the run that made a ticket.

    Args:
        ticket: Its directory.

    Returns:
        None where no run has trained one, also for another ticket that lies in a run's directory.
    """
    paths = RunPaths(ticket.resolve().parent)
    if paths.ticket == ticket.resolve():
        # What lies beside it may be no report.
        with contextlib.suppress(InputError):
            return Report.read(paths.report).dense
    return None
