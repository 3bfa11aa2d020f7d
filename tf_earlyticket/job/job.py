"""`train_and_evaluate`: the main job from a config to a ticket with its report."""

import csv
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tf_earlyticket.backends import backend_named, pruned, served_strategy
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import load
from tf_earlyticket.deploy.export import export_ticket
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_json, write_csv, write_json
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.devices import config_for_replicas, make_strategy, output_directory
from tf_earlyticket.job.log import COLUMNS, Display, write_outcome
from tf_earlyticket.job.phases import Run, retrain, search, train_dense, train_ticket
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.job.results import (
    Evaluation,
    Origin,
    SearchResult,
    TrainingResult,
    build_report,
)
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.report.figures import draw_all, drawn_figures
from tf_earlyticket.report.html import write_html
from tf_earlyticket.report.report import Artefact, Report, environment
from tf_earlyticket.tickets.ticket import Ticket

logger = logging.getLogger(__name__)

NOTES = {
    "cifar10": "CIFAR-10 accuracies depend on the copy of the data: one that went through JPEG "
    "compression gives slightly lower ones than the lossless original.",
}


def train_and_evaluate(
    config: Config,
    workdir,
    *,
    data_dir=None,
    strategy: str = "auto",
    tpu: str | None = None,
    command: str = "",
    display: Display = Display(),  # noqa: B008, it is frozen
) -> dict:
    """Runs the main job, or continues it in a `workdir` that it was started in.

    Trains dense with probes, starts pruning where the detector says so (or, in mode `rewind`,
    retrains the rewound ticket), optionally finishes the dense training for comparison,
    evaluates on the test set once, exports the ticket and writes the report.

    Args:
        config: What to do.
        workdir: Directory of the run; see "The files of a run" in the README.
        data_dir: Where TFDS data sets lie; default TFDS's own directory.
        strategy: Devices, see `make_strategy`.
        tpu: Name or address of the TPU, for strategy "tpu".
        command: Command line that repeats the run, for the report.
        display: What to show meanwhile.

    Returns:
        The content of `report.json`.

    Raises:
        InputError: Before any work, for a config, data set or workdir that cannot be used.
    """
    check_run(config, data_dir, strategy)
    devices = make_strategy(served_strategy(config.model.keras, strategy), tpu)
    trained = config_for_replicas(config, devices)
    with output_directory(strategy) as output:
        paths = RunPaths(workdir, output)
        paths.claim(config)
        with paths.locked():
            report = _finished(paths)
            if report is None:
                data = load(dataset_spec(config), data_dir, deterministic=config.data.deterministic)
                report = _run(Run(trained, paths, data, devices, display), strategy, command)
            return report


def _run(run: Run, strategy: str, command: str) -> dict:
    """Runs the phases that are not finished and writes the report."""
    config, paths = run.config, run.paths
    backend_named(config.model.keras).set_random_seed(config.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    found, retrained, dense = _train_phases(run)
    evaluation = run.result("evaluation", Evaluation) if _is_whole(paths.saved.ticket) else None
    if evaluation is None:
        evaluation = run.finish("evaluation", _evaluate_and_export(run, found, retrained, dense))
    rows = [*found.rows, *(retrained.rows if retrained else [])]
    report = build_report(
        config,
        search=found,
        retrain=retrained,
        dense=dense,
        evaluation=evaluation,
        environment=environment(strategy, run.strategy.num_replicas_in_sync),
        steps_per_epoch=run.steps_per_epoch,
        command=command,
        notes=[NOTES[config.data.name]] if config.data.name in NOTES else [],
    )
    write_csv(paths.metrics, rows + (dense.rows if dense else []), COLUMNS)
    write_json(paths.weight_statistics, found.weight_std)
    figures = draw_all(report, rows, found.weight_std, paths.figures)
    write_html(report, rows, found.weight_std, figures, paths.report_html)
    write_outcome(report, figures, paths.tensorboard)
    # Last: a report.json stands for a complete run.
    write_json(paths.report, report.to_json())
    return report.to_json()


def _train_phases(
    run: Run,
) -> tuple[SearchResult, TrainingResult | None, TrainingResult | None]:
    """Returns the results of the search, of the ticket's retraining and of the dense baseline."""
    if run.config.ticket is not None:
        return train_ticket(run)
    found = search(run)
    retrained = retrain(run) if run.config.pruning.mode == "rewind" else None
    dense = train_dense(run, found.start_epoch) if run.config.train.dense_baseline else None
    return found, retrained, dense


def _finished(paths: RunPaths) -> dict | None:
    """Returns the report of a finished run; what is damaged or gone is made anew, None tells."""
    if not paths.saved.report.exists() or not _is_whole(paths.saved.ticket):
        return None
    try:
        return Report.read(paths.saved.report).to_json()
    except InputError as error:
        logger.warning("%s; it is written anew.", error)
        return None


def _is_whole(ticket: Path) -> bool:
    """Tells whether the ticket of a run is there, with its SavedModel, and undamaged."""
    try:
        Ticket.load(ticket)
    except InputError as error:
        if ticket.exists():
            logger.warning("%s; the ticket is exported anew.", error)
        return False
    return (ticket / "saved_model" / "saved_model.pb").exists()


def _evaluate_and_export(
    run: Run, found: SearchResult, retrained: TrainingResult | None, dense: TrainingResult | None
) -> Evaluation:
    started = time.perf_counter()
    config = run.config
    dense_accuracy = _accuracy(run, "dense") if dense else None
    accuracy = _accuracy(run, "retrain" if retrained else "search")
    record = pruned(run.model).record
    record.rewind_weights = run.rewind_weights()
    origin = found.ticket or Origin(found.start_epoch, config.pruning.rewind_epoch)
    record.rewind_epoch, record.start_epoch = origin.rewind_epoch, origin.start_epoch
    record.start_reason = found.start_reason
    ticket = export_ticket(
        run.model,
        run.paths.ticket,
        provenance={"config": config.to_dict(), "test_accuracy": accuracy},
    )
    return Evaluation(
        ticket_accuracy=accuracy,
        dense_accuracy=dense_accuracy,
        sparsity=ticket.sparsity,
        layers=ticket.layers(),
        left_dense=ticket.provenance["left_dense"],
        seconds=time.perf_counter() - started,
    )


def _accuracy(run: Run, phase: str) -> float:
    """Returns the accuracy on the test set of the network with which a phase ended."""
    run.restore(phase)
    test = run.data.test(run.config.train.batch_size)
    return run.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]


def add_to_report(workdir: Path, artefacts: Sequence[Artefact]) -> bool:
    """Adds artefacts to `report.json` and `report.html` of a finished run.

    Returns:
        Whether there is such a run.
    """
    paths = RunPaths(workdir)
    try:
        report = Report.read(paths.saved.report)
        with open(paths.metrics, newline="") as file:
            metrics = list(csv.DictReader(file))
        weight_std = read_json(paths.weight_statistics)
    except (OSError, ValueError):
        return False
    report.artefacts = list(artefacts)
    write_html(report, metrics, weight_std, drawn_figures(paths.figures), paths.report_html)
    write_json(paths.report, report.to_json())
    return True
