"""The phases of a run. Each goes on from its last checkpoint and leaves a result.

What all of them have in common is here once: `Run.once` returns the finished result or makes it,
and `Phase` is a training that can be stopped anywhere.
"""

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.base import PrunedModel, check_weights
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.distillation import Distillation
from tf_earlyticket.callbacks.early_ticket import EarlyTicket
from tf_earlyticket.callbacks.learning_rate_restart import LearningRateRestart
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.config import Config
from tf_earlyticket.data.streams import Data
from tf_earlyticket.deploy.remove_channels import without_channels
from tf_earlyticket.detectors.base import make_detector
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.files import read_arrays, read_sealed, sha256, typed, write_arrays, write_sealed
from tf_earlyticket.job.build import build_wrapped_model, plan_of
from tf_earlyticket.job.checkpoint import NoCheckpoint, Restartable, RunCheckpoint
from tf_earlyticket.job.devices import TERMINATION, wait_for_workers, works_with_others
from tf_earlyticket.job.log import TRAININGS, Display, MetricsLog, make_progress
from tf_earlyticket.job.results import (
    Origin,
    ScheduleSteps,
    SearchResult,
    TrainingResult,
    to_json,
)
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.masks import mask_sparsity
from tf_earlyticket.pruning.plan import Plan
from tf_earlyticket.pruning.structures import Channels
from tf_earlyticket.tickets.rewind import rewind
from tf_earlyticket.tickets.ticket import Ticket

logger = logging.getLogger(__name__)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Run:
    """What all phases of a run share."""

    config: Config
    paths: RunPaths
    data: Data
    strategy: tf.distribute.Strategy
    display: Display = Display()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return self.data.steps_per_epoch(self.config.train.batch_size)

    @cached_property
    def plan(self) -> Plan:
        """How the epochs are divided; every phase reads it."""
        return plan_of(self.config, self.steps_per_epoch)

    @cached_property
    def model(self):
        """The compiled, wrapped model into which every phase restores its state."""
        return build_wrapped_model(self.config, self.steps_per_epoch, self.strategy)

    @cached_property
    def small(self) -> "ShrunkRun":
        """The same run with a network that has lost the channels that nothing reads."""
        return ShrunkRun(self.config, self.paths, self.data, self.strategy, self.display, self)

    def prepare(self) -> None:
        """Resolves plan and network: an InputError of theirs comes before anything is written."""
        self.plan  # noqa: B018
        self.model  # noqa: B018
        if (distillation := self.distillation()) is not None:
            with checks.prefixed("config.train."):
                distillation.check(self.model)

    def distillation(self) -> Distillation | None:
        """Returns the teaching that the config asks for, None if it does not."""
        train = self.config.train
        if not train.distillation:
            return None
        return Distillation(train.distillation, train.distillation_temperature)

    def once(self, phase: str, kind: type[Kind], make: Callable[[], Kind]) -> Kind:
        """Returns the result of a phase, which is made if it is not there; see `Phase`."""
        found = self.result(phase, kind)
        if found is None or not self.is_whole(phase):
            return self.finish(phase, make())
        return found

    def result(self, phase: str, kind: type[Kind] = dict) -> Kind | None:
        """Returns the result of a finished phase, else None."""
        path = self.paths.saved.result(phase)
        if not path.exists():
            return None
        try:
            return typed(read_sealed(path), kind)
        except ValueError as error:
            logger.warning("%s is damaged (%s); the phase ends anew.", path, error)
            return None

    def finish(self, phase: str, result: Kind, files: Iterable[Path] = ()) -> Kind:
        """Writes the result of a phase, which makes it a finished one.

        With it go the hashes of the checkpoint with which a training ended, from which others
        start, and of `files`: all that has to be there, unchanged, for the phase to be believed.
        """
        values, paths = to_json(result), self.paths
        if phase in TRAININGS and values["rows"]:
            files = [*files, *paths.directory(phase).glob(f"*-{values['rows'][-1]['epoch']}.*")]
        if phase == "search":
            files = [*files, paths.rewind_weights]
        # What a worker writes elsewhere is read by nobody, and lacks what was made before.
        files = sorted(files) if paths.writes else []
        hashes = {str(f.relative_to(paths.workdir)): sha256(f) for f in files}
        values |= {"files": hashes} if hashes else {}
        write_sealed(paths.result(phase), values)
        wait_for_workers(self.strategy)
        return result

    def is_whole(self, phase: str) -> bool:
        """Tells whether all that a finished phase ended with is there, unchanged."""
        damaged = self.paths.saved.others_than((self.result(phase) or {}).get("files") or {})
        wait_for_workers(self.strategy)
        if damaged:
            logger.warning("%s is damaged or gone; the phase %s ends anew.", damaged[0], phase)
        return not damaged

    def rows(self, phase: str) -> list[dict[str, Any]]:
        """Returns the rows of metrics of a finished phase, none of another one."""
        found = self.result(phase, TrainingResult)
        return [] if found is None else found.rows

    def checkpoint(
        self,
        phase: str,
        metrics_log: MetricsLog,
        searcher: Restartable | None = None,
        keep: int | None = 2,
    ) -> RunCheckpoint:
        """Returns the callback that saves and restores the state of a phase."""
        saved = self.paths.saved.directory(phase)
        return RunCheckpoint(self.paths.directory(phase), metrics_log, searcher, keep, saved)

    def restore(self, phase: str, epoch: int | None = None) -> int:
        """Restores the model's state with which a phase ended, or that of a kept epoch.

        Returns:
            The epoch, from 1.

        Raises:
            NoCheckpoint: If it is not there.
        """
        wait_for_workers(self.strategy)
        rows = self.rows(phase)
        if epoch is None and rows:
            # A checkpoint before the end must not pass for it.
            epoch = rows[-1]["epoch"]
        checkpoint = self.checkpoint(phase, MetricsLog(phase))
        restored = checkpoint.restore(self.model, epoch)
        if not restored and epoch != 0:
            raise NoCheckpoint(
                f"{self.paths.saved.directory(phase)} holds no checkpoint: expected the one "
                "that the run left there; start again in a new --workdir."
            )
        return restored

    def rewind_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights of the rewind epoch, from the file that the search wrote.

        Raises:
            RunError: As `weights_in`.
        """
        return self.weights_in(self.paths.saved.rewind_weights)

    def weights_in(self, path: Path) -> dict[str, np.ndarray]:
        """Returns all weights of the network from a file of the run.

        Raises:
            RunError: If they are gone, damaged, or of another network.
        """
        present = backend_of(self.model).named_weights(self.model)
        try:
            arrays = read_arrays(path)
            with checks.prefixed(f"{path} is not of this network: "):
                check_weights(arrays, present)
        except InputError as error:
            raise RunError(f"{error} Start again in a new --workdir.") from error
        return {name: arrays[name] for name in present}


class Phase:
    """A training of a run that can be stopped anywhere: the next time it goes on from there.

    Args:
        run: The run.
        name: Under which the run keeps its checkpoints and its result.
        searcher: Has a state of its own that a restart needs, such as `EarlyTicket`.
        logged: Whether metrics.csv and TensorBoard tell of it.
        keep: Checkpoints to keep, the latest ones; None for all.

    Attributes:
        name: As given.
        log: The callback that collects the rows of metrics.
        checkpoint: The callback that saves and restores.

    Example:
        >>> def trained() -> TrainingResult:
        ...     phase = Phase(run, "retrain")
        ...     phase.train([MaskUpdate()], start=put_the_ticket_in_place)
        ...     return TrainingResult(phase.rows)
        >>> result = run.once("retrain", TrainingResult, trained)
    """

    def __init__(
        self,
        run: Run,
        name: str,
        *,
        searcher: Restartable | None = None,
        logged: bool = True,
        keep: int | None = 2,
    ):
        self._run, self.name = run, name
        self.log = MetricsLog(name)
        if logged:
            others = [row for phase in TRAININGS if phase != name for row in run.rows(phase)]
            self.log = MetricsLog(
                name,
                run.paths.metrics,
                run.paths.tensorboard,
                others,
                histograms=run.display.histograms,
            )
        self.checkpoint = run.checkpoint(name, self.log, searcher, keep)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics so far, one an epoch."""
        return self.log.rows

    def begin(self, start: Callable[[], int] = lambda: 0) -> int:
        """Restores the last checkpoint, or else brings the model to its start.

        Args:
            start: Does the latter and returns the epochs of the schedule that are done by then.

        Returns:
            The epochs done.
        """
        return self.checkpoint.restore(self._run.model) or start()

    def train(
        self,
        callbacks: Sequence,
        start: Callable[[], int] = lambda: 0,
        last_epoch: int | None = None,
    ) -> None:
        """Trains from the last checkpoint, or else from `start`, as for `begin`, to the end.

        Args:
            callbacks: Work before the row of metrics is written and the state saved.
            start: As for `begin`.
            last_epoch: Where to end; default the schedule's end.
        """
        self.fit(self.begin(start), callbacks, last_epoch)

    def fit(self, done: int, callbacks: Sequence, last_epoch: int | None = None) -> None:
        """Trains from `done` epochs on, if that is not the end; as for `train`."""
        run, config, checkpoint = self._run, self._run.config.train, self.checkpoint
        last_epoch = config.epochs if last_epoch is None else last_epoch
        if done >= last_epoch:
            return
        # The cell of a grid is too long a name for a line per epoch.
        title = self.name.partition("-")[0] if "=" in self.name else self.name
        progress = make_progress(run.display, title)
        train = run.data.train(config.batch_size, seed=run.config.seed, first_epoch=done + 1)
        if checkpoint.first_step:
            train = train.skip(checkpoint.first_step)
            # Keras makes its metrics with the first batch, and what they had counted goes into
            # them.
            pruned(run.model).evaluate(run.data.validation(config.batch_size), 1)
        # One worker cannot stop by itself: the others would wait for it.
        alone = not works_with_others(run.strategy)
        try:
            with TERMINATION.noticed() if alone else contextlib.nullcontext():
                run.model.fit(
                    train,
                    epochs=last_epoch,
                    initial_epoch=done,
                    steps_per_epoch=run.steps_per_epoch,
                    validation_data=run.data.validation(config.batch_size),
                    callbacks=[
                        StopIfDiverged(checkpoint),
                        *callbacks,
                        self.log,
                        progress,
                        checkpoint,
                    ],
                    # The data set has its own order.
                    shuffle=False,
                    verbose=0,
                )
        except tf.errors.OpError as error:
            if run.data.fault:
                raise InputError(run.data.fault) from error
            if not isinstance(error, tf.errors.DataLossError):
                raise
            reason = " ".join(str(error.message).split())
            raise InputError(
                f"data.name={run.config.data.name!r}: a file of it is damaged ({reason:.300}); "
                "expected a complete prepared data set."
            ) from error
        finally:
            progress.close()


class StopIfDiverged(Callback):
    """Ends the run at a loss that is not finite, before anything is saved with it.

    Losses are read every few steps, so that an accelerator need not wait for each one; the first
    that is not finite is told exactly.

    Args:
        checkpoint: What the message names as the last state that is good.
    """

    _EVERY = 20

    def __init__(self, checkpoint: RunCheckpoint):
        super().__init__()
        self._checkpoint = checkpoint
        self._losses: list = []

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._losses = epoch, []

    def on_train_batch_end(self, batch, logs=None):
        self._losses.append((batch + 1, (logs or {}).get("loss", 0.0)))
        if len(self._losses) >= self._EVERY:
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        for step, loss in self._losses:
            if not np.isfinite(float(loss)):
                raise RunError(
                    f"The loss is {float(loss)} at step {step} of epoch {self._epoch + 1}: "
                    f"training diverged. The last good state is {self._checkpoint.latest()}. Try "
                    "a smaller config.train.learning_rate in a new --workdir."
                )
        self._losses = []


class KeepRewindWeights(Callback):
    """Writes the weights of the rewind epoch to a file."""

    def __init__(self, run: Run, done_within: int):
        super().__init__()
        self._path, self._epoch = run.paths.rewind_weights, run.plan.rewind_epoch
        self._done_within = done_within

    def on_epoch_begin(self, epoch, logs=None):
        # A run that goes on within an epoch has written them at its beginning.
        within, self._done_within = self._done_within, 0
        if epoch == self._epoch and not within:
            write_arrays(self._path, pruned(self.model).all_weights())


def search(run: Run) -> SearchResult:
    """Trains dense with probes until the start epoch; in mode `continue` prunes to the end.

    With `shrink_after_ramp` to the end of the ramp, from where `train_shrunk` goes on.

    The state right before pruning is kept as phase "branch", from where the dense baseline
    continues.
    """
    return run.once("search", SearchResult, lambda: _search(run))


def search_arguments(run: Run) -> dict[str, Any]:
    """Returns what an `EarlyTicket` is given that looks for the start epoch of a run."""
    config, plan = run.config, run.plan
    probe_data = run.data.probe(config.train.batch_size, seed=config.seed)
    validation = run.data.validation(config.train.batch_size)
    return {
        "train_data": lambda: probe_data,
        "validation_data": lambda: validation,
        "detector": make_detector(
            config.probe.detector,
            max(1, plan.latest_start_epoch),
            # A rewound ticket has its mask from the start on.
            lead_epochs=0 if config.pruning.mode == "rewind" else plan.ramp_epochs,
        ),
        "probe_every": config.probe.every_epochs,
        "probe_first": config.probe.first_epoch,
        "probe_fraction": plan.probe_fraction,
        "probe_validation_fraction": config.probe.validation_fraction,
        "probe_learning_rate": plan.probe_learning_rate,
        "ramp_epochs": plan.ramp_epochs,
        "hold_epochs": plan.hold_epochs,
        "rewind_epoch": plan.rewind_epoch,
        "fit_validates": True,
        # The run's own progress tells of the start.
        "verbose": 0,
    }


def _search(run: Run) -> SearchResult:
    config, adapter = run.config, pruned(run.model)
    stop = config.pruning.mode == "rewind"
    distillation = run.distillation()

    def about_to_start(epoch: int) -> None:
        branch.save(epoch)
        if distillation is not None:
            write_arrays(run.paths.teacher, adapter.all_weights())

    early_ticket = EarlyTicket(
        **search_arguments(run),
        before_start=about_to_start,
        stop_at_start=stop,
        distillation=distillation,
    )
    shrinks = [_StopAfterRamp()] if config.pruning.shrink_after_ramp else []
    restart = [LearningRateRestart(config.train.learning_rate)] if config.train.restart else []
    phase = Phase(run, "search", searcher=early_ticket)
    branch = run.checkpoint("branch", phase.log)
    branch.set_model(run.model)
    done, within = begin_search(run, phase)
    if distillation is not None and early_ticket.get_state().start_epoch:
        distillation.weights = run.weights_in(run.paths.saved.teacher)
    if not (stop and early_ticket.get_state().start_epoch) and not (shrinks and _ended(adapter)):
        keeper = KeepRewindWeights(run, within)
        # The keeper first: a schedule may prune with the first step.
        phase.fit(done, [keeper, early_ticket, *restart, *shrinks])
    state, schedule = early_ticket.get_state(), adapter.sparsity_schedule()
    steps = None
    if schedule is not None:
        steps = ScheduleSteps(schedule.begin_step, schedule.end_step, schedule.frequency)
    return SearchResult(
        **{**vars(state), "recent_masks": {}},
        rows=phase.rows,
        # Nobody is asked where the schedule takes the whole training.
        detector=early_ticket.detector.name if state.start_epoch else "schedule",
        latest_start_epoch=run.plan.latest_start_epoch,
        schedule=steps,
    )


def begin_search(run: Run, phase: Phase) -> tuple[int, int]:
    """Restores a search for a start epoch; returns the epochs, and steps within the next, done."""
    done, within = phase.begin(), phase.checkpoint.first_step
    if done + bool(within) > run.plan.rewind_epoch:
        record = pruned(run.model).record
        record.rewind_weights, record.rewind_epoch = run.rewind_weights(), run.plan.rewind_epoch
    return done, within


class _StopAfterRamp(Callback):
    """Ends a `fit` at the end of the epoch in which the final sparsity is reached."""

    def on_epoch_end(self, epoch, logs=None):
        if _ended(pruned(self.model)):
            self.model.stop_training = True


def _ended(adapter: PrunedModel) -> bool:
    schedule = adapter.sparsity_schedule()
    return schedule is not None and adapter.step() >= schedule.end_step


@dataclass(frozen=True)
class ShrunkRun(Run):
    """A run whose network has lost the channels that the ramp took away.

    Attributes:
        large: The run of the whole network.
    """

    large: Run | None = None

    @cached_property
    def _parts(self) -> tuple:
        self.large.restore("search")
        with self.strategy.scope():
            return without_channels(self.large.model)

    @cached_property
    def model(self):
        """The small network with the weights of the ramp's end, wrapped, with a new optimizer."""
        plain, _, _ = self._parts
        return build_wrapped_model(self.config, self.steps_per_epoch, self.strategy, plain)

    def take_over(self) -> None:
        """Goes on where the whole network is when the ramp has ended."""
        _, graph, kept = self._parts
        adapter, large = pruned(self.model), pruned(self.large.model)
        adapter.continue_from(large, lambda name, array: graph.cut(name, array, kept))

    def put_back(self) -> None:
        """Gives the whole network the weights with which the small one ended."""
        _, graph, kept = self._parts
        self.restore("shrunk")
        self.large.restore("search")
        large, small = pruned(self.large.model), pruned(self.model).all_weights()
        pairs = zip(large.all_weights().items(), small.values(), strict=True)
        large.set_all_weights({n: graph.put_back(n, part, w, kept) for (n, w), part in pairs})


class _SparsityOfWhole(Callback):
    """Tells of the sparsity of the whole network where the small one trains."""

    def __init__(self, run: ShrunkRun):
        super().__init__()
        self._sparsity = mask_sparsity(pruned(run.large.model).masks())

    def on_epoch_end(self, epoch, logs=None):
        logs["sparsity"] = self._sparsity


def train_shrunk(run: Run, found: SearchResult) -> SearchResult:
    """Trains on from the ramp's end to the schedule's without the channels that nothing reads.

    Args:
        run: Of the whole network.
        found: The result of its search.

    Returns:
        What a search would that had trained to the schedule's end.
    """
    if found.rows[-1]["epoch"] == run.config.train.epochs:
        return found
    rest = run.once("shrunk", SearchResult, lambda: _train_shrunk(run.small, found))
    return dataclasses.replace(rest, rows=[*found.rows, *rest.rows])


def _train_shrunk(run: ShrunkRun, found: SearchResult) -> SearchResult:
    probe_data = run.data.probe(run.config.train.batch_size, seed=run.config.seed)
    rewind_epoch = run.plan.rewind_epoch
    # It has no more to search for, and goes on with its account of the weights.
    early_ticket = EarlyTicket(
        lambda: probe_data, lambda: probe_data, rewind_epoch=rewind_epoch, verbose=0
    )
    phase = Phase(run, "shrunk", searcher=early_ticket)

    def start() -> int:
        run.take_over()
        early_ticket.set_state(found)
        return found.rows[-1]["epoch"]

    pruned(run.model).record.rewind_epoch = rewind_epoch
    phase.train([early_ticket, _SparsityOfWhole(run)], start)
    state = {**vars(early_ticket.get_state()), "recent_masks": {}}
    return dataclasses.replace(found, **{**state, "rows": phase.rows})


def retrain(run: Run) -> TrainingResult:
    """Mode `rewind`: the mask of the start epoch on the rewound weights, trained in full."""
    # A model of its own: the optimizer begins anew.
    fresh = dataclasses.replace(run)

    def start() -> int:
        run.restore("search")
        adapter, config = pruned(run.model), run.config
        probe_data = run.data.probe(config.train.batch_size, seed=config.seed)
        adapter.score_data = lambda: probe_data
        masks = adapter.ranked_masks(config.pruning.final_sparsity)
        adapter = pruned(fresh.model)
        adapter.set_all_weights(run.rewind_weights())
        adapter.set_masks(masks)
        return 0

    return run.once("retrain", TrainingResult, lambda: _train_on(fresh, "retrain", start))


def train_dense(run: Run, found: SearchResult) -> TrainingResult:
    """Finishes the dense training from the state right before pruning, for comparison.

    Where that state is gone, it is trained again: until then the run was dense.

    Args:
        run: The run.
        found: What its search has found.
    """
    start_epoch, more = found.start_epoch, []
    if run.config.train.restart and found.schedule is not None:
        more = [LearningRateRestart(run.config.train.learning_rate, found.schedule.end_step)]

    def finish(run: Run) -> TrainingResult:
        def start() -> int:
            run.restore("branch", start_epoch)
            return start_epoch

        trained = _train_on(run, "dense", start, more)
        if not trained.rows:
            # Pruning started at the very end: what was there is the dense network.
            log = MetricsLog("dense")
            kept, own = (run.checkpoint(phase, log) for phase in ("branch", "dense"))
            kept.set_model(run.model)
            kept.hand_over(start_epoch, own, lambda state: state)
        return trained

    def make() -> TrainingResult:
        if start_epoch == 0:
            # Nothing of it comes from the ticket.
            return _train_on(dataclasses.replace(run), "dense", more=more)
        try:
            return finish(run)
        except NoCheckpoint as gone:
            logger.warning("The dense network is trained again from its beginning: %s", gone)
        shutil.rmtree(run.paths.directory("branch"), ignore_errors=True)
        wait_for_workers(run.strategy)
        # On a model of its own: nothing of it comes from the ticket.
        fresh = dataclasses.replace(run)
        Phase(fresh, "branch", logged=False).train([mask_keeper()], last_epoch=start_epoch)
        return finish(fresh)

    return run.once("dense", TrainingResult, make)


def train_ticket(run: Run) -> tuple[SearchResult, TrainingResult, TrainingResult | None]:
    """Trains the ticket of the config, and the dense network for comparison.

    Returns:
        What `search`, `retrain` and `train_dense` return in other runs.
    """

    def start() -> int:
        run.finish("search", _adopt_ticket(run))
        return 0

    retrained = run.once("retrain", TrainingResult, lambda: _train_on(run, "retrain", start))
    found = run.once("search", SearchResult, lambda: _adopt_ticket(run))
    dense = None
    if run.config.train.dense_baseline:
        # On a model of its own: nothing of it comes from the ticket.
        fresh = dataclasses.replace(run)
        dense = run.once("dense", TrainingResult, lambda: _train_on(fresh, "dense"))
    return found, retrained, dense


def mask_keeper() -> MaskUpdate:
    """Returns the callback of a training that prunes nothing more, as it should."""
    update = MaskUpdate()
    update.warns = False
    return update


def _train_on(
    run: Run, name: str, start: Callable[[], int] = lambda: 0, more: Sequence = ()
) -> TrainingResult:
    """Trains the model, its masks unchanged and with `more` callbacks, to the schedule's end.

    Where none of its own checkpoints can be used, it begins anew.
    """
    phase, own = Phase(run, name), run.paths.directory(name)
    try:
        phase.train([mask_keeper(), *more], start)
    except NoCheckpoint as damaged:
        if not own.exists():
            raise
        logger.warning("The phase %s begins anew: %s", name, damaged)
        shutil.rmtree(own)
        wait_for_workers(run.strategy)
        phase = Phase(run, name)
        phase.train([mask_keeper(), *more], start)
    return TrainingResult(phase.rows)


def _adopt_ticket(run: Run) -> SearchResult:
    """Makes the run's model the ticket of its config, also for other classes or channels.

    Unpruned layers whose shape depends on the data set (the classifier, the first convolution)
    are new where it differs.

    Returns:
        The result of a search, with no probe and no start epoch in it.

    Raises:
        InputError: If the ticket is damaged or of another network.
    """
    ticket = Ticket.load(run.config.ticket)
    adapter = pruned(run.model)
    adapter.prepare()
    present = backend_of(run.model).named_weights(run.model)
    with_masks = _layers_of_masks(adapter, ticket)
    new_layers = sorted(
        {
            name.rpartition("/")[0]
            for name, weight in ticket.rewind_weights.items()
            if name in present and np.shape(weight) != tuple(present[name].shape)
        }
        - with_masks
    )
    rewind(run.model, ticket, new_layers=new_layers)
    write_arrays(run.paths.rewind_weights, adapter.all_weights())
    return SearchResult(
        start_reason=f"no search: the ticket {Path(run.config.ticket)}"
        + (f", with new layers {', '.join(new_layers)}" if new_layers else ""),
        ticket=Origin(ticket.start_epoch, ticket.rewind_epoch),
    )


def _layers_of_masks(adapter: PrunedModel, ticket: Ticket) -> set[str]:
    """Returns the layers that a ticket's masks need as they are.

    Of whole channels those may be new whose inputs are the network's, or whose outputs.
    """
    structure, masks = adapter.criterion.structure, adapter.masks()
    fixed: set[tuple[str, int]] = set()
    if isinstance(structure, Channels):
        ends = structure.network.everything()
        for family in structure.network.removable:
            ends[family.channels] = False
        fixed = {(u.weight, u.axis) for u in structure.network.uses if ends[u.channels].all()}
    return {
        name.rpartition("/")[0]
        for name, mask in ticket.masks.items()
        if not isinstance(structure, Channels)
        or name not in masks
        or mask.ndim != masks[name].ndim
        or any(
            size != masks[name].shape[axis] and (name, axis) not in fixed
            for axis, size in enumerate(mask.shape)
        )
    }
