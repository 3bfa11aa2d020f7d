"""The PPR check as the paper makes it, at an epoch of a recorded dense run (Fig. 4, 6)."""

from dataclasses import asdict

from tf_earlyticket.callbacks.ppr_probe import PPRProbe
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.paper.dense_record import restore_epoch


def probe_epoch(run: Run, phase: str, epoch: int, learning_rate: float) -> dict:
    """Probes after `epoch` epochs of the dense run, or returns the finished probe's result.

    Retrains for one whole epoch and evaluates on all held-out data (paper section 3.3).

    Args:
        run: A run whose dense run is recorded.
        phase: Name under which the run keeps the result.
        epoch: From 1.
        learning_rate: Of the retraining, constant.

    Returns:
        {"epoch", "learning_rate", "ppr_accuracy", "pruned_accuracy", "dense_accuracy" (fractions
        of the held-out data), "epochs" (passes over the training set), "seconds"}.
    """
    finished = run.result(phase)
    if finished is not None:
        return finished
    restore_epoch(run, epoch)
    batch_size = run.config.train.batch_size
    train = run.data.probe(batch_size, seed=run.config.seed, epoch=epoch)
    validation = run.data.validation(batch_size)
    probe = PPRProbe(
        lambda: train, lambda: validation, learning_rate=learning_rate, validation_fraction=1.0
    )
    probe.set_model(run.model)
    probe.on_train_begin()
    probe.steps_per_epoch = run.steps_per_epoch
    result = probe.probe(epoch)
    return run.finish(
        phase,
        {
            "epoch": epoch,
            "learning_rate": learning_rate,
            **{
                name: value
                for name, value in asdict(result.observation).items()
                if name.endswith("accuracy")
            },
            "epochs": result.cost_epochs,
            "seconds": result.seconds,
        },
    )
