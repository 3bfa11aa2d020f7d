"""All state of a training run, so that a probe can leave no trace of itself."""

import tensorflow as tf

from tf_earlyticket.backends.random_state import RandomState
from tf_earlyticket.backends.tf_keras import optimizers


class Snapshot:
    """A copy of everything that training changes, restored bit for bit.

    Holds weights, masks, BatchNorm statistics, optimizer slots, iterations, learning rate, loss
    scale, metrics, step counters and random state (of Dropout's generators, TensorFlow, NumPy and
    Python), each replica's component by itself: BatchNorm statistics differ between replicas.
    Takes as much memory as the model's variables and the optimizer's together.
    """

    def __init__(self, model):
        self._model = model
        components = [c for v in _state_variables(model) for c in _components(v)]
        self._values = [(component, component.read_value()) for component in components]
        self._stop_training = model.stop_training
        self._random = RandomState()

    def restore(self) -> None:
        """Writes everything back. May be called more than once."""
        for component, value in self._values:
            component.assign(value)
        self._model.stop_training = self._stop_training
        self._random.restore()


def _components(variable):
    return getattr(variable, "values", None) or [variable]


def _state_variables(model) -> list[tf.Variable]:
    found = list(model.variables) + optimizers.variables(model.optimizer)
    for metric in model.metrics:
        found += metric.variables
    found += [model._train_counter, model._test_counter, model._predict_counter]
    found.append(model._steps_per_execution)
    found += [generator.state for generator in _generators(model)]
    unique = {id(variable): variable for variable in found if isinstance(variable, tf.Variable)}
    return list(unique.values())


def _generators(model):
    for layer in model._flatten_layers():
        keras_generator = getattr(layer, "_random_generator", None)
        for value in (*vars(layer).values(), getattr(keras_generator, "_generator", None)):
            if isinstance(value, tf.random.Generator):
                yield value
