"""A family of tickets: one dense training, a start epoch and a ticket for each goal.

While the network trains dense, each goal looks for its start with probes of its own. The state of
the epoch before that start is handed over to a run of this goal alone, in `tickets/GOAL`, which
goes on from there as after an interruption. So each ticket is the one that its own run makes, bit
for bit, and what is lost of one run costs no other.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import tensorflow as tf

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_named
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.callbacks.early_ticket import EarlyTicket, SearchState
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import load
from tf_earlyticket.deploy.artefacts import sizes
from tf_earlyticket.deploy.bench import Options, measure
from tf_earlyticket.deploy.saved_model import Network
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.files import read_record, write_bytes, write_text
from tf_earlyticket.job.build import check_sparsity, dataset_spec, family_of, goal_of
from tf_earlyticket.job.checkpoint import NoCheckpoint
from tf_earlyticket.job.devices import config_for_replicas
from tf_earlyticket.job.job import train_and_evaluate
from tf_earlyticket.job.log import Display, MetricsLog
from tf_earlyticket.job.phases import (
    KeepRewindWeights,
    Phase,
    Run,
    begin_search,
    mask_keeper,
    search_arguments,
)
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.job.results import SharedResult, TrainingResult
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.goals import Goal, Measured, best, next_to_train
from tf_earlyticket.report.family import (
    Candidate,
    FamilyCost,
    FamilyReport,
    GoalOutcome,
    Member,
    write_family,
)
from tf_earlyticket.report.report import SCHEMA_VERSION, Dense, Report, environment

logger = logging.getLogger(__name__)


def train_family(
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
    """Makes the tickets of a family, or continues in a `workdir` where that was begun.

    Args:
        config: With several goals, or one in words: `pruning.family`, `target` or `goal`.
        workdir: Directory of the family; each ticket's run is in `tickets/GOAL` there.
        data_dir: Where TFDS data sets lie; default TFDS's own directory.
        strategy: Devices, see `make_strategy`; not "multi_worker".
        tpu: Name or address of the TPU, for strategy "tpu".
        command: Command line that repeats the family, for the report.
        flags: The same as the content of `flags.txt`; "": none is written.
        display: What to show meanwhile.

    Returns:
        The content of the family's `report.json`.

    Raises:
        InputError: Before any work, for a config, data set or workdir that cannot be used.
        RunError: As `train_and_evaluate`.

    Example:
        >>> config = et.Config()
        >>> config.pruning.family = (0.5, 0.8)
        >>> report = et.train_family(config, "runs/family")
    """
    check_run(config, data_dir, strategy)
    paths, members = RunPaths(workdir), family_of(config)
    if not members:
        expected = "several goals, or one in words; et.train_and_evaluate makes one ticket"
        raise checks.refuse("config.pruning.family", config.pruning.family, expected)
    for member in members.values():
        # What it says by its target.
        check_run(member, data_dir, strategy)
    paths.check(config)
    backend = backend_named(config.model.keras)
    with backend.devices(strategy, tpu) as devices:
        data = load(dataset_spec(config), data_dir, deterministic=config.data.deterministic)
        runs = {
            goal: Run(
                config_for_replicas(member, devices),
                RunPaths(paths.tickets / goal),
                data,
                devices,
                display,
            )
            for goal, member in members.items()
        }
        shared = Run(next(iter(runs.values())).config, paths, data, devices, display)
        backend.set_random_seed(config.seed)
        if config.train.deterministic:
            tf.config.experimental.enable_op_determinism()
        goal = goal_of(config.pruning)
        before = _before(paths) if goal is None else None
        # Then nothing needs the dense training any more.
        finished = before is not None and all(run.paths.report.exists() for run in runs.values())
        if not finished:
            before = None
            shared.prepare()
            for run in runs.values():
                check_sparsity(shared.model, run.config)
        paths.claim(config)

        def train(name: str) -> dict:
            place = runs[name].paths
            display.say(f"Ticket {name}: {place.workdir}")
            options = {"data_dir": data_dir, "strategy": strategy, "tpu": tpu, "display": display}
            return train_and_evaluate(members[name], place.workdir, command=command, **options)

        with paths.locked():
            if flags:
                write_text(paths.flags, flags)
            if not finished:
                for name, run in runs.items():
                    run.paths.claim(members[name])
                shared.once("dense", SharedResult, lambda: _train_shared(shared, runs))
            if goal is None:
                reports, outcome = _train_all(runs, train), None
            else:
                reports, outcome = _reach(goal, shared, runs, train)
            report = FamilyReport(
                schema_version=SCHEMA_VERSION,
                config=config.to_dict(),
                environment=environment(strategy, devices.num_replicas_in_sync),
                command=command,
                dense=_dense(reports),
                family=[_member(name, reports[name], runs[name].paths) for name in reports],
                cost=before.cost
                if before
                else _cost(reports, shared.result("dense", SharedResult)),
                dense_macs=_dense_macs(reports),
                goal=outcome,
            )
            write_family(report, paths.workdir)
            return report.to_json()


def _train_all(runs: Mapping[str, Run], train: Callable[[str], dict]) -> dict[str, dict]:
    """Trains every ticket, also where one is too damaged to go on; returns their reports.

    Raises:
        RunError: At the end, if one was.
    """
    reports, damaged = {}, []
    for name, run in runs.items():
        try:
            reports[name] = train(name)
        except NoCheckpoint as error:
            logger.warning("%s", error)
            damaged.append(run.paths.workdir)
    if damaged:
        raise RunError(
            f"{', '.join(map(str, damaged))}: expected checkpoints that can be used; without this "
            "directory the same command makes the ticket anew. The other tickets are there."
        )
    return reports


def _before(paths: RunPaths) -> FamilyReport | None:
    """Returns the report of a family that was finished, if it can be read."""
    with contextlib.suppress(InputError):
        return read_record(paths.report, FamilyReport) if paths.report.exists() else None
    return None


def _reach(
    goal: Goal, shared: Run, runs: Mapping[str, Run], train: Callable[[str], dict]
) -> tuple[dict[str, dict], GoalOutcome]:
    """Trains tickets until the one is found that is wanted; returns their reports, and what came.

    Args:
        goal: What has to be met, on held-out data.
        shared: The dense training.
        runs: Of each ticket, from the densest on.
        train: Returns the report of a ticket's run.
    """
    goal = replace(goal, examples=dataset_spec(shared.config).validation_examples)
    found = shared.result("dense", SharedResult)
    dense = found.rows[-1]["val_accuracy"]
    if goal.is_above(dense):
        reached = f"the dense network itself has {100 * dense:.2f} % on held-out data"
        raise RunError(f"config.pruning.goal={goal.text!r}: {reached}; expected less.")
    sparsities = {name: run.config.pruning.final_sparsity for name, run in runs.items()}
    predicted = {
        name: Measured(
            accuracy=None if (loss := found.losses[name]) is None else dense - loss,
            dense_accuracy=dense,
            macs=1 - sparsities[name] if runs[name].config.pruning.target else None,
        )
        for name in sorted(runs, key=sparsities.__getitem__)
    }
    reports: dict[str, dict] = {}
    measured: dict[str, Measured] = {}
    while (name := next_to_train(goal, predicted, measured)) is not None:
        reports[name], run = train(name), runs[name]

        def look(run: Run = run, report: dict = reports[name]) -> Measured:
            return _measured(goal, run, report, dense)

        # Once: a latency never comes out the same again.
        measured[name] = shared.once(f"measured-{name}", Measured, look)
        missed = goal.missed(measured[name])
        shared.display.say(f"Ticket {name}: " + ("; ".join(missed) or "the goal is met") + ".")
    nearest = best(goal, measured, list(predicted))
    missed = goal.missed(measured[nearest])
    return reports, GoalOutcome(
        text=goal.text,
        met=not missed,
        ticket=_within_family(runs[nearest].paths),
        missed=missed,
        dense_validation_accuracy=dense,
        candidates=[
            Candidate(name, known.accuracy, measured[name].accuracy if name in measured else None)
            for name, known in predicted.items()
        ],
    )


def _measured(goal: Goal, run: Run, report: dict, dense: float) -> Measured:
    """Returns what the ticket of a run has, as far as the goal asks for it."""
    phases = ("retrain", "shrunk", "search")
    rows = next(rows for phase in phases if (rows := run.rows(phase)))
    latency, macs = None, report["macs"]
    if goal.runtime is not None:
        options = Options((goal.runtime,), ("float32",), (1,), processes=3, rounds=5)
        source = run.paths.saved_model
        inputs = Network(source).example_inputs(8)
        found = measure({"ticket": source}, source, inputs, options, tell=run.display.say)
        if not found:
            raise RunError(f"config.pruning.goal={goal.text!r}: nothing was measured, see above.")
        latency = found[0]["ms"]
    return Measured(
        accuracy=rows[-1]["val_accuracy"],
        dense_accuracy=dense,
        bytes=sizes(run.paths.saved_model)["compressed_bytes"],
        macs=macs["ticket"] / macs["dense"] if macs else None,
        latency=latency,
    )


class _Watch(EarlyTicket):
    """Looks for the start of one goal's pruning while the network trains on dense.

    Args:
        run: Of the goal alone.
        started: Called with the start epoch.
        dense_values: What the probes of one epoch find of the dense network, shared by all goals.
    """

    def __init__(
        self,
        run: Run,
        started: Callable[[int], None],
        dense_values: dict[tuple[int, int], float],
    ):
        super().__init__(
            **search_arguments(run),
            sparsity=run.config.pruning.final_sparsity,
            before_start=started,
            stop_at_start=True,
        )
        self.probe.dense_values = dense_values
        # Nothing is pruned here.
        self.mask_update = _NoUpdate()

    def on_epoch_end(self, epoch, logs=None):
        # What one goal's probe found is no value of the network that all share.
        if self.start_epoch is None:
            super().on_epoch_end(epoch, dict(logs or {}))

    def _check_epochs_left(self, schedule, done):
        if self.start_epoch is None:
            super()._check_epochs_left(schedule, done)

    def _begin(self):
        pass


class _NoUpdate(Callback):
    """In place of a `MaskUpdate`."""

    updates = ()

    def keep_masks(self) -> None:
        """Nothing is masked."""


class _Watches:
    """The state of all goals' searches, as `Restartable` has it."""

    state_kind = tuple[SearchState, ...]

    def __init__(self, watches: Mapping[str, _Watch]):
        self._watches = list(watches.values())

    def get_state(self) -> tuple[SearchState, ...]:
        return tuple(watch.get_state() for watch in self._watches)

    def set_state(self, state: tuple[SearchState, ...]) -> None:
        for watch, own in zip(self._watches, state, strict=True):
            watch.set_state(own)


class _Given:
    """A `Restartable` with the state that it was given."""

    state_kind = SearchState

    def __init__(self):
        self._state = SearchState()

    def get_state(self) -> SearchState:
        return self._state

    def set_state(self, state: SearchState) -> None:
        self._state = state


class _StopWhenAllStarted(Callback):
    """Ends the dense training when no goal needs it any more."""

    def __init__(self, watches: Mapping[str, _Watch]):
        super().__init__()
        self._watches = watches.values()

    def on_epoch_end(self, epoch, logs=None):
        if all(watch.start_epoch is not None for watch in self._watches):
            self.model.stop_training = True


def _train_shared(shared: Run, runs: Mapping[str, Run]) -> SharedResult:
    """Trains dense until all goals have started, to the end with the dense baseline."""

    def started(goal: str) -> Callable[[int], None]:
        def hand_over(epoch: int) -> None:
            watch = watches[goal]
            shared.display.say(f"Ticket {goal} starts after epoch {epoch}: {watch.start_reason}.")
            _hand_over_search(phase, shared, runs[goal], place=list(runs).index(goal), epoch=epoch)

        return hand_over

    dense_values: dict[tuple[int, int], float] = {}
    watches = {goal: _Watch(run, started(goal), dense_values) for goal, run in runs.items()}
    phase = Phase(shared, "dense", searcher=_Watches(watches))
    done, within = begin_search(shared, phase)
    baseline = shared.config.train.dense_baseline
    ends = [] if baseline else [_StopWhenAllStarted(watches)]
    states = [watch.get_state() for watch in watches.values()]
    if baseline or any(state.start_epoch is None for state in states):
        keeper = KeepRewindWeights(shared, within)
        phase.fit(done, [mask_keeper(), *watches.values(), keeper, *ends])
    states = {goal: watch.get_state() for goal, watch in watches.items()}
    if baseline:
        phase.checkpoint.set_model(shared.model)
        for goal, run in runs.items():
            _hand_over_dense(phase, run, states[goal].start_epoch)
    seen = {goal: [probe.observation for probe in each.probes] for goal, each in states.items()}
    return SharedResult(
        phase.rows,
        losses={
            goal: last_loss((each.dense_accuracy, each.ppr_accuracy) for each in observations)
            for goal, observations in seen.items()
        },
        probe_epochs=sum(probe.cost_epochs for each in states.values() for probe in each.probes),
    )


def last_loss(probes: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Returns what the last of (dense, PPR) accuracies found lost, a fraction."""
    losses = [dense - ppr for dense, ppr in probes if dense is not None and ppr is not None]
    return losses[-1] if losses else None


def _hand_over_search(phase: Phase, shared: Run, run: Run, place: int, epoch: int) -> None:
    """Lets the run of a goal go on from the end of the epoch before its start.

    Args:
        phase: The training that all share.
        shared: Its run.
        run: Of the goal alone.
        place: Of the goal among the states of the searches.
        epoch: At whose end pruning starts; the end of the first one is no loss to train again.
    """
    given, log = _Given(), MetricsLog("search")
    checkpoint = run.checkpoint("search", log, given)
    if epoch == 1 or checkpoint.is_there() or run.paths.report.exists():
        return

    def own(states: tuple[SearchState, ...]) -> SearchState:
        probes = {probe.epoch: probe for probe in states[place].probes}
        for row in phase.rows[: epoch - 1]:
            probe = probes.get(row["epoch"])
            ppr_accuracy = probe and probe.observation.ppr_accuracy
            others = sum(
                each.seconds
                for other, state in enumerate(states)
                for each in state.probes
                if other != place and each.epoch == row["epoch"]
            )
            log.add({**row, "ppr_accuracy": ppr_accuracy, "seconds": row["seconds"] - others})
        return states[place]

    try:
        write_bytes(run.paths.rewind_weights, shared.paths.rewind_weights.read_bytes())
        phase.checkpoint.hand_over(epoch - 1, checkpoint, own)
    except (NoCheckpoint, OSError) as error:
        logger.warning(
            "The ticket in %s is trained from its beginning: %s", run.paths.workdir, error
        )


def _hand_over_dense(phase: Phase, run: Run, start_epoch: int) -> None:
    """Gives the run of a goal the dense network that it would have trained for comparison."""
    log = MetricsLog("dense")
    checkpoint = run.checkpoint("dense", log)
    if checkpoint.is_there() or run.paths.result("dense").exists() or run.paths.report.exists():
        return
    for row in phase.rows[start_epoch:]:
        log.add(row)
    try:
        phase.checkpoint.hand_over(phase.rows[-1]["epoch"], checkpoint, lambda states: None)
    except NoCheckpoint as error:
        logger.warning("The dense network of %s is trained by itself: %s", run.paths.workdir, error)
        return
    run.finish("dense", TrainingResult(log.rows))


def _dense(reports: Mapping[str, dict]) -> Dense | None:
    found = next(iter(reports.values()))["dense"]
    return None if found is None else Dense(**found)


def _member(goal: str, values: dict, paths: RunPaths) -> Member:
    report = Report.from_json(values)
    ticket, dense, seen = report.ticket, report.dense, report.probe
    lost = last_loss(zip(seen.dense_accuracy, seen.ppr_accuracy, strict=True))
    return Member(
        goal=goal,
        start_epoch=report.start_epoch,
        sparsity=ticket.sparsity,
        network_sparsity=ticket.network_sparsity,
        test_accuracy=ticket.test_accuracy,
        predicted_accuracy=None if None in (dense, lost) else dense.test_accuracy - lost,
        macs=report.macs.ticket if report.macs else None,
        bytes=sizes(paths.saved_model)["compressed_bytes"],
        ticket=_within_family(paths),
    )


def _within_family(paths: RunPaths) -> str:
    """Returns the path of a run's ticket from the family's directory."""
    return paths.ticket.relative_to(paths.workdir.parents[1]).as_posix()


def _cost(reports: Mapping[str, dict], shared: SharedResult) -> FamilyCost:
    """Returns what a family cost, in epochs, and its tickets' own runs would have."""
    own = probes = single = 0.0
    for report in reports.values():
        cost, start, probe = report["cost"], report["start_epoch"], report["probe"]
        # From the end of the epoch before the start on; a probe that was due there is made again.
        own += cost["train_epochs"] - (start - 1)
        probes += probe["fraction"] if start in probe["epochs"] else 0.0
        single += cost["total_epochs"] + cost["baseline_epochs"]
    dense, probes = float(len(shared.rows)), probes + shared.probe_epochs
    total = dense + own + probes
    return FamilyCost(
        total_epochs=total,
        dense_epochs=dense,
        probe_epochs=probes,
        single_runs_epochs=single,
        ratio=total / single,
    )


def _dense_macs(reports: Mapping[str, dict]) -> int | None:
    macs = next(iter(reports.values()))["macs"]
    return None if macs is None else macs["dense"]
