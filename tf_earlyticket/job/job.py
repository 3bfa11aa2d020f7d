"""`train_and_evaluate`: the main job from a config to a ticket with its report."""

import contextlib
import csv
import hashlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import tensorflow as tf

from tf_earlyticket.backends import backend_named, pruned
from tf_earlyticket.backends.batch_norm import recalibrate_batch_norm
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import DATASETS, load
from tf_earlyticket.data.streams import Data
from tf_earlyticket.deploy.artefacts import EXPORTED, kept_artefacts
from tf_earlyticket.deploy.export import export_ticket
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.files import (
    json_text,
    read_json,
    read_sealed,
    sha256,
    write_csv,
    write_json,
    write_sealed,
    write_text,
)
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.devices import config_for_replicas, output_directory
from tf_earlyticket.job.log import COLUMNS, TRAININGS, Display, write_outcome
from tf_earlyticket.job.phases import Run, retrain, search, train_dense, train_shrunk, train_ticket
from tf_earlyticket.job.preflight import check_one_ticket, check_run
from tf_earlyticket.job.results import (
    Evaluation,
    Origin,
    SearchResult,
    TrainingResult,
    build_report,
)
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.channels import LayerCost
from tf_earlyticket.report.figures import draw_all, drawn_figures
from tf_earlyticket.report.html import write_html
from tf_earlyticket.report.report import (
    Artefact,
    Report,
    Timing,
    environment,
    read_artefacts,
)
from tf_earlyticket.tickets.storage import Pictures
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
    flags: str = "",
    display: Display = Display(),  # noqa: B008, it is frozen
) -> dict:
    """Runs the main job, or continues it in a `workdir` that it was started in.

    Trains dense with probes, starts pruning where the detector says so (or, in mode `rewind`,
    retrains the rewound ticket), optionally finishes the dense training for comparison,
    evaluates on the test set once, exports the ticket and writes the report.

    Args:
        config: What to do.
        workdir: Directory of the run; see "The files of a run" in docs/commands.md.
        data_dir: Where TFDS data sets lie; default TFDS's own directory.
        strategy: Devices, see `make_strategy`.
        tpu: Name or address of the TPU, for strategy "tpu".
        command: Command line that repeats the run, for the report.
        flags: The same as the content of `flags.txt`; "": none is written.
        display: What to show meanwhile.

    Returns:
        The content of `report.json`.

    Raises:
        InputError: Before any work, for a config, data set or workdir that cannot be used.
        RunError: If training diverged, or something is gone that cannot be made again.
    """
    check_run(config, data_dir, strategy)
    check_one_ticket(config)
    with output_directory(strategy) as output:
        paths = RunPaths(workdir, output)
        paths.saved.check(config)
        report = _finished(paths.saved)
        if report is not None:
            return report
        backend = backend_named(config.model.keras)
        with backend.devices(strategy, tpu) as devices:
            trained = config_for_replicas(config, devices)
            data = load(dataset_spec(config), data_dir, deterministic=config.data.deterministic)
            run = Run(trained, paths, data, devices, display)
            backend.set_random_seed(config.seed)
            if config.train.deterministic:
                tf.config.experimental.enable_op_determinism()
            # What else the input could be wrong about shows while the network is built.
            run.prepare()
            paths.claim(config)
            with paths.locked():
                if flags and paths.writes:
                    write_text(paths.flags, flags)
                return _run(run, strategy, command)


def _run(run: Run, strategy: str, command: str) -> dict:
    """Runs the phases that are not finished and writes the report."""
    config, paths = run.config, run.paths
    found, retrained, dense = _train_phases(run)
    evaluation = run.result("evaluation", Evaluation)
    if evaluation is None or not run.is_whole("evaluation") or not _has_ticket(paths.saved):
        evaluation = _evaluate_and_export(run, found, retrained, dense)
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
        notes=_notes(config),
    )
    report.artefacts, report.bench = _of_the_ticket(paths.saved)
    write_csv(paths.metrics, rows + (dense.rows if dense else []), COLUMNS)
    write_json(paths.weight_statistics, found.weight_std)
    figures = draw_all(report, rows, found.weight_std, paths.figures)
    write_html(report, rows, found.weight_std, figures, paths.report_html)
    write_outcome(report, figures, paths.tensorboard)
    _write_report(paths, report, {}, paths.outcome())
    return report.to_json()


def _notes(config: Config) -> list[str]:
    notes = [NOTES[config.data.name]] if config.data.name in NOTES else []
    if batches := config.train.recalibrate_batch_norm:
        notes.append(
            f"After training, statistics of BatchNorm were estimated anew over {batches} batches "
            "of training data, also the dense network's. Curves over epochs are from before."
        )
    return notes


def _write_report(
    paths: RunPaths, report: Report, hashes: dict[str, str], changed: Sequence[Path]
) -> None:
    """Writes `report.json`, the last file of a run, and before it the hashes of all of them."""
    text = json_text(report.to_json())
    hashes |= {path.relative_to(paths.workdir).as_posix(): sha256(path) for path in changed}
    hashes[paths.report.name] = hashlib.sha256(text.encode()).hexdigest()
    write_sealed(paths.checksums, hashes)
    write_text(paths.report, text)


def _train_phases(
    run: Run,
) -> tuple[SearchResult, TrainingResult | None, TrainingResult | None]:
    """Returns the results of the search, of the ticket's retraining and of the dense baseline."""
    if run.config.ticket is not None:
        return train_ticket(run)
    found = search(run)
    if run.config.pruning.shrink_after_ramp:
        found = train_shrunk(run, found)
    retrained = retrain(run) if run.config.pruning.mode == "rewind" else None
    dense = train_dense(run, found) if run.config.train.dense_baseline else None
    return found, retrained, dense


def _finished(paths: RunPaths) -> dict | None:
    """Returns the report of a finished run all of whose files are there, unchanged, else None.

    Raises:
        RunError: If some are not, and nothing is there to make them of.
    """
    if not paths.report.exists():
        return None
    damaged = _damaged(paths)
    # Runs of before have no hashes.
    if not damaged and (paths.checksums.exists() or _has_ticket(paths)):
        with contextlib.suppress(InputError):
            return Report.read(paths.report).to_json()
        damaged = [paths.report]
    what = f"{damaged[0] if damaged else paths.ticket} is damaged or gone"
    if not paths.result("search").exists():
        raise RunError(
            f"{what}, and so is what it was made of: expected the checkpoints of the run; start "
            "again in a new --workdir."
        )
    logger.warning("%s; it is made again.", what)
    return None


def _damaged(paths: RunPaths) -> list[Path]:
    """Returns the files of a run that are gone or others than those that it ended with."""
    if not paths.checksums.exists():
        return []
    try:
        return paths.others_than(read_sealed(paths.checksums))
    except InputError:
        return [paths.checksums]


def _has_ticket(paths: RunPaths) -> bool:
    """Tells whether the ticket of a run is there, with its SavedModel, and undamaged."""
    with contextlib.suppress(InputError):
        Ticket.load(paths.ticket)
        return (paths.saved_model / "saved_model.pb").exists()
    return False


def _of_the_ticket(paths: RunPaths) -> tuple[list[Artefact], list[Timing]]:
    """Returns what `export` and `bench` added to the report, for one that is written again."""
    if paths.report.exists() and paths.report not in _damaged(paths):
        with contextlib.suppress(InputError):
            report = Report.read(paths.report)
            return report.artefacts, report.bench
    return read_artefacts(kept_artefacts(paths.ticket / EXPORTED, paths.ticket)), []


def _evaluate_and_export(
    run: Run, found: SearchResult, retrained: TrainingResult | None, dense: TrainingResult | None
) -> Evaluation:
    started = time.perf_counter()
    config = run.config
    dense_accuracy = _accuracy(run, "dense") if dense else None
    last = "shrunk" if run.rows("shrunk") else "search"
    accuracy = _accuracy(run, "retrain" if retrained else last)
    record = pruned(run.model).record
    record.rewind_weights = run.rewind_weights()
    origin = found.ticket or Origin(found.start_epoch, config.pruning.rewind_epoch)
    record.rewind_epoch, record.start_epoch = origin.rewind_epoch, origin.start_epoch
    record.start_reason = found.start_reason
    ticket = export_ticket(
        run.model,
        run.paths.ticket,
        provenance={"config": config.to_dict(), "test_accuracy": accuracy},
        pictures=_pictures(run.data),
    )
    result = Evaluation(
        ticket_accuracy=accuracy,
        dense_accuracy=dense_accuracy,
        sparsity=ticket.sparsity,
        layers=ticket.layers(),
        left_dense=ticket.provenance["left_dense"],
        network_sparsity=ticket.network_sparsity,
        costs=msgspec.convert(ticket.provenance["layers"], list[LayerCost]),
        seconds=time.perf_counter() - started,
    )
    # It is of these phases: one that had to end anew is evaluated anew.
    made_of = [run.paths.result(phase) for phase in TRAININGS if run.paths.result(phase).exists()]
    made = [path for path in run.paths.outcome() if path.is_relative_to(run.paths.ticket)]
    return run.finish("evaluation", result, [*made_of, *made])


def _pictures(data: Data) -> Pictures:
    known = DATASETS.get(data.spec.name)
    values = (data.spec.image_shape, known.mean, known.deviation, data.classes)
    return Pictures(*map(list, values))


def _accuracy(run: Run, phase: str) -> float:
    """Returns the accuracy on the test set of the network with which a phase ended."""
    if phase == "shrunk":
        run.small.put_back()
    else:
        run.restore(phase)
    train = run.config.train
    if train.recalibrate_batch_norm:
        data = run.data.probe(train.batch_size, seed=run.config.seed)
        recalibrate_batch_norm(run.model, data, train.recalibrate_batch_norm)
    test = run.data.test(train.batch_size)
    return run.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]


def add_to_report(
    ticket: Path,
    *,
    artefacts: Sequence[Artefact] | None = None,
    timings: Sequence[Timing] | None = None,
) -> bool:
    """Adds what was made of a ticket to `report.json` and `report.html` of its finished run.

    Args:
        ticket: Directory of the ticket; of the run's own, not of another that lies there.
        artefacts: They take the place of those of the same file.
        timings: They take the place of those in the same runtime, precision, batch and threads.

    Returns:
        Whether there is such a run.

    Raises:
        OSError: If they cannot be written.
    """
    paths = RunPaths(ticket.resolve().parent)
    if paths.ticket != ticket.resolve():
        return False
    try:
        report = Report.read(paths.report)
        with open(paths.metrics, newline="") as file:
            # As in the first report: the ticket's epochs.
            metrics = [row for row in csv.DictReader(file) if row["phase"] != "dense"]
        weight_std = read_json(paths.weight_statistics)
        hashes = read_sealed(paths.checksums) if paths.checksums.exists() else {}
    except (OSError, ValueError):
        return False
    changed = [paths.report_html]
    if artefacts is not None:
        report.artefacts = _joined(report.artefacts, artefacts, ("format", "file"))
    if timings is not None:
        which = ("runtime", "precision", "batch", "threads")
        report.bench = _joined(report.bench, timings, which)
        changed += draw_all(report, metrics, weight_std, paths.figures, ["timings"]).values()
    write_html(report, metrics, weight_std, drawn_figures(paths.figures), paths.report_html)
    # What else is damaged stays told.
    _write_report(paths, report, hashes, changed)
    return True


def _joined(before: Sequence, new: Sequence, which: tuple[str, ...]) -> list:
    """Returns what was there and what is new, which takes the place of what has the same fields."""

    def key(one) -> tuple:
        return tuple(getattr(one, field) for field in which)

    replaced = {key(one) for one in new}
    return [*(one for one in before if key(one) not in replaced), *new]
