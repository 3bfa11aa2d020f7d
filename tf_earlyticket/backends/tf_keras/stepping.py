"""Training and evaluating a model with the compiled steps of `fit`, while a `fit` is running."""

import contextlib

import numpy as np
import tensorflow as tf

from tf_earlyticket.errors import InputError


def train(model, dataset, steps: int) -> int:
    """Runs up to `steps` training steps and returns how many; fewer where the data set is shorter.

    Not by `fit` itself: a nested one resets the counters and callbacks of the one that is running.
    """
    function = model.make_train_function()
    # A call that runs out of data in its middle does not tell how many steps it made.
    available = int(dataset.cardinality())
    steps = min(steps, available) if available >= 0 else steps
    done = 0
    with _steps_per_call(model) as (per_call, set_steps):
        iterator = _iterator(model, dataset)
        while done < steps:
            now = min(per_call, steps - done)
            set_steps(now)
            try:
                function(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            done += now
    return done


def evaluate(model, dataset, steps: int | None = None) -> dict[str, float]:
    """Returns loss and scalar metrics over the data set, or its first `steps` batches.

    Raises:
        InputError: If the data set is empty.
    """
    function = model.make_test_function()
    model.reset_metrics()
    done, logs = 0, None
    with _steps_per_call(model) as (_, set_steps):
        set_steps(1)
        iterator = _iterator(model, dataset)
        while done != steps:
            try:
                logs = function(iterator)
            except (StopIteration, tf.errors.OutOfRangeError):
                break
            done += 1
    if logs is None:
        raise InputError("The data set is empty: expected at least one batch.")
    # Several workers' values come added up from a step; the metrics themselves know better.
    results = model.get_metrics_result()
    logs = results if set(results) == set(logs) else logs
    return {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}


@contextlib.contextmanager
def _steps_per_call(model):
    # Put back at once: Keras builds a step function that is not there yet for the present number.
    variable = model._steps_per_execution
    per_call = int(variable.numpy())
    try:
        yield per_call, variable.assign
    finally:
        variable.assign(per_call)


def _iterator(model, dataset):
    return iter(model.distribute_strategy.experimental_distribute_dataset(dataset))


def synchronize_replicas(model) -> None:
    """Makes variables that each replica keeps for itself equal to their mean."""
    for variable in model.variables:
        if variable.synchronization == tf.VariableSynchronization.ON_READ:
            variable.assign(variable.read_value())
