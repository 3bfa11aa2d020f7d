"""Tickets from a recorded dense run: pruned after a chosen epoch, or rewound and trained anew."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.job.fit import fit
from tf_earlyticket.job.log import MetricsLog
from tf_earlyticket.job.run_state import RESULT_FILE, Run
from tf_earlyticket.job.weights_file import load_weights, save_weights
from tf_earlyticket.paper.controls import random_masks, shuffled_masks
from tf_earlyticket.paper.dense_record import recorded_weights, restore_epoch
from tf_earlyticket.pruning.plan import update_frequency
from tf_earlyticket.pruning.select import resolve_criterion

CONTROLS = ("none", "random", "shuffled", "reinitialized")
# Of the weights that replace a ticket's own: far from the seeds that people count up.
_OTHER_SEED = 1_000_003


@dataclass(frozen=True)
class TicketSpec:
    """A ticket (s, v) of the paper, section 3.1, or a control for it.

    Attributes:
        mask_epoch: s, from 1: the mask is that of the dense run's weights after s epochs.
        rewind_epoch: v: it is put on the weights after v epochs, 0 for the initial ones.
        mode: "one_shot", or "gradual": pruning begins after epoch s and the dense run goes on
            until the ramp's end, where the mask is taken.
        group_size: Weights along the input channels that live or die together.
        control: Of `CONTROLS`: "none" for the ticket itself; "random" and "shuffled" replace its
            mask (see `core/controls.py`), "reinitialized" its weights by those of another seed.
    """

    mask_epoch: int
    rewind_epoch: int
    mode: str = "one_shot"
    group_size: int = 1
    control: str = "none"


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
        As `train_to_end`, with "start_epoch" and "mode".
    """

    def start() -> int:
        restore_epoch(run, start_epoch)
        _begin_pruning(run, run.plan.ramp_steps if mode == "gradual" else 0)
        return start_epoch

    described = {"start_epoch": start_epoch, "mode": mode}
    return train_to_end(run, ticket_phase(start_epoch, mode), start, described)


def train_rewound_ticket(run: Run, phase: str, spec: TicketSpec) -> dict:
    """Trains a ticket (s, v) with the full schedule, or returns the finished one's result.

    Args:
        run: A run whose dense run is recorded.
        phase: Name under which the run keeps it.
        spec: Which ticket.

    Returns:
        As `train_to_end`, with the fields of `spec`; its "epochs" count the ramp of a gradual
        ticket too, not the dense epochs before.
    """
    ramp = run.plan.ramp_epochs if spec.mode == "gradual" else 0

    def start() -> int:
        masks = controlled_masks(ticket_masks(run, spec), spec.control, run.config.seed)
        if spec.control == "reinitialized":
            other = replace(run, config=replace(run.config, seed=_other_seed(run)))
            weights = pruned(other.model).all_weights()
        else:
            weights = recorded_weights(run, spec.rewind_epoch)
        put(run, weights, masks)
        return 0

    return train_to_end(run, phase, start, asdict(spec), ramp)


def ticket_masks(run: Run, spec: TicketSpec) -> dict[str, np.ndarray]:
    """Returns the bool mask of each prunable weight that `spec` finds in the dense run."""
    if spec.mode == "gradual":
        return _gradual_masks(run, spec.mask_epoch)
    weights = recorded_weights(run, spec.mask_epoch)
    criterion = resolve_criterion(run.config.pruning.ranking, spec.group_size)
    prunable = {name: weights[name] for name in pruned(run.model).masks()}
    return criterion.masks(prunable, run.config.pruning.final_sparsity)


def controlled_masks(masks: Mapping[str, np.ndarray], control: str, seed: int) -> dict:
    """Returns the masks of a control (of `CONTROLS`) of a ticket with the given ones."""
    make = {"random": random_masks, "shuffled": shuffled_masks}.get(control)
    return dict(masks) if make is None else make(masks, seed)


def put(run: Run, weights: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> None:
    """Brings the run's model to the start of a training, with these weights and masks."""
    restore_epoch(run, 0)
    adapter = pruned(run.model)
    adapter.set_all_weights(weights)
    adapter.set_masks(masks)


def train_to_end(
    run: Run,
    phase: str,
    start: Callable[[], int],
    described: dict,
    earlier_epochs: float = 0,
    at_end: Callable[[], None] = lambda: None,
) -> dict:
    """Trains to the end of the schedule and evaluates, or returns the finished result.

    Continues from the phase's last checkpoint; a finished phase keeps its result only.

    Args:
        run: The run.
        phase: Name under which the run keeps it.
        start: Brings the model to where training starts and returns the epochs of the schedule
            that are done by then.
        described: Entries of the result that say what was trained.
        earlier_epochs: Spent before on the same thing, for its cost.
        at_end: Called with the trained model, before the phase counts as finished.

    Returns:
        `described` and "test_accuracy", "validation_accuracy" (fractions), "epochs" (passes over
        the training set) and "rows" (of metrics).
    """
    finished = run.result(phase)
    if finished is not None:
        return finished
    model, config = run.model, run.config.train
    metrics_log = MetricsLog(None, None, phase)
    checkpoint = run.checkpoint(phase, metrics_log)
    done, _ = checkpoint.restore(model)
    if not done:
        done = start()
    first = metrics_log.rows[0]["epoch"] - 1 if metrics_log.rows else done
    if done < config.epochs:
        fit(run, done, [MaskUpdate(), metrics_log, checkpoint], phase)
    steps = pruned(model).step() - first * run.steps_per_epoch
    evaluation = model.evaluate(run.data.test(config.batch_size), verbose=0, return_dict=True)
    at_end()
    rows = metrics_log.rows
    result = run.finish(
        phase,
        {
            **described,
            "test_accuracy": evaluation["accuracy"],
            "validation_accuracy": rows[-1]["val_accuracy"] if rows else None,
            "epochs": earlier_epochs + steps / run.steps_per_epoch,
            "rows": rows,
        },
    )
    _keep_only(run.directory(phase) / RESULT_FILE)
    return result


def _keep_only(result: Path) -> None:
    """Removes what a restart would need: it takes more room than all results of a grid."""
    for path in result.parent.iterdir():
        if path != result:
            path.unlink()


def _begin_pruning(run: Run, ramp_steps: int) -> None:
    adapter = pruned(run.model)
    frequency = run.config.pruning.frequency
    if frequency is None:
        frequency = update_frequency(ramp_steps, run.config.train.steps_per_execution)
    adapter.begin_schedule(adapter.step(), ramp_steps=ramp_steps, frequency=frequency)


def _gradual_masks(run: Run, mask_epoch: int) -> dict[str, np.ndarray]:
    """Returns the masks at the end of a ramp that begins after `mask_epoch`; makes them once."""
    phase = f"gradual_masks-{mask_epoch:03d}"
    path = run.directory(phase) / "masks.npz"
    if path.exists():
        return load_weights(path)
    metrics_log = MetricsLog(None, None, phase)
    checkpoint = run.checkpoint(phase, metrics_log)
    done, _ = checkpoint.restore(run.model)
    if not done:
        restore_epoch(run, mask_epoch)
        _begin_pruning(run, run.plan.ramp_steps)
        done = mask_epoch
    last = mask_epoch + run.plan.ramp_epochs
    if done < last:
        fit(run, done, [MaskUpdate(), metrics_log, checkpoint], phase, last)
    masks = pruned(run.model).masks()
    save_weights(path, masks)
    _keep_only(path)
    return masks


def _other_seed(run: Run) -> int:
    return (run.config.seed + _OTHER_SEED) % 2**31
