"""The state of a tf_keras training run in files: TensorFlow checkpoints."""

from pathlib import Path

import tensorflow as tf

from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.files import write_text

# A `fit` can begin within an epoch.
STARTS_WITHIN_EPOCHS = True
# The file without which the others are no checkpoint; what else belongs to it.
INDEX, OTHERS = ".index", ".data-*"


def write(model, path: Path) -> None:
    """Writes model, masks and optimizer to files that begin with `path`.

    Raises:
        OSError: If they cannot be written.
    """
    try:
        _checkpoint(model).write(str(path))
    except tf.errors.OpError as error:
        reason = " ".join(str(error.message).split())
        raise OSError(f"{path} cannot be written: {reason:.200}") from error


def point_to(directory: Path, name: str) -> None:
    """Names the latest checkpoint where `tf.train.latest_checkpoint` looks."""
    write_text(directory / "checkpoint", f'model_checkpoint_path: "{name}"\n')


def read(model, path: Path) -> None:
    """Reads what `write` wrote.

    Raises:
        ValueError: If it is not whole or not of this model.
    """
    try:
        _checkpoint(model).read(str(path)).assert_existing_objects_matched()
    except (tf.errors.OpError, AssertionError) as error:
        raise ValueError(str(error)) from error


def _checkpoint(model) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(model=model, optimizer=model.optimizer)


def metric_values(model) -> list:
    """Returns what the metrics have counted so far, as plain lists."""
    return [value.tolist() for value in keras.backend.batch_get_value(_metric_variables(model))]


def set_metric_values(model, values: list) -> None:
    """Takes the result of `metric_values`."""
    for variable, value in zip(_metric_variables(model), values, strict=True):
        variable.assign(value)


def _metric_variables(model) -> list:
    return [variable for metric in model.metrics for variable in metric.variables]


class _StartWithin:
    """Tells Keras at which step of the first epoch a `fit` begins."""

    def __init__(self, step: int):
        self._step = step

    def maybe_load_initial_counters_from_ckpt(self, steps_per_epoch, initial_epoch, mode=None):
        return initial_epoch, self._step


def start_within(model, step: int) -> None:
    """Lets the first epoch of the next `fit` begin at a step; 0: as usual again."""
    model._training_state = _StartWithin(step) if step else None
