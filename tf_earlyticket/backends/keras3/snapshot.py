"""All state of a Keras 3 training run, so that a probe can leave no trace of itself."""

from tf_earlyticket.backends.keras3.compat import BACKEND, get_global_attribute, keras
from tf_earlyticket.backends.random_state import RandomState

_ATTRIBUTES = ("stop_training", "stop_evaluating", "history", "_initial_epoch")
_ABSENT = object()


class Keras3Snapshot:
    """A copy of everything that training changes, restored bit for bit, once.

    Holds weights, masks, statistics, seeds, optimizer and metrics variables, each replica's
    component by itself, and the random state of Keras, TensorFlow, NumPy and Python.
    """

    def __init__(self, model):
        self._model = model
        self._values = [(part, _copy(part)) for v in _variables(model) for part in _parts(v)]
        self._attributes = {name: getattr(model, name, _ABSENT) for name in _ATTRIBUTES}
        self._random = RandomState()
        # A nested `fit` begins at its own first epoch, whatever a backup told the outer one.
        if getattr(model, "_initial_epoch", None) is not None:
            model._initial_epoch = None

    def restore(self) -> None:
        """Writes everything back."""
        for part, value in self._values:
            part.assign(value)
        for name, value in self._attributes.items():
            if value is not _ABSENT:
                setattr(self._model, name, value)
            elif hasattr(self._model, name):
                delattr(self._model, name)
        self._random.restore()


def _variables(model) -> list:
    found = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    inner = getattr(model.optimizer, "inner_optimizer", None)
    found += inner.variables if inner is not None else []
    # Of random numbers that are drawn without a seed.
    generator = get_global_attribute("global_seed_generator")
    found += [generator.state] if generator is not None else []
    return list({id(variable): variable for variable in found}.values())


def _parts(variable) -> list:
    if BACKEND != "tensorflow":
        return [variable]
    # Each replica has a variable of its own, and BatchNorm's statistics differ between them.
    value = variable._value
    return list(getattr(value, "values", None) or [value])


def _copy(part):
    # JAX gives the buffers of a step's state away: a reference would not survive it.
    return part.read_value() if BACKEND == "tensorflow" else keras.ops.copy(part.value)
