"""Tickets from a recorded dense run: pruned after a chosen epoch, trained to the end."""

from tf_earlyticket.adapters.select import adapter_for
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.callbacks.run_log import MetricsLog, RunCheckpoint
from tf_earlyticket.core.plan import plan_ramp, update_frequency
from tf_earlyticket.experiments import dense_record
from tf_earlyticket.training.phases import Run, fit


def ticket_phase(start_epoch: int, mode: str) -> str:
    """Returns the name under which a run keeps the ticket of an epoch (from 1) and a mode."""
    return f"{mode}-{start_epoch:03d}"


def train_ticket(run: Run, start_epoch: int, mode: str) -> dict:
    """Continues the recorded dense run with pruning, or returns the finished ticket's result.

    Pruning starts at the end of `start_epoch` and training goes on with the rest of the schedule,
    as in a run of `EarlyTicket` that starts there (paper Table 2, in one run).

    Args:
        run: A run of which `record_dense` has recorded at least `start_epoch` epochs.
        start_epoch: From 1.
        mode: "gradual", with the ramp of the config, or "one_shot".

    Returns:
        {"start_epoch", "mode", "test_accuracy", "validation_accuracy", "rows"}, accuracies as
        fractions.
    """
    phase = ticket_phase(start_epoch, mode)
    finished = run.result(phase)
    if finished is not None:
        return finished
    config, model = run.config, run.model
    metrics_log = MetricsLog(None, None, phase)
    checkpoint = RunCheckpoint(run.directory(phase), metrics_log)
    done, _ = checkpoint.restore(model)
    if not done:
        done = start_epoch
        run.restore(dense_record.PHASE, start_epoch)
        ramp_epochs = 0
        if mode == "gradual":
            ramp_epochs = plan_ramp(
                config.train.epochs,
                ramp_epochs=config.pruning.ramp_epochs,
                hold_epochs=config.pruning.hold_epochs,
            ).ramp_epochs
        ramp_steps = ramp_epochs * run.steps_per_epoch
        adapter = adapter_for(model)
        adapter.begin_schedule(
            adapter.step(),
            ramp_steps=ramp_steps,
            frequency=config.pruning.frequency
            or update_frequency(ramp_steps, config.train.steps_per_execution),
        )
    if done < config.train.epochs:
        fit(run, done, [MaskUpdate(), metrics_log, checkpoint], phase)
    test = run.data.test(config.train.batch_size)
    evaluation = model.evaluate(test, verbose=0, return_dict=True)
    result = run.finish(
        phase,
        {
            "start_epoch": start_epoch,
            "mode": mode,
            "test_accuracy": evaluation["accuracy"],
            "validation_accuracy": metrics_log.rows[-1]["val_accuracy"],
            "rows": metrics_log.rows,
        },
    )
    # What a restart would need takes more room than all results of a grid.
    for path in run.directory(phase).iterdir():
        if path.name != run.result_path(phase).name:
            path.unlink()
    return result
