"""SavedModels: written, checked, served as functions of arrays, and made dense again."""

import logging
import shutil
from pathlib import Path

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.tickets.storage import MASKED_MODEL, Pictures
from tf_earlyticket.tickets.ticket import Ticket

logger = logging.getLogger(__name__)
_SIGNATURE = "serving_default"
# Of networks that take pictures: these as they are.
PICTURES = "serve_pictures"


def _example(entry, count: int, random: np.random.Generator) -> np.ndarray:
    """Returns inputs [count, ...] like a symbolic one: floats from 0 to 1, integers 0.

    Of a batch that is fixed, as many as it has.
    """
    import tensorflow as tf

    count = entry.shape[0] or count

    # In Keras 3 the types are names. All may be indices, floats cut off: 0 is always one.
    dtype = tf.as_dtype(entry.dtype)
    if dtype == tf.string:
        return np.full((count, *entry.shape[1:]), "a word")
    values = random.random((count, *entry.shape[1:])) * dtype.is_floating
    return values.astype(dtype.as_numpy_dtype)


def check_outputs(model, directory: Path) -> None:
    """Compares a SavedModel with the Keras model it was written from, on seeded random inputs.

    Networks whose inputs have other free dimensions than the batch are not compared.

    Raises:
        RunError: If outputs differ by more than rounding.
    """
    import tensorflow as tf

    taken = backend_of(model).inputs_of(model)
    if taken is None or any(None in tuple(entry.shape[1:]) for entry in tf.nest.flatten(taken)):
        return
    random = np.random.default_rng(0)
    inputs = tf.nest.map_structure(lambda entry: tf.constant(_example(entry, 2, random)), taken)
    # Kept: with it go its variables.
    loaded = tf.saved_model.load(str(directory))
    served = loaded.serve(inputs)
    for ours, theirs in zip(
        tf.nest.flatten(served), tf.nest.flatten(model(inputs, training=False)), strict=True
    ):
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        # Where all are padding, a mean over the others is no number.
        largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
        if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * (1 + largest), equal_nan=True):
            difference = np.abs(ours - theirs).max()
            raise RunError(
                f"The SavedModel's outputs differ from the model's by up to {difference:.2g}. "
                "Nothing was written."
            )


class Network:
    """A SavedModel with one input and one output.

    Args:
        directory: Of the SavedModel.

    Attributes:
        loaded: As TensorFlow loads it.

    Raises:
        InputError: If it has no signature `serving_default` with one input and one output, or
            TensorFlow takes its path for a pattern.
    """

    def __init__(self, directory: Path):
        import tensorflow as tf

        checks.plain_path("directory", directory)
        self.loaded = tf.saved_model.load(str(directory))
        signatures = dict(self.loaded.signatures)
        self._serve = signatures.get(_SIGNATURE)
        arguments = self._serve.structured_input_signature[1] if self._serve else {}
        results = len(self._serve.structured_outputs) if self._serve else 0
        if len(arguments) != 1 or results != 1:
            raise InputError(
                f"{directory}: expected a SavedModel whose signature {_SIGNATURE!r} has one input "
                f"and one output, got {len(arguments)} inputs and {results} outputs."
            )
        ((self._name, self._spec),) = arguments.items()

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the outputs [batch, ...] of inputs [batch, ...]."""
        import tensorflow as tf

        return self.outputs(tf.constant(inputs)).numpy()

    def outputs(self, inputs):
        """Returns the outputs of a tensor, also within a `tf.function`."""
        (outputs,) = self._serve(**{self._name: inputs}).values()
        return outputs

    def example_inputs(self, count: int) -> np.ndarray:
        """Returns seeded random inputs: normal for floats, 0 for integers.

        Raises:
            InputError: If the shape is not fixed but for the batch.
        """
        shape = self._spec.shape.as_list()[1:]
        if None in shape:
            raise InputError(f"the input has shape {shape}: expected calibration inputs.")
        return _example(self._spec, count, np.random.default_rng(0))

    def check_inputs(self, inputs: np.ndarray) -> None:
        """Checks given inputs against what the network takes.

        Raises:
            InputError: If type or shape do not fit, a value is not finite, or there are none.
        """
        wanted, shape = self._spec.dtype.name, self._spec.shape
        text = wanted == "string" and inputs.dtype.kind == "U"
        fits = text or inputs.dtype.name == wanted
        if not fits or not shape.is_compatible_with(inputs.shape) or not len(inputs):
            got = f"{inputs.dtype.name} of shape {inputs.shape}"
            raise checks.refuse("calibration", got, f"{wanted} of shape {tuple(shape)}")
        if not text and not np.isfinite(inputs).all():
            raise checks.refuse("calibration", "NaN or infinity", "finite numbers")

    def check_pictures(self, pictures: Pictures) -> None:
        """Checks what is said of the pictures that it takes against what it takes.

        Raises:
            InputError: If it takes or returns something else.
        """
        (result,) = self._serve.structured_outputs.values()
        for name, ours, theirs in (
            ("shape", pictures.shape, self._spec.shape[1:]),
            ("classes", [len(pictures.classes)], result.shape[1:]),
        ):
            if not theirs.is_compatible_with(ours):
                raise checks.refuse(f"pictures.{name}", ours, f"{theirs.as_list()}, as the network")


def limit_threads(threads: int) -> None:
    """Lets TensorFlow compute with so many threads, before it computes anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def add_pictures(directory: Path, pictures: Pictures) -> None:
    """Adds the signature `serve_pictures` to a SavedModel whose outputs are logits of the classes.

    It takes "pictures", uint8 [batch, height, width, channels], and returns "probabilities",
    float32 [batch, classes], and "classes", their names.

    Raises:
        InputError: If the SavedModel does not take such pictures, or has not as many outputs.
    """
    import tensorflow as tf

    network = Network(directory)
    network.check_pictures(pictures)
    loaded, scale = network.loaded, 1 / np.asarray(pictures.deviation)
    offset = -np.asarray(pictures.mean) * scale

    def serve(pixels):
        inputs = tf.cast(pixels, tf.float32) * np.float32(scale) + np.float32(offset)
        return {
            "probabilities": tf.nn.softmax(network.outputs(inputs)),
            "classes": tf.constant(pictures.classes),
        }

    spec = tf.TensorSpec((None, *pictures.shape), tf.uint8, "pictures")
    setattr(loaded, PICTURES, tf.function(serve, input_signature=[spec]))
    served = {**loaded.signatures, PICTURES: getattr(loaded, PICTURES)}
    written = directory.with_name(f"{directory.name}.{PICTURES}")
    # Not in place: its weights are read while it is written.
    tf.saved_model.save(loaded, str(written), signatures=served)
    shutil.rmtree(directory)
    written.rename(directory)


def filled_copy(saved_model: Path, ticket: Ticket, directory: Path) -> None:
    """Writes the SavedModel with every pruned weight filled: the dense network of the same graph.

    The new values are normal with the standard deviation of the layer's kept weights, so that
    compressed sizes are those of a dense network. Of a ticket of channels it is as large as before
    they were removed.

    Raises:
        InputError: If a masked weight of the ticket is not in the SavedModel.
    """
    import tensorflow as tf

    masked = saved_model.parent / MASKED_MODEL
    loaded = tf.saved_model.load(str(masked if masked.is_dir() else saved_model))
    random = np.random.default_rng(0)
    values = {id(variable): variable.numpy() for variable in loaded.variables}
    for name, mask in ticket.masks.items():
        wanted = ticket.final_weights[name]
        for variable in loaded.variables:
            value = values.get(id(variable))
            # By value: names do not tell layers of nested models apart.
            if value is not None and np.array_equal(value, wanted):
                break
        else:
            raise InputError(f"the SavedModel has no weight with the values of {name!r}.")
        # Layers of nothing but zeros are alike.
        del values[id(variable)]
        kept = wanted[mask]
        # Of a single weight it would be 0.
        spread = np.std(kept) if kept.size > 1 else 1.0
        variable.assign(np.where(mask, wanted, random.normal(scale=spread, size=mask.shape)))
    tf.saved_model.save(loaded, str(directory), signatures=dict(loaded.signatures))
