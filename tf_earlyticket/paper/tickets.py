"""Tickets from a recorded dense run: pruned after a chosen epoch, or rewound and trained anew."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.config import Config
from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.job.phases import Phase, Run
from tf_earlyticket.paper.dense_record import recorded_masks, recorded_weights, restore_epoch
from tf_earlyticket.paper.item import Cell
from tf_earlyticket.pruning.masks import Arrays, match_masks, repack
from tf_earlyticket.pruning.plan import update_frequency

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
        control: Of `CONTROLS`: "none" for the ticket itself; "random" (`random_masks`) and
            "shuffled" (`shuffled_masks`) replace its mask, "reinitialized" its weights by those
            of another seed.
    """

    mask_epoch: int
    rewind_epoch: int
    mode: str = "one_shot"
    group_size: int = 1
    control: str = "none"


def ticket_cell(config: Config, seed: int, spec: TicketSpec) -> Cell:
    """Returns the cell of a ticket that is rewound and trained in full."""
    epochs = config.train.epochs * (1.2 if spec.mode == "gradual" else 1)
    make = lambda run, phase: train_rewound_ticket(run, phase, spec)  # noqa: E731
    return Cell("ticket", seed, asdict(spec), make, epochs)


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
    return train_to_end(run, f"{mode}-{start_epoch:03d}", start, described)


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
        masks = ticket_masks(run, spec)
        if spec.control in ("random", "shuffled"):
            control = random_masks if spec.control == "random" else shuffled_masks
            masks = control(masks, run.config.seed)
        if spec.control == "reinitialized":
            other_seed = (run.config.seed + _OTHER_SEED) % 2**31
            other = replace(run, config=replace(run.config, seed=other_seed))
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
    return recorded_masks(run, spec.mask_epoch, spec.group_size)


def random_masks(masks: Arrays, seed: int) -> dict | list:
    """Returns masks that keep as many weights of each tensor, at places drawn at random.

    What a ticket gains over these is due to more than its per-layer sparsities (Frankle & Carbin,
    2018).

    Args:
        masks: Collection of bool or 0/1 arrays, 1 = kept.
        seed: Of the draw, >= 0.

    Raises:
        InputError: There are no masks, or a value is not 0 or 1.
    """
    return _rearranged(masks, seed, lambda generator, mask: generator.permutation(mask.ravel()))


def shuffled_masks(masks: Arrays, seed: int) -> dict | list:
    """Returns masks whose places are shuffled within each output channel, the last axis.

    As `random_masks`, but each filter keeps as many weights as before.
    """

    def shuffle(generator: np.random.Generator, mask: np.ndarray) -> np.ndarray:
        channels = mask.shape[-1] if mask.ndim else 1
        return generator.permuted(mask.reshape(-1, channels), axis=0)

    return _rearranged(masks, seed, shuffle)


def _rearranged(masks: Arrays, seed: int, rearrange: Callable) -> dict | list:
    found = match_masks("masks", masks, "masks", masks)
    generator = np.random.default_rng(seed)
    return repack(
        masks, {key: rearrange(generator, mask).reshape(mask.shape) for key, mask in found.items()}
    )


def put(run: Run, weights: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> None:
    """Brings the run's model to the start of a training, with these weights and masks."""
    restore_epoch(run, 0)
    network = pruned(run.model)
    network.set_all_weights(weights)
    network.set_masks(masks)


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

    def trained() -> dict:
        training = Phase(run, phase, logged=False)
        done = training.begin(start)
        training.fit(done, [MaskUpdate()])
        rows = training.rows
        first = rows[0]["epoch"] - 1 if rows else done
        steps = pruned(run.model).step() - first * run.steps_per_epoch
        test = run.data.test(run.config.train.batch_size)
        evaluation = run.model.evaluate(test, verbose=0, return_dict=True)
        at_end()
        return {
            **described,
            "test_accuracy": evaluation["accuracy"],
            "validation_accuracy": rows[-1]["val_accuracy"] if rows else None,
            "epochs": earlier_epochs + steps / run.steps_per_epoch,
            "rows": rows,
        }

    result = run.once(phase, dict, trained)
    _keep_only(run.paths.result(phase))
    return result


def _keep_only(result: Path) -> None:
    """Removes what a restart would need: it takes more room than all results of a grid."""
    for path in result.parent.iterdir():
        if path != result:
            path.unlink()


def _begin_pruning(run: Run, ramp_steps: int) -> None:
    network = pruned(run.model)
    frequency = run.config.pruning.frequency
    if frequency is None:
        frequency = update_frequency(ramp_steps, run.config.train.steps_per_execution)
    network.begin_schedule(network.step(), ramp_steps=ramp_steps, frequency=frequency)


def _gradual_masks(run: Run, mask_epoch: int) -> dict[str, np.ndarray]:
    """Returns the masks at the end of a ramp that begins after `mask_epoch`; makes them once."""
    phase = f"gradual_masks-{mask_epoch:03d}"
    path = run.directory(phase) / "masks.safetensors"
    if path.exists():
        kept = read_arrays(path)
        return {name: kept[name] for name in pruned(run.model).masks()}

    def start() -> int:
        restore_epoch(run, mask_epoch)
        _begin_pruning(run, run.plan.ramp_steps)
        return mask_epoch

    last = mask_epoch + run.plan.ramp_epochs
    Phase(run, phase, logged=False).train([MaskUpdate()], start, last)
    masks = pruned(run.model).masks()
    write_arrays(path, masks)
    _keep_only(path)
    return masks
