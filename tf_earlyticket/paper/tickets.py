"""A recorded dense run, and the tickets made from it: pruned on the way, or rewound."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import filelock
import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.callbacks.ppr_probe import PPRProbe, ProbeResult
from tf_earlyticket.config import Config
from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.job.phases import Phase, Run
from tf_earlyticket.job.results import to_json
from tf_earlyticket.paper.item import Cell
from tf_earlyticket.pruning.masks import Arrays, match_masks, repack
from tf_earlyticket.pruning.plan import update_frequency
from tf_earlyticket.pruning.select import resolve_criterion

DENSE, _INITIAL = "dense", "initial"
CONTROLS = ("none", "random", "shuffled", "reinitialized")
# Of the weights that replace a ticket's own: far from the seeds that people count up.
_OTHER_SEED = 1_000_003


def record_dense(run: Run, probing: bool = False) -> dict:
    """Trains dense to the end of the schedule and records every epoch, or returns the record.

    Each epoch ends with a checkpoint of the whole state and a file of all weights
    (`recorded_weights` reads it); with `probing`, there is a probe before them as `EarlyTicket`
    makes it, in every epoch.

    Returns:
        {"test_accuracy": fraction, "epochs": trained, "probes": [`ProbeResult` as a dict], "rows":
        of metrics}.
    """
    return run.once(DENSE, dict, lambda: _recorded(run, probing))


def _recorded(run: Run, probing: bool) -> dict:
    config, probes = run.config, []
    if probing:
        data = run.data.probe(config.train.batch_size, seed=config.seed)
        validation = run.data.validation(config.train.batch_size)
        probe = PPRProbe(
            lambda: data,
            lambda: validation,
            fraction=run.plan.probe_fraction,
            learning_rate=run.plan.probe_learning_rate,
            validation_fraction=config.probe.validation_fraction,
            fit_validates=True,
        )
        probes.append(probe)
    recorder = _Recorder(run, probes)
    phase = Phase(run, DENSE, searcher=recorder, keep=None)

    def start() -> int:
        initial = run.checkpoint(_INITIAL, phase.log)
        initial.set_model(run.model)
        initial.save(0)
        return 0

    update = MaskUpdate()
    # It prunes nothing, as it should.
    update.warns = False
    phase.train([update, *probes, recorder], start)
    return {
        "test_accuracy": accuracy_on_test(run),
        "epochs": pruned(run.model).step() / run.steps_per_epoch,
        "probes": to_json(recorder.get_state()),
        "rows": phase.rows,
    }


class _Recorder(Callback):
    """Writes the weights at the end of every epoch, and keeps what the probes before it saw."""

    state_kind = tuple[ProbeResult, ...]

    def __init__(self, run: Run, probes: list[PPRProbe]):
        super().__init__()
        self._run, self._probes = run, probes
        self._restored: list[ProbeResult] = []

    def on_train_begin(self, logs=None):
        for probe in self._probes:
            probe.results = self._restored
        if not _weights_path(self._run, 0).exists():
            self._write_weights(0)

    def on_epoch_end(self, epoch, logs=None):
        self._write_weights(epoch + 1)

    def _write_weights(self, epoch: int):
        write_arrays(_weights_path(self._run, epoch), pruned(self.model).all_weights())

    def get_state(self) -> tuple[ProbeResult, ...]:
        return tuple(result for probe in self._probes for result in probe.results)

    def set_state(self, state: tuple[ProbeResult, ...]) -> None:
        self._restored = list(state)


def accuracy_on_test(run: Run) -> float:
    """Returns the accuracy of the run's model on its test set, a fraction."""
    test = run.data.test(run.config.train.batch_size)
    return run.model.evaluate(test, verbose=0, return_dict=True)["accuracy"]


def restore_epoch(run: Run, epoch: int) -> None:
    """Brings the model to its whole state after `epoch` epochs of the dense run; 0: its start."""
    run.restore(DENSE if epoch else _INITIAL, epoch)


def _weights_path(run: Run, epoch: int) -> Path:
    return run.paths.directory(DENSE) / f"weights-{epoch:03d}.safetensors"


def recorded_weights(run: Run, epoch: int) -> dict[str, np.ndarray]:
    """Returns every weight of the dense network after `epoch` epochs, 0 for the initial ones."""
    return read_arrays(_weights_path(run, epoch))


def prunable(run: Run, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns those of the weights that have masks."""
    return {name: weights[name] for name in pruned(run.model).masks()}


def recorded_masks(run: Run, epoch: int, group_size: int | None = None) -> dict[str, np.ndarray]:
    """Returns the masks of these weights at the final sparsity; default: the config's groups."""
    return masks_of(run, recorded_weights(run, epoch), group_size=group_size)


def masks_of(
    run: Run,
    weights: Mapping[str, np.ndarray],
    sparsity: float | None = None,
    *,
    group_size: int | None = None,
    previous: Arrays | None = None,
) -> dict[str, np.ndarray]:
    """Returns the masks of weights of the run's network, by default those that its config wants."""
    pruning = run.config.pruning
    sparsity = pruning.final_sparsity if sparsity is None else sparsity
    criterion = pruned(run.model).criterion
    if group_size not in (None, pruning.group_size) and not criterion.of_channels:
        criterion = resolve_criterion(pruning.ranking, group_size)
    return criterion.masks(prunable(run, weights), sparsity, previous)


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
    return Cell("ticket", seed, asdict(spec), partial(train_rewound_ticket, spec=spec), epochs)


def train_rewound_ticket(run: Run, phase: str, spec: TicketSpec) -> dict:
    """Trains a ticket (s, v) with the full schedule, in a run whose dense run is recorded.

    Returns:
        As `train_to_end`; its "epochs" count the ramp of a gradual ticket too, not the dense
        epochs before.
    """

    def start() -> int:
        masks = ticket_masks(run, spec)
        if control := {"random": random_masks, "shuffled": shuffled_masks}.get(spec.control):
            masks = control(masks, run.config.seed)
        if spec.control == "reinitialized":
            other_seed = (run.config.seed + _OTHER_SEED) % 2**31
            other = replace(run, config=replace(run.config, seed=other_seed))
            return put(run, pruned(other.model).all_weights(), masks)
        return put(run, recorded_weights(run, spec.rewind_epoch), masks)

    trained = train_to_end(run, phase, start)
    ramp = run.plan.ramp_epochs if spec.mode == "gradual" else 0
    return {**trained, "epochs": ramp + trained["epochs"]}


def train_ticket(run: Run, start_epoch: int, mode: str) -> dict:
    """Continues the recorded dense run with pruning, or returns the finished ticket's result.

    Pruning starts at the end of `start_epoch` (from 1), with the ramp of the config or in one
    shot, and training goes on with the rest of the schedule, as in a run of `EarlyTicket`.

    Returns:
        As `train_to_end`, with "start_epoch" and "mode".
    """
    phase, described = f"{mode}-{start_epoch:03d}", {"start_epoch": start_epoch, "mode": mode}
    start = partial(_begin_pruning, run, start_epoch, mode)
    return keep(run, phase, lambda: described | train_to_end(run, phase, start))


def ticket_masks(run: Run, spec: TicketSpec) -> dict[str, np.ndarray]:
    """Returns the bool mask of each prunable weight that `spec` finds in the dense run."""
    if spec.mode == "one_shot":
        return recorded_masks(run, spec.mask_epoch, spec.group_size)
    phase = f"gradual_masks-{spec.mask_epoch:03d}"
    path = run.paths.directory(phase) / "masks.safetensors"
    with shared_phase(run, phase):
        if not path.exists():
            start = partial(_begin_pruning, run, spec.mask_epoch, spec.mode)
            last = spec.mask_epoch + run.plan.ramp_epochs
            Phase(run, phase, logged=False).train([mask_update(run)], start, last)
            write_arrays(path, pruned(run.model).masks())
            _leave_only(path)
    return prunable(run, read_arrays(path))


def shared_phase(run: Run, phase: str) -> filelock.BaseFileLock:
    """Returns a lock within which a phase that several cells need is made by one process."""
    locks = run.paths.workdir / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(locks / f"{phase}.lock")


def mask_update(run: Run) -> MaskUpdate:
    """Returns the callback that prunes, with data for scores and updates that look at them."""
    batch_size, seed = run.config.train.batch_size, run.config.seed
    return MaskUpdate(lambda: run.data.probe(batch_size, seed=seed))


def _begin_pruning(run: Run, epoch: int, mode: str) -> int:
    """Starts pruning at the end of an epoch of the dense run, which it returns."""
    restore_epoch(run, epoch)
    ramp_steps = run.plan.ramp_steps if mode == "gradual" else 0
    frequency = run.config.pruning.frequency
    if frequency is None:
        frequency = update_frequency(ramp_steps, run.config.train.steps_per_execution)
    network = pruned(run.model)
    network.begin_schedule(network.step(), ramp_steps=ramp_steps, frequency=frequency)
    return epoch


def random_masks(masks: Arrays, seed: int) -> dict | list:
    """Returns masks that keep as many weights of each tensor, at places drawn at random.

    What a ticket gains over these is due to more than its per-layer sparsities (Frankle & Carbin,
    2018).
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


def put(run: Run, weights: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]) -> int:
    """Brings the run's model to the start of a training, with these weights and masks: epoch 0."""
    restore_epoch(run, 0)
    network = pruned(run.model)
    network.set_all_weights(weights)
    network.set_masks(masks)
    return 0


def train_to_end(run: Run, phase: str, start: Callable[[], int]) -> dict:
    """Trains to the end of the schedule and evaluates; goes on from the phase's last checkpoint.

    `start` brings the model to where training starts and returns the epochs of the schedule that
    are done by then.

    Returns:
        "test_accuracy", "validation_accuracy" (fractions), "epochs" (passes over the training
        set) and "rows" (of metrics).
    """
    training = Phase(run, phase, logged=False)
    done = training.begin(start)
    training.fit(done, [mask_update(run)])
    rows = training.rows
    first = rows[0]["epoch"] - 1 if rows else done
    steps = pruned(run.model).step() - first * run.steps_per_epoch
    return {
        "test_accuracy": accuracy_on_test(run),
        "validation_accuracy": rows[-1]["val_accuracy"] if rows else None,
        "epochs": steps / run.steps_per_epoch,
        "rows": rows,
    }


def keep(run: Run, phase: str, make: Callable[[], dict]) -> dict:
    """Returns the result of a phase, which is made if it is not there; of its files it stays."""
    result = run.once(phase, dict, make)
    _leave_only(run.paths.result(phase))
    return result


def _leave_only(kept: Path) -> None:
    """Removes what a restart would need: it takes more room than all results of a grid."""
    for path in kept.parent.iterdir():
        if path != kept:
            path.unlink()
