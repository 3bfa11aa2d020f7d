"""A recorded dense run: state, weights and a probe of every epoch, from which tickets are made."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.callbacks.ppr_probe import PPRProbe, ProbeResult
from tf_earlyticket.files import read_arrays, write_arrays
from tf_earlyticket.job.phases import Phase, Run
from tf_earlyticket.job.results import to_json
from tf_earlyticket.pruning.select import resolve_criterion

PHASE = "dense"
_INITIAL = "initial"
Arrays = dict[str, np.ndarray]


def record_dense(run: Run, probing: bool = True) -> dict:
    """Trains dense to the end of the schedule and records every epoch, or returns the record.

    Each epoch ends with a checkpoint of the whole state and a file of all weights
    (`recorded_weights` reads it), and before them with a probe as `EarlyTicket` would make it.

    Args:
        run: Its config's `probe` says how the probes are made; `first_epoch` and `every_epochs`
            count for the length of each probe only.
        probing: Whether to make the probes.

    Returns:
        {"test_accuracy": fraction, "epochs": trained, "probes": [`ProbeResult` as a dict], "rows":
        of metrics}.
    """
    return run.once(PHASE, dict, lambda: _recorded(run, probing))


def _recorded(run: Run, probing: bool) -> dict:
    recorder = _Recorder(run, probing)
    phase = Phase(run, PHASE, searcher=recorder, keep=None)

    def start() -> int:
        initial = run.checkpoint(_INITIAL, phase.log)
        initial.set_model(run.model)
        initial.save(0)
        return 0

    update = MaskUpdate()
    # It prunes nothing, as it should.
    update.warns = False
    phase.train([update, recorder], start)
    test = run.data.test(run.config.train.batch_size)
    evaluation = run.model.evaluate(test, verbose=0, return_dict=True)
    return {
        "test_accuracy": evaluation["accuracy"],
        "epochs": pruned(run.model).step() / run.steps_per_epoch,
        "probes": to_json(recorder.get_state()),
        "rows": phase.rows,
    }


def restore_epoch(run: Run, epoch: int) -> None:
    """Brings the model to its whole state after `epoch` epochs of the dense run, 0 for its start.

    Raises:
        FileNotFoundError: If the dense run was not recorded as far.
    """
    run.restore(PHASE if epoch else _INITIAL, epoch)


def recorded_weights(run: Run, epoch: int) -> Arrays:
    """Returns every weight of the dense network after `epoch` epochs, 0 for the initial ones."""
    return read_arrays(_weights_path(run, epoch))


def recorded_kernels(run: Run, epoch: int) -> Arrays:
    """Returns the prunable ones of these weights."""
    weights = recorded_weights(run, epoch)
    return {name: weights[name] for name in pruned(run.model).masks()}


def recorded_masks(run: Run, epoch: int, group_size: int | None = None) -> Arrays:
    """Returns the masks that they have at the final sparsity; the group size is the config's."""
    return masks_of(run, recorded_weights(run, epoch), group_size=group_size)


def masks_of(
    run: Run,
    weights: Mapping[str, np.ndarray],
    sparsity: float | None = None,
    *,
    group_size: int | None = None,
    previous: Arrays | None = None,
) -> Arrays:
    """Returns the masks of weights of the run's network, by default those that its config wants."""
    pruning = run.config.pruning
    criterion = resolve_criterion(
        pruning.ranking, pruning.group_size if group_size is None else group_size
    )
    prunable = {name: weights[name] for name in pruned(run.model).masks()}
    return criterion.masks(
        prunable, pruning.final_sparsity if sparsity is None else sparsity, previous
    )


def _weights_path(run: Run, epoch: int) -> Path:
    return run.directory(PHASE) / f"weights-{epoch:03d}.safetensors"


class _Recorder(Callback):
    """Probes at the end of every epoch, if asked to, and writes the weights."""

    state_kind = tuple[ProbeResult, ...]

    def __init__(self, run: Run, probing: bool):
        super().__init__()
        self._run = run
        self._restored: list[ProbeResult] = []
        self._probe = _make_probe(run) if probing else None

    def set_model(self, model):
        super().set_model(model)
        if self._probe is not None:
            self._probe.set_model(model)

    def set_params(self, params):
        super().set_params(params)
        if self._probe is not None:
            self._probe.set_params(params)

    def on_train_begin(self, logs=None):
        if self._probe is not None:
            self._probe.on_train_begin(logs)
            self._probe.results = self._restored
        if not _weights_path(self._run, 0).exists():
            self._write_weights(0)

    def on_train_batch_end(self, batch, logs=None):
        if self._probe is not None:
            self._probe.on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self._probe is not None:
            self._probe.on_epoch_end(epoch, logs)
        self._write_weights(epoch + 1)

    def _write_weights(self, epoch: int):
        write_arrays(_weights_path(self._run, epoch), pruned(self.model).all_weights())

    def get_state(self) -> tuple[ProbeResult, ...]:
        return tuple(self._probe.results) if self._probe is not None else ()

    def set_state(self, state: tuple[ProbeResult, ...]) -> None:
        self._restored = list(state)


def _make_probe(run: Run) -> PPRProbe:
    config = run.config
    data = run.data.probe(config.train.batch_size, seed=config.seed)
    validation = run.data.validation(config.train.batch_size)
    return PPRProbe(
        lambda: data,
        lambda: validation,
        fraction=run.plan.probe_fraction,
        learning_rate=run.plan.probe_learning_rate,
        validation_fraction=config.probe.validation_fraction,
    )
