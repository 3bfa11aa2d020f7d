"""`Run`: what all phases of a run share, and where each keeps its checkpoints and result."""

import json
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_earlyticket.config import Config
from tf_earlyticket.data.streams import Data
from tf_earlyticket.files import write_json
from tf_earlyticket.job.build import build_wrapped_model, plan_of
from tf_earlyticket.job.checkpoint import Restartable, RunCheckpoint
from tf_earlyticket.job.devices import wait_for_workers
from tf_earlyticket.job.display import Display
from tf_earlyticket.job.log import MetricsLog
from tf_earlyticket.job.weights_file import load_weights
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.plan import Plan

logger = logging.getLogger(__name__)
REWIND_FILE = "rewind_weights.npz"
RESULT_FILE = "result.json"


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

    def directory(self, phase: str) -> Path:
        """Where the checkpoints of a phase go."""
        return self.paths.checkpoints / phase

    def metrics_log(self, phase: str, earlier_rows=()) -> MetricsLog:
        """Returns the callback that writes metrics.csv and TensorBoard in a phase."""
        return MetricsLog(
            self.paths.metrics,
            self.paths.tensorboard,
            phase,
            earlier_rows,
            histograms=self.display.histograms,
        )

    def checkpoint(
        self,
        phase: str,
        metrics_log: MetricsLog,
        searcher: Restartable | None = None,
        keep: int | None = 2,
    ) -> RunCheckpoint:
        """Returns the callback that saves and restores the state of a phase."""
        saved = self.paths.saved_checkpoints / phase
        return RunCheckpoint(self.directory(phase), metrics_log, searcher, keep, saved)

    def result(self, phase: str) -> dict | None:
        """Returns the result of a finished phase, else None."""
        path = self.paths.saved_checkpoints / phase / RESULT_FILE
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("%s is damaged (%s); the phase ends anew.", path, error)
            return None

    def finish(self, phase: str, result: dict) -> dict:
        """Marks a phase as finished."""
        self.directory(phase).mkdir(parents=True, exist_ok=True)
        write_json(self.directory(phase) / RESULT_FILE, result)
        wait_for_workers(self.strategy)
        return result

    def restore(self, phase: str, epoch: int | None = None) -> None:
        """Restores the model's state of a phase: the last one, or that of a kept epoch."""
        wait_for_workers(self.strategy)
        self.checkpoint(phase, MetricsLog(None, None, phase)).restore(self.model, epoch)

    def rewind_weights(self) -> dict[str, np.ndarray]:
        """Returns the weights of the rewind epoch, from the file that the search wrote."""
        return load_weights(self.paths.saved_checkpoints / REWIND_FILE)
