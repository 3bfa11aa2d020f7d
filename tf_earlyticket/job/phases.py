"""The phases of a run. Each continues from its last checkpoint and ends with a result file."""

import dataclasses

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.early_ticket import EarlyTicket
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.detectors.base import make_detector
from tf_earlyticket.job.fit import fit
from tf_earlyticket.job.run_state import REWIND_FILE, Run
from tf_earlyticket.job.weights_file import save_weights


class _KeepRewindWeights(Callback):
    """Writes the weights of the rewind epoch to a file."""

    def __init__(self, run: Run, done_within: int):
        super().__init__()
        self._path = run.paths.checkpoints / REWIND_FILE
        self._epoch = run.config.pruning.rewind_epoch
        self._done_within = done_within

    def on_epoch_begin(self, epoch, logs=None):
        # A run that goes on within an epoch has written them at its beginning.
        within, self._done_within = self._done_within, 0
        if epoch == self._epoch and not within:
            save_weights(self._path, pruned(self.model).all_weights())


def search(run: Run) -> dict:
    """Trains dense with probes until the start epoch; in mode `continue` prunes to the end.

    The state right before pruning is kept as phase "branch", from where the dense baseline
    continues.

    Returns:
        The state of `EarlyTicket`, the detector, the schedule's steps and the rows of metrics.
    """
    config, model, plan = run.config, run.model, run.plan
    stop = config.pruning.mode == "rewind"
    metrics_log = run.metrics_log("search")
    branch = run.checkpoint("branch", metrics_log)
    branch.set_model(model)
    probe_data = run.data.probe(config.train.batch_size, seed=config.seed)
    validation = run.data.validation(config.train.batch_size)
    detector = make_detector(
        config.probe.detector,
        plan.latest_start_epoch,
        lead_epochs=plan.ramp_epochs,
        tolerance=config.probe.tolerance,
        threshold=config.probe.threshold,
        start_epoch=config.probe.start_epoch,
    )
    early_ticket = EarlyTicket(
        lambda: probe_data,
        lambda: validation,
        detector=detector,
        probe_every=config.probe.every_epochs,
        probe_first=config.probe.first_epoch,
        probe_fraction=plan.probe_fraction,
        probe_validation_fraction=config.probe.validation_fraction,
        probe_learning_rate=plan.probe_learning_rate,
        ramp_epochs=plan.ramp_epochs,
        hold_epochs=plan.hold_epochs,
        rewind_epoch=plan.rewind_epoch,
        before_start=branch.save,
        stop_at_start=stop,
        # The run's own progress tells of the start.
        verbose=0,
    )
    checkpoint = run.checkpoint("search", metrics_log, early_ticket)
    done, state = checkpoint.restore(model)
    if done + bool(checkpoint.first_step) > config.pruning.rewind_epoch:
        record = pruned(model).record
        record.rewind_weights = run.rewind_weights()
        record.rewind_epoch = config.pruning.rewind_epoch
    if done < config.train.epochs and not (stop and state and state["start_epoch"]):
        keep_rewind = _KeepRewindWeights(run, checkpoint.first_step)
        fit(run, done, [early_ticket, metrics_log, keep_rewind, checkpoint], "search")
        state = early_ticket.get_state()
    schedule = pruned(model).sparsity_schedule()
    steps = ("begin_step", "end_step", "frequency")
    return run.finish(
        "search",
        {
            **state,
            "latest_start_epoch": plan.latest_start_epoch,
            "detector": detector.name,
            "schedule": {step: getattr(schedule, step) for step in steps} if schedule else None,
            "rows": metrics_log.rows,
        },
    )


def retrain(run: Run, earlier_rows: list[dict]) -> dict:
    """Mode `rewind`: the mask of the start epoch on the rewound weights, trained in full.

    Returns:
        {"rows": the rows of metrics}.
    """
    run.restore("search")
    adapter = pruned(run.model)
    masks = adapter.ranked_masks(run.config.pruning.final_sparsity)
    # A model of its own: the optimizer begins anew.
    fresh = dataclasses.replace(run)
    adapter = pruned(fresh.model)
    adapter.prepare()
    adapter.set_all_weights(run.rewind_weights())
    adapter.set_masks(masks)
    return train_on(fresh, "retrain", earlier_rows)


def train_dense(run: Run, earlier_rows: list[dict]) -> dict:
    """Finishes the dense training from the state right before pruning, for comparison.

    Returns:
        {"rows": the rows of metrics of the epochs after the start epoch}.
    """
    run.restore("branch")
    start = run.result("search")["start_epoch"]
    return train_on(run, "dense", earlier_rows, start)


def train_on(run: Run, phase: str, earlier_rows: list[dict], first_done: int = 0) -> dict:
    """Trains the model as it is, its masks unchanged, to the schedule's end, or continues that.

    Returns:
        {"rows": the rows of metrics}.
    """
    metrics_log = run.metrics_log(phase, earlier_rows)
    checkpoint = run.checkpoint(phase, metrics_log)
    done, _ = checkpoint.restore(run.model)
    done = done or first_done
    if done < run.config.train.epochs:
        fit(run, done, [MaskUpdate(), metrics_log, checkpoint], phase)
    return run.finish(phase, {"rows": metrics_log.rows})
