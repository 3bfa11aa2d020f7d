"""`train_and_evaluate`: the main job from a config to a ticket with its report."""

import dataclasses
import json
import time

import tensorflow as tf

from tf_earlyticket.backends import backend_named, pruned
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import load
from tf_earlyticket.deploy.export import export_ticket
from tf_earlyticket.files import write_json
from tf_earlyticket.job.build import dataset_spec
from tf_earlyticket.job.devices import config_for_replicas, make_strategy, output_directory
from tf_earlyticket.job.display import Display
from tf_earlyticket.job.phases import retrain, search, train_dense, train_on
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.job.ticket_start import adopt_ticket
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.report.build import build_report, environment
from tf_earlyticket.report.figures import draw_all
from tf_earlyticket.report.html import write_html
from tf_earlyticket.report.tensorboard import write_outcome

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
    # Keras 3 has its own way of using several devices.
    devices = make_strategy("one_device" if config.model.keras == "keras" else strategy, tpu)
    trained = config_for_replicas(config, devices)
    with output_directory(strategy) as output:
        paths = RunPaths(workdir, output)
        paths.claim(config)
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
    rows = found["rows"] + (retrained["rows"] if retrained else [])
    evaluation = run.result("evaluation") or _evaluate_and_export(run, found)
    report = build_report(
        config.to_dict(),
        search=found,
        retrain=retrained,
        dense=dense,
        evaluation=evaluation,
        environment=environment(strategy, run.strategy.num_replicas_in_sync),
        steps_per_epoch=run.steps_per_epoch,
        command=command,
        notes=[NOTES[config.data.name]] if config.data.name in NOTES else [],
    )
    write_json(paths.weight_statistics, found["weight_std"])
    figures = draw_all(report, rows, found["weight_std"], paths.figures)
    write_html(report, rows, found["weight_std"], figures, paths.report_html)
    write_outcome(report, figures, paths.tensorboard)
    # Last: a report.json stands for a complete run.
    write_json(paths.report, report)
    return report


def _train_phases(run: Run) -> tuple[dict, dict | None, dict | None]:
    """Returns the results of the search, of the ticket's retraining and of the dense baseline."""
    config = run.config
    if config.ticket is not None:
        found, retrained = run.result("search"), run.result("retrain")
        if retrained is None:
            found = run.finish("search", adopt_ticket(run))
            retrained = train_on(run, "retrain", [])
        dense = None
        if config.train.dense_baseline:
            # On a model of its own: nothing of it comes from the ticket.
            fresh = dataclasses.replace(run)
            dense = run.result("dense") or train_on(fresh, "dense", retrained["rows"])
        return found, retrained, dense
    found = run.result("search") or search(run)
    rows = found["rows"]
    retrained = None
    if config.pruning.mode == "rewind":
        retrained = run.result("retrain") or retrain(run, rows)
        rows = rows + retrained["rows"]
    dense = None
    if config.train.dense_baseline:
        dense = run.result("dense") or train_dense(run, rows)
    return found, retrained, dense


def _finished(paths: RunPaths) -> dict | None:
    try:
        return json.loads(paths.saved_report.read_text())
    except (FileNotFoundError, ValueError):
        # A damaged report is written anew from the results of the phases.
        return None


def _evaluate_and_export(run: Run, found: dict) -> dict:
    started = time.perf_counter()
    config = run.config
    test = run.data.test(config.train.batch_size)
    dense_accuracy = None
    if config.train.dense_baseline:
        run.restore("dense")
        dense_accuracy = run.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    retrained = config.ticket is not None or config.pruning.mode == "rewind"
    run.restore("retrain" if retrained else "search")
    accuracy = run.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    record = pruned(run.model).record
    record.rewind_weights = run.rewind_weights()
    origin = found.get("ticket") or {
        "rewind_epoch": config.pruning.rewind_epoch,
        "start_epoch": found["start_epoch"],
    }
    record.rewind_epoch, record.start_epoch = origin["rewind_epoch"], origin["start_epoch"]
    record.start_reason = found["start_reason"]
    ticket = export_ticket(
        run.model,
        run.paths.ticket,
        provenance={"config": config.to_dict(), "test_accuracy": accuracy},
    )
    return run.finish(
        "evaluation",
        {
            "ticket_accuracy": accuracy,
            "dense_accuracy": dense_accuracy,
            "sparsity": ticket.sparsity,
            "layers": ticket.layers(),
            "seconds": time.perf_counter() - started,
        },
    )
