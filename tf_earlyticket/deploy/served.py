"""A SavedModel as a function of arrays, and its dense counterpart."""

from pathlib import Path

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.ticket import Ticket

_SIGNATURE = "serving_default"


class Network:
    """A SavedModel with one input and one output.

    Args:
        directory: Of the SavedModel.

    Raises:
        InputError: If it has no signature `serving_default` with one input and one output.
    """

    def __init__(self, directory: Path):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(directory))
        signatures = dict(self._loaded.signatures)
        self._serve = signatures.get(_SIGNATURE)
        arguments = self._serve.structured_input_signature[1] if self._serve else {}
        if len(arguments) != 1 or len(self._serve.structured_outputs) != 1:
            raise InputError(
                f"{directory}: expected a SavedModel whose signature {_SIGNATURE!r} has one input "
                f"and one output, got {len(arguments)} inputs."
            )
        ((self._name, self._spec),) = arguments.items()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the outputs [batch, ...] of inputs [batch, ...]."""
        import tensorflow as tf

        (outputs,) = self._serve(**{self._name: tf.constant(inputs)}).values()
        return outputs.numpy()

    def example_inputs(self, count: int) -> np.ndarray:
        """Returns seeded random inputs: normal for floats, 0 for integers.

        Raises:
            InputError: If the shape is not fixed but for the batch.
        """
        shape = self._spec.shape.as_list()[1:]
        if None in shape:
            raise InputError(f"the input has shape {shape}: expected calibration inputs.")
        values = np.random.default_rng(0).normal(size=(count, *shape))
        if not self._spec.dtype.is_floating:
            values = np.zeros_like(values)
        return values.astype(self._spec.dtype.as_numpy_dtype)

    def check_inputs(self, inputs: np.ndarray) -> None:
        """Checks given inputs against what the network takes.

        Raises:
            InputError: If type or shape do not fit, a value is not finite, or there are none.
        """
        wanted = (self._spec.dtype.name, self._spec.shape)
        fits = inputs.dtype.name == wanted[0] and wanted[1].is_compatible_with(inputs.shape)
        if not fits or not len(inputs):
            raise InputError(
                f"calibration: expected {wanted[0]} of shape {tuple(wanted[1])}, got "
                f"{inputs.dtype.name} of shape {inputs.shape}."
            )
        if not np.isfinite(inputs).all():
            raise InputError("calibration: expected finite numbers, got NaN or infinity.")


def filled_copy(saved_model: Path, ticket: Ticket, directory: Path) -> None:
    """Writes the SavedModel with every pruned weight filled: the dense network of the same graph.

    The new values are normal with the standard deviation of the layer's kept weights, so that
    compressed sizes are those of a dense network.

    Raises:
        InputError: If a masked weight of the ticket is not in the SavedModel.
    """
    import tensorflow as tf

    loaded = tf.saved_model.load(str(saved_model))
    random = np.random.default_rng(0)
    values = {id(variable): variable.numpy() for variable in loaded.variables}
    for name, mask in ticket.masks.items():
        wanted = ticket.final_weights[name]
        for variable in loaded.variables:
            value = values[id(variable)]
            # By value: names do not tell layers of nested models apart.
            if value.shape == wanted.shape and np.array_equal(value, wanted):
                break
        else:
            raise InputError(f"the SavedModel has no weight with the values of {name!r}.")
        kept = wanted[mask]
        spread = np.std(kept) if kept.size else 1.0
        variable.assign(np.where(mask, wanted, random.normal(scale=spread, size=mask.shape)))
    tf.saved_model.save(loaded, str(directory), signatures=dict(loaded.signatures))
