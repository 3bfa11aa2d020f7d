"""`RunCheckpoint`: everything that a restart needs, after every epoch and before a termination."""

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.callbacks.callback import Callback
from tf_earlyticket.errors import Interrupted, RunError
from tf_earlyticket.files import read_arrays, write_arrays, write_json
from tf_earlyticket.job.log import MetricsLog
from tf_earlyticket.job.termination import TERMINATION

logger = logging.getLogger(__name__)
_NAME = re.compile(r"ckpt-(\d+)(?:-(\d+))?\.(?:index|npz)")


class Restartable(Protocol):
    """What else has a state that a restart needs, such as `EarlyTicket`."""

    def get_state(self) -> dict:
        """Returns the state as plain JSON values."""

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Returns what else belongs to the state, as arrays of numbers; may be empty."""

    def set_state(self, state: dict, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the results of both; the next `fit` continues from there."""


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

    def restore(self, model, epoch: int | None = None) -> tuple[int, dict | None]:
        """Restores a checkpoint, if there is one, and the callbacks' state with it.

        A damaged one is passed over with a warning, for the one before it.

        Args:
            model: The model that was saved.
            epoch: Which one, of those kept; None for the latest.

        Returns:
            The epochs done, 0 if there is no checkpoint, and the state of `searcher`.

        Raises:
            RunError: If there are checkpoints and none can be read.
        """
        # Slots that do not exist yet would be restored later than masks are applied.
        pruned(model).prepare()
        found = sorted(self._kept(self._restored_from), reverse=True)
        if epoch is not None:
            found = [(epoch, 0)]
        for place in found:
            try:
                state = self._read(model, *place)
            except (OSError, LookupError, ValueError) as error:
                reason = " ".join(str(error).split())
                logger.warning(
                    "Checkpoint %s is damaged (%.200s); looking for an earlier one.",
                    self._restored_from / _name(*place),
                    reason,
                )
                continue
            self._metrics_log.rows = state["rows"]
            if self._searcher is not None:
                self._searcher.set_state(state["early_ticket"], state["arrays"])
            self.first_step, self._metrics = place[1], state.get("metrics")
            return place[0], state["early_ticket"]
        if found:
            raise RunError(
                f"No checkpoint in {self._restored_from} can be read: expected at least one of "
                f"{', '.join(_name(*place) for place in found)}; start again in a new --workdir."
            )
        return 0, None

    def _read(self, model, epoch: int, step: int) -> dict:
        state = json.loads((self._restored_from / _state_name(epoch, step)).read_text())
        arrays = {}
        if state.get("has_arrays"):
            arrays = read_arrays(self._restored_from / _arrays_name(epoch, step))
        backend_of(model).read_state(model, self._restored_from / _name(epoch, step))
        return {name: state[name] for name in ("rows", "early_ticket")} | {
            "metrics": state.get("metrics"),
            "arrays": arrays,
        }

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
            metrics = backend.metric_values(self.model)
            self._write(self._epoch, batch + 1, {"metrics": metrics})
            raise Interrupted(f"saved after step {batch + 1} of epoch {self._epoch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        """Saves; then ends the `fit` if the process is told to terminate."""
        self.save(epoch + 1)
        if TERMINATION.requested:
            raise Interrupted(f"saved after epoch {epoch + 1}")

    def save(self, epoch: int) -> None:
        """Saves everything as of the end of `epoch` (from 1)."""
        self._write(epoch, 0, {})
        backend_of(self.model).point_to(self._directory, _name(epoch, 0))
        if self._keep is not None:
            for kept in self._kept(self._directory):
                if kept <= (epoch - self._keep, 0) or (kept[1] and kept < (epoch, 0)):
                    self._remove(*kept)

    def _write(self, epoch: int, step: int, more: dict) -> None:
        pruned(self.model).synchronize_replicas()
        arrays = {} if self._searcher is None else self._searcher.get_arrays()
        state = {
            "rows": self._metrics_log.rows,
            "early_ticket": self._searcher.get_state() if self._searcher is not None else None,
            "has_arrays": bool(arrays),
            **more,
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        if arrays:
            write_arrays(self._directory / _arrays_name(epoch, step), arrays)
        # The state goes first: a checkpoint without one could not be continued.
        write_json(self._directory / _state_name(epoch, step), state)
        backend_of(self.model).write_state(self.model, self._directory / _name(epoch, step))

    def latest(self) -> str:
        """Returns the path of the latest checkpoint, in words where there is none."""
        kept = self._kept(self._directory)
        return str(self._directory / _name(*max(kept))) if kept else "the beginning"

    def _kept(self, directory: Path) -> list[tuple[int, int]]:
        """Returns (epochs, steps within the next) of the checkpoints that are there."""
        names = (_NAME.fullmatch(path.name) for path in directory.glob("ckpt-*"))
        return [(int(name[1]), int(name[2] or 0)) for name in names if name]

    def _remove(self, epoch: int, step: int) -> None:
        backend, name = backend_of(self.model), _name(epoch, step)
        # The index first: without it there is no checkpoint.
        for path in (
            self._directory / f"{name}{backend.state_index}",
            *self._directory.glob(f"{name}{backend.state_others}"),
            self._directory / _state_name(epoch, step),
            self._directory / _arrays_name(epoch, step),
        ):
            path.unlink(missing_ok=True)


def _name(epoch: int, step: int) -> str:
    return f"ckpt-{epoch}-{step}" if step else f"ckpt-{epoch}"


def _state_name(epoch: int, step: int) -> str:
    return _name(epoch, step).replace("ckpt", "state") + ".json"


def _arrays_name(epoch: int, step: int) -> str:
    return _name(epoch, step).replace("ckpt", "arrays") + ".safetensors"
