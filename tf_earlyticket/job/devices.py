"""What a run does on several devices, which of several processes it is, and when it has to end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_named
from tf_earlyticket.backends.strategies import STRATEGIES
from tf_earlyticket.config import Config
from tf_earlyticket.job.build import dataset_spec

if TYPE_CHECKING:
    import tensorflow as tf


def check_strategy(name: str) -> None:
    """Checks the value of --strategy, and TF_CONFIG where that counts.

    Raises:
        InputError: If it is unknown, or TF_CONFIG has another form than TensorFlow's.
    """
    checks.choice("--strategy", name, STRATEGIES)
    is_chief(name)


def is_chief(strategy: str) -> bool:
    """Returns whether this process writes the files of a run.

    With strategy "multi_worker" that is the task of type "chief", or else worker 0; every process
    of another strategy does.

    Raises:
        InputError: If TF_CONFIG is of another form than TensorFlow's.
    """
    text = os.environ.get("TF_CONFIG")
    if strategy != "multi_worker" or not text:
        return True
    with contextlib.suppress(ValueError, KeyError, TypeError):
        given = json.loads(text)
        workers, task = given["cluster"]["worker"], given["task"]
        kind, index = task["type"], task["index"]
        if kind == "chief" or (isinstance(index, int) and 0 <= index < len(workers)):
            return kind == "chief" or (index == 0 and "chief" not in given["cluster"])
    raise checks.refuse(
        "TF_CONFIG",
        text,
        '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}',
    )


def config_for_replicas(config: Config, strategy: tf.distribute.Strategy) -> Config:
    """Returns the config with which the devices of a strategy train.

    Batch size and learning rate stay as they are unless `train.scale_with_replicas` asks for
    linear scaling (Goyal et al., 2017). The flag is then off in the config returned, which is what
    reports and tickets hold: repeated from there, nothing is scaled again.

    Raises:
        InputError: If the replicas cannot have equal parts of the batch, or of what is evaluated
            where they have to.
    """
    replicas, train = strategy.num_replicas_in_sync, config.train
    if replicas > 1 and backend_named(config.model.keras).even_batches:
        spec = dataset_spec(config)
        evaluated = {"held-out": spec.validation_examples, "test": spec.test_examples}
        for kind, examples in evaluated.items():
            if examples % replicas:
                expected = (
                    f"one_device for {examples} {kind} examples, which are no multiple of the "
                    f"{replicas} devices: they share every batch equally"
                )
                raise checks.refuse("--strategy", "mirrored", expected)
    if train.scale_with_replicas:
        scaled = replace(
            train,
            batch_size=train.batch_size * replicas,
            learning_rate=train.learning_rate * replicas,
            scale_with_replicas=False,
        )
        return replace(config, train=scaled)
    if train.batch_size % replicas:
        raise checks.refuse(
            "config.train.batch_size",
            train.batch_size,
            f"a multiple of the {replicas} replicas, or config.train.scale_with_replicas=true",
        )
    return config


@contextlib.contextmanager
def output_directory(strategy: str) -> Iterator[Path | None]:
    """Gives workers that are not the chief a place to write to, until the end; others None."""
    if is_chief(strategy):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tf_earlyticket_worker_") as folder:
        yield Path(folder)


def wait_for_workers(strategy: tf.distribute.Strategy) -> None:
    """Returns once all workers have come here: what the chief wrote before is there to read."""
    if not works_with_others(strategy):
        return
    import tensorflow as tf

    @tf.function
    def meet():
        ones = strategy.run(lambda: tf.constant(1.0))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)

    meet()


def works_with_others(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether this process is one of several that train together."""
    import tensorflow as tf

    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


class Termination:
    """Notes SIGTERM, the warning of a machine that is about to be taken away, while training.

    The step in progress then ends and its state is saved.

    Attributes:
        requested: Whether the signal came.
    """

    def __init__(self):
        self.requested = False

    @contextlib.contextmanager
    def noticed(self) -> Iterator[None]:
        """Notes the signal within a `with` block; a second one ends the process as always.

        Does nothing outside of the main thread, where Python sets no handlers.
        """
        self.requested = False
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = signal.getsignal(signal.SIGTERM)

        def note(number, frame):
            self.requested = True
            signal.signal(signal.SIGTERM, former)

        signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, former)


# Signals are the process's, not an object's.
TERMINATION = Termination()
