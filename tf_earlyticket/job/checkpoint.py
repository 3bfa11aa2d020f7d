"""`RunCheckpoint`: everything that a restart needs, after every epoch and before a termination."""

import itertools
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.errors import InputError, Interrupted, RunError
from tf_earlyticket.files import (
    make_directory,
    read_arrays,
    read_sealed,
    sha256,
    write_arrays,
    write_bytes,
    write_sealed,
)
from tf_earlyticket.job.devices import TERMINATION
from tf_earlyticket.job.log import MetricsLog

logger = logging.getLogger(__name__)
_STATE = re.compile(r"state-(\d+)(?:-(\d+))?\.json")


class Restartable(Protocol):
    """What else has a state that a restart needs, such as `EarlyTicket`.

    Attributes:
        state_kind: Type of its state: a dataclass, or a tuple of them; arrays may be in it.
    """

    state_kind: Any

    def get_state(self) -> Any:
        """Returns the state."""

    def set_state(self, state: Any) -> None:
        """Takes the result of `get_state`; the next `fit` continues from there."""


@dataclass(frozen=True)
class _State:
    """What is saved beside the model.

    Attributes:
        rows: Of metrics, one an epoch.
        searcher: The state of a `Restartable`; None without one.
        metrics: What Keras' metrics had counted within the epoch; None at its end.
        names: Of the model's weights, in order, and of its kind of optimizer.
        files: The hashes of all other files of the checkpoint, by name.
        made_with: As the back end gives it.
    """

    rows: list[dict[str, Any]]
    searcher: Any
    metrics: list | None
    names: list[str]
    files: dict[str, str]
    made_with: dict[str, str]


class NoCheckpoint(RunError):
    """The checkpoint that a phase begins with is gone or damaged."""


class RunCheckpoint(Callback):
    """Saves model, optimizer and the callbacks' state after every epoch; the last in the list.

    Also within an epoch when the process is told to terminate, and then ends the `fit`.

    Args:
        directory: Where checkpoints of this phase go.
        metrics_log: Its rows are part of the state.
        searcher: Its state too; None in a phase without probes.
        keep: Checkpoints to keep, the latest ones; None for all.
        restored_from: Where `restore` looks; default `directory`.

    Attributes:
        first_step: Steps of the next epoch that are done already; its `fit` has to get data from
            there on.

    Raises:
        OSError: When a checkpoint cannot be written; those before it stay.
        Interrupted: Within a `fit`, after the state was saved because of a termination.
    """

    def __init__(
        self,
        directory: Path,
        metrics_log: MetricsLog,
        searcher: Restartable | None = None,
        keep: int | None = 2,
        restored_from: Path | None = None,
    ):
        super().__init__()
        self._directory = directory
        self._restored_from = restored_from or directory
        self._metrics_log = metrics_log
        self._searcher = searcher
        self._keep = keep
        self._metrics: list | None = None
        self.first_step = 0

    def restore(self, model, epoch: int | None = None) -> int:
        """Restores a checkpoint, if there is one, and the callbacks' state with it.

        One of which a file is damaged or gone is passed over with a warning, for the one before.

        Args:
            model: The model that was saved.
            epoch: Which one, of those kept; None for the latest.

        Returns:
            The epochs done, 0 if there is no checkpoint.

        Raises:
            NoCheckpoint: If there are checkpoints and none can be read.
            InputError: If it was made by other versions, another backend or precision.
        """
        # Slots that do not exist yet would be restored later than masks are applied.
        pruned(model).prepare()
        found = sorted(self._kept(self._restored_from), reverse=True)
        if epoch is not None:
            found = [(epoch, 0)]
        for place in found:
            path = self._restored_from / _name(*place)
            try:
                state = self._read_state(*place)
                differing = self._other_than(state.made_with, backend_of(model).made_with())
                if differing is None:
                    _check_names(state.names, _names_of(model))
                    backend_of(model).read_state(model, path)
            except (OSError, LookupError, ValueError) as error:
                reason = " ".join(str(error).split())
                logger.warning(
                    "Checkpoint %s cannot be used (%.200s); looking for an earlier one.",
                    path,
                    reason,
                )
                continue
            if differing is not None:
                raise differing
            self._metrics_log.rows = state.rows
            if self._searcher is not None:
                self._searcher.set_state(state.searcher)
            self.first_step, self._metrics = place[1], state.metrics
            return place[0]
        if found:
            raise NoCheckpoint(
                f"No checkpoint in {self._restored_from} can be used ({reason:.200}): expected at "
                f"least one of {', '.join(_name(*place) for place in found)}; start again in a new "
                "--workdir."
            )
        return 0

    def _other_than(self, there: dict[str, str], here: dict[str, str]) -> InputError | None:
        for name in {**there, **here}:
            if (made := there.get(name)) != here.get(name):
                expected = (
                    f"{made!r}, with which {self._restored_from} was made, or a new --workdir"
                )
                return checks.refuse(name, here.get(name), expected)
        return None

    def on_train_begin(self, logs=None):
        """Lets Keras begin within the epoch if a checkpoint within one was restored."""
        if self.first_step:
            backend_of(self.model).start_within(self.model, self.first_step)

    def on_epoch_begin(self, epoch, logs=None):
        """Gives metrics what they had counted when an epoch was interrupted."""
        self._epoch = epoch
        if self.first_step and self._metrics is not None:
            backend = backend_of(self.model)
            backend.start_within(self.model, 0)
            backend.set_metric_values(self.model, self._metrics)
            self.first_step, self._metrics = 0, None

    def on_train_batch_end(self, batch, logs=None):
        """Saves and ends the `fit` if the process is told to terminate.

        After the last step of an epoch its end is waited for.
        """
        if not TERMINATION.requested or batch + 1 == self.params.get("steps"):
            return
        backend = backend_of(self.model)
        if backend.starts_within_epochs:
            self._write(self._epoch, batch + 1, backend.metric_values(self.model))
            raise Interrupted(f"saved after step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        """Saves; then ends the `fit` if the process is told to terminate."""
        self.save(epoch + 1)
        if TERMINATION.requested:
            raise Interrupted(f"saved after epoch {epoch + 1}")

    def save(self, epoch: int) -> None:
        """Saves everything as of the end of `epoch` (from 1)."""
        self._write(epoch, 0)
        backend_of(self.model).point_to(self._directory, _name(epoch, 0))
        if self._keep is not None:
            for kept in self._kept(self._directory):
                if kept <= (epoch - self._keep, 0) or (kept[1] and kept < (epoch, 0)):
                    self._remove(*kept)

    def _write(self, epoch: int, step: int, metrics: list | None = None) -> None:
        backend, directory = backend_of(self.model), self._directory
        pruned(self.model).synchronize_replicas()
        make_directory(directory)
        backend.write_state(self.model, directory / _name(epoch, step))
        model_files = self._files(epoch, step)
        self._seal(epoch, step, metrics, _names_of(self.model), backend.made_with(), model_files)

    def _seal(
        self,
        epoch: int,
        step: int,
        metrics: list | None,
        names: list[str],
        made_with: dict[str, str],
        model_files: list[Path],
    ) -> None:
        """Makes the files of a model a checkpoint, with rows and the searcher's state."""
        directory = self._directory
        searcher = None if self._searcher is None else self._searcher.get_state()
        arrays: dict[str, np.ndarray] = {}

        def set_aside(value: object) -> str:
            if not isinstance(value, np.ndarray):
                raise TypeError(f"a {type(value).__name__} cannot be saved")
            name = f"array_{len(arrays)}"
            arrays[name] = value
            return name

        values = msgspec.to_builtins(searcher, enc_hook=set_aside, str_keys=True)
        array_file = directory / _state_name(epoch, step, ".safetensors")
        if arrays:
            write_arrays(array_file, arrays)
        made = [*model_files, *([array_file] if arrays else [])]
        files = {path.name: sha256(path) for path in made if path.exists()}
        state = _State(self._metrics_log.rows, values, metrics, names, files, made_with)
        # Last: it makes the files a checkpoint.
        write_sealed(directory / _state_name(epoch, step), vars(state))

    def _read_state(self, epoch: int, step: int) -> _State:
        """Returns the state of a checkpoint all of whose files are as they were written."""
        folder = self._restored_from
        try:
            state = msgspec.convert(read_sealed(folder / _state_name(epoch, step)), _State)
            own = (f"{_name(epoch, step)}.", _state_name(epoch, step, ".safetensors"))
            if not all(name.startswith(own) for name in state.files):
                raise ValueError("its state is that of another checkpoint")
            for name, stated in state.files.items():
                if sha256(folder / name) != stated:
                    raise ValueError(f"{name} is another one than was written")
            path = folder / _state_name(epoch, step, ".safetensors")
            arrays = read_arrays(path) if path.name in state.files else {}
            kind = Any if self._searcher is None else self._searcher.state_kind
            searcher = msgspec.convert(
                state.searcher, kind, dec_hook=lambda kind, name: arrays[name], str_keys=True
            )
            return replace(state, searcher=searcher)
        except msgspec.ValidationError as error:
            raise ValueError(f"its state is of another form: {error}") from None

    def hand_over(self, epoch: int, other: "RunCheckpoint", searcher_of: Callable) -> None:
        """Copies the checkpoint of the end of an epoch to a phase that is to go on from there.

        Args:
            epoch: Which one, of those kept.
            other: Where it goes, with its own log's rows; its searcher is given its state.
            searcher_of: Returns that state from the one in this checkpoint.

        Raises:
            NoCheckpoint: If it is damaged or gone.
        """
        try:
            state = self._read_state(epoch, 0)
        except (OSError, ValueError) as error:
            raise NoCheckpoint(f"{self._directory / _name(epoch, 0)}: {error}") from error
        if other._searcher is not None:
            other._searcher.set_state(searcher_of(state.searcher))
        make_directory(other._directory)
        copies = []
        for path in self._files(epoch, 0):
            copies.append(other._directory / path.name)
            write_bytes(copies[-1], path.read_bytes())
        other._seal(epoch, 0, None, state.names, state.made_with, copies)
        backend_of(self.model).point_to(other._directory, _name(epoch, 0))

    def is_there(self) -> bool:
        """Tells whether there is a checkpoint, maybe a damaged one."""
        return bool(self._kept(self._restored_from))

    def latest(self) -> str:
        """Returns the path of the latest checkpoint, in words where there is none."""
        kept = self._kept(self._directory)
        return str(self._directory / _name(*max(kept))) if kept else "the beginning"

    def _kept(self, directory: Path) -> list[tuple[int, int]]:
        """Returns (epochs, steps within the next) of the checkpoints that are there."""
        names = (_STATE.fullmatch(path.name) for path in directory.glob("state-*"))
        return [(int(name[1]), int(name[2] or 0)) for name in names if name]

    def _files(self, epoch: int, step: int) -> list[Path]:
        """Returns the files of a checkpoint that hold the model, where they are there."""
        backend, name = backend_of(self.model), _name(epoch, step)
        return [
            self._directory / f"{name}{backend.state_index}",
            *sorted(self._directory.glob(f"{name}{backend.state_others}")),
        ]

    def _remove(self, epoch: int, step: int) -> None:
        # The state first: without it there is no checkpoint.
        state, arrays = (
            self._directory / _state_name(epoch, step, ending)
            for ending in (".json", ".safetensors")
        )
        for path in (state, *self._files(epoch, step), arrays):
            path.unlink(missing_ok=True)


def _names_of(model) -> list[str]:
    return [*backend_of(model).named_weights(model), type(model.optimizer).__name__]


def _check_names(saved: list[str], present: list[str]) -> None:
    for there, here in itertools.zip_longest(saved, present):
        if there != here:
            raise ValueError(f"it is of another network: it has {there!r} in place of {here!r}")


def _name(epoch: int, step: int) -> str:
    return f"ckpt-{epoch}-{step}" if step else f"ckpt-{epoch}"


def _state_name(epoch: int, step: int, ending: str = ".json") -> str:
    return _name(epoch, step).replace("ckpt", "state") + ending
