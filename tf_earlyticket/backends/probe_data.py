"""Data sets for the probe that share no state with those of the training run."""

import logging
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2

from tf_earlyticket import checks
from tf_earlyticket.backends.layers import as_computed
from tf_earlyticket.errors import InputError

logger = logging.getLogger(__name__)
EXPECTED = (
    "what fit takes, a batched tf.data.Dataset, arrays (inputs, labels), a Sequence or PyDataset, "
    "or a function without arguments that returns one anew"
)
# As `fit` has.
_BATCH_SIZE = 32
_ORDER_SEED = 2026


def probe_dataset(
    data, argument: str, *, batch_size: int | None = None, shuffled: bool = True
) -> Callable[[], tf.data.Dataset]:
    """Returns a function that makes a data set which yields the same elements every time.

    Reading it never changes what training reads: not the order of a shuffled data set, nor the
    state of a sequence.

    Args:
        data: What `fit` takes: a batched `tf.data.Dataset`, of which an independent copy is made;
            arrays or tensors as (inputs, labels) or (inputs, labels, weights of the examples), of
            several inputs or outputs as dicts or lists; a `Sequence` of tf_keras or `PyDataset` of
            Keras 3; a `DataLoader` of torch; or a function without arguments that returns one of
            these anew.
        argument: Name of the argument, for error messages.
        batch_size: Of arrays; None: 32, as in `fit`.
        shuffled: Whether arrays, batches of a sequence and examples of a loader come in a random
            order, the same each time; else in their own.

    Raises:
        InputError: If `data` is something else, is empty, or arrays have different lengths.
    """
    if isinstance(data, tf.data.Dataset):
        return _copies(data, argument)
    order = _shuffled if shuffled else np.arange
    if isinstance(data, (tuple, list)):
        size = _BATCH_SIZE if batch_size is None else batch_size
        return _of_arrays(data, argument, order, size)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not _is_no_sequence(data):
        return _of_sequence(data, argument, order)
    if hasattr(data, "collate_fn") and hasattr(getattr(data, "dataset", None), "__getitem__"):
        return _of_loader(data, argument, order)
    if callable(data):
        return _made_anew(data, argument, batch_size, shuffled)
    raise checks.refuse(argument, data, EXPECTED)


def split_arrays(data, part: float, argument: str) -> tuple[tuple, tuple]:
    """Returns arrays without their last part, and that part, as `fit(validation_split=...)` does.

    Args:
        data: As for `probe_dataset`, arrays.
        part: A fraction in (0, 1).
        argument: Name of the arrays' argument, for error messages.

    Raises:
        InputError: If `data` is not arrays, `part` is out of range or leaves one side empty.
    """
    checks.number("validation_split", part, above=0, below=1)
    if not isinstance(data, (tuple, list)) or len(data) < 2:
        raise checks.refuse(argument, data, "arrays (inputs, labels) beside validation_split")
    arrays, length = _arrays(data, argument)
    place = math.floor(length * (1 - part))
    if not 0 < place < length:
        raise checks.refuse("validation_split", part, f"a part of {length} examples, not all")
    first = tf.nest.map_structure(lambda array: array[:place], arrays)
    return first, tf.nest.map_structure(lambda array: array[place:], arrays)


def _is_no_sequence(data) -> bool:
    return (
        isinstance(data, (dict, str, bytes, type))
        or hasattr(data, "__array__")
        or tf.is_tensor(data)
    )


def _shuffled(length: int) -> np.ndarray:
    return np.random.default_rng(_ORDER_SEED).permutation(length)


def _arrays(data, argument: str) -> tuple[tuple, int]:
    """Returns arrays as Keras takes them, and how many examples they have."""
    if not 2 <= len(data) <= 3:
        raise checks.refuse(argument, data, "(inputs, labels) or (inputs, labels, weights)")
    # A list is of several inputs or outputs; not all of its arrays must have a value.
    arrays = tuple(_standard(part) for part in data if part is not None)
    lengths = {int(array.shape[0]) for array in tf.nest.flatten(arrays) if len(array.shape)}
    scalars = any(not len(array.shape) for array in tf.nest.flatten(arrays))
    if len(lengths) != 1 or scalars or lengths == {0}:
        found = ", ".join(str(tuple(array.shape)) for array in tf.nest.flatten(arrays))
        raise InputError(
            f"{argument} has arrays of shapes {found}: expected as many examples in each, at least "
            "1."
        )
    return arrays, lengths.pop()


def _standard(part):
    if isinstance(part, dict):
        return {name: _standard(each) for name, each in part.items()}
    if isinstance(part, (tuple, list)) and part and not np.isscalar(part[0]):
        return tuple(map(_standard, part))
    if tf.is_tensor(part):
        return part
    # Of torch, too.
    array = np.asarray(part)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _of_arrays(data, argument: str, order, batch_size: int):
    checks.integer("batch_size", batch_size, 1)
    arrays, length = _arrays(data, argument)
    # On an accelerator they would be copied back for each batch.
    with tf.device("CPU:0"):
        if any(isinstance(part, tf.SparseTensor) for part in tf.nest.flatten(arrays)):
            made = tf.data.Dataset.from_tensor_slices(arrays)
            if order is _shuffled:
                made = made.shuffle(length, seed=_ORDER_SEED, reshuffle_each_iteration=False)
            made = made.batch(batch_size)
        else:
            tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)
            places = tf.data.Dataset.from_tensor_slices(order(length)).batch(batch_size)
            made = places.map(
                lambda now: tf.nest.map_structure(lambda part: tf.gather(part, now), tensors)
            )
    made = made.prefetch(1).with_options(_untuned())
    return lambda: made


def _of_sequence(data, argument: str, order):
    length = len(data)
    if not length:
        raise InputError(f"{argument} is empty: expected at least one batch.")

    def batches():
        for place in order(length):
            yield _standard_batch(data[int(place)])

    places = order(length)
    # Batches may be padded each to a length of its own.
    specs = [
        tf.nest.map_structure(_open_spec, _standard_batch(data[int(places[place])]))
        for place in sorted({0, length // 2, length - 1})
    ]
    signature = tf.nest.map_structure(_common_spec, *specs)
    made = tf.data.Dataset.from_generator(batches, output_signature=signature)
    made = made.apply(tf.data.experimental.assert_cardinality(length)).with_options(_untuned())
    return lambda: made


def _standard_batch(batch):
    if not isinstance(batch, (tuple, list)):
        return _standard(batch)
    return tuple(_standard(part) for part in batch if part is not None)


def _open_spec(part):
    """Returns what a batch is of, for any number of examples."""
    spec = part._type_spec if tf.is_tensor(part) else tf.TensorSpec(part.shape, part.dtype)
    if isinstance(spec, tf.RaggedTensorSpec):
        return tf.RaggedTensorSpec([None, *spec.shape[1:]], spec.dtype, spec.ragged_rank)
    return type(spec)([None, *spec.shape[1:]], spec.dtype)


def _common_spec(*specs):
    """Returns what batches of these specs are of: axes that differ are open."""
    spec, shapes = specs[0], [one.shape for one in specs]
    if isinstance(spec, tf.RaggedTensorSpec) or len({shape.rank for shape in shapes}) > 1:
        return spec
    axes = [sizes[0] if len({*sizes}) == 1 else None for sizes in zip(*shapes, strict=True)]
    return type(spec)(axes, spec.dtype)


def _of_loader(data, argument: str, order):
    """Reads the examples of a torch loader past its sampler and workers, which have a state."""

    class Batches:
        def __init__(self):
            self.size = data.batch_size or 1
            self.order = order(len(data.dataset))

        def __len__(self):
            return math.ceil(len(self.order) / self.size)

        def __getitem__(self, place):
            places = self.order[place * self.size : (place + 1) * self.size]
            return data.collate_fn([data.dataset[int(each)] for each in places])

    return _of_sequence(Batches(), argument, np.arange)


def _made_anew(make, argument: str, batch_size, shuffled):
    def read() -> tf.data.Dataset:
        made = make()
        if isinstance(made, tf.data.Dataset):
            return made
        if callable(made) and not hasattr(made, "__getitem__"):
            raise checks.refuse(f"{argument}()", made, EXPECTED)
        return probe_dataset(made, f"{argument}()", batch_size=batch_size, shuffled=shuffled)()

    return read


def check_first_batch(model, dataset: tf.data.Dataset, argument: str) -> None:
    """Checks the first batch of a data set against a model, before anything is trained.

    Networks of several inputs or outputs and labels of other kinds are left to Keras.

    Args:
        model: A compiled model.
        dataset: Of (inputs, labels).
        argument: Name of the argument, for the error message.

    Raises:
        InputError: If there is no batch, its inputs are not finite or do not fit the model, or a
            label of a sparse loss is no class.
    """
    try:
        batch = next(iter(as_computed(model, dataset)), None)
    except (tf.errors.OpError, TypeError, ValueError) as error:
        reason = " ".join(str(getattr(error, "message", error)).split())
        raise InputError(f"{argument} cannot be read: {reason:.300}") from error
    if batch is None:
        raise InputError(f"{argument} is empty: expected at least one batch.")
    if not isinstance(batch, tuple) or len(batch) < 2:
        raise InputError(f"{argument} yields {type(batch).__name__}s: expected (inputs, labels).")
    inputs, labels = batch[:2]
    if not tf.is_tensor(inputs) or not tf.is_tensor(labels) or len(_ends(model, "inputs")) != 1:
        return
    wanted = tf.TensorShape(model.inputs[0].shape)
    # Keras adds a last axis of one number, or drops it.
    shapes = [inputs.shape, [*inputs.shape, 1]]
    shapes += [inputs.shape[:-1]] if inputs.shape[-1:] == [1] else []
    if not any(wanted.is_compatible_with(shape) for shape in shapes):
        raise InputError(
            f"{argument} has inputs of shape {tuple(inputs.shape)}: the model takes "
            f"{tuple(model.inputs[0].shape)}."
        )
    # Of a sparse or ragged tensor, those that are there.
    values = getattr(inputs, "flat_values", getattr(inputs, "values", inputs))
    if values.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(values))):
        raise InputError(f"{argument} has NaN or infinite inputs in its first batch.")
    _check_labels(model, labels, argument)


def _ends(model, name: str) -> list:
    # A subclassed model has none.
    return list(getattr(model, name, None) or [])


def _check_labels(model, labels, argument: str) -> None:
    name = getattr(model.loss, "name", model.loss)
    outputs = _ends(model, "outputs")
    classes = outputs[0].shape[-1] if len(outputs) == 1 else None
    if name != "sparse_categorical_crossentropy" or not classes:
        return
    ignored = getattr(model.loss, "ignore_class", None)
    if ignored is None:
        ignored = getattr(model.loss, "_fn_kwargs", {}).get("ignore_class")
    if ignored is not None:
        labels = tf.boolean_mask(labels, labels != tf.cast(ignored, labels.dtype))
        if not tf.size(labels):
            return
    low, high = int(tf.reduce_min(labels)), int(tf.reduce_max(labels))
    if low < 0 or high >= classes:
        raise InputError(
            f"{argument} has labels from {low} to {high} in its first batch: expected 0 to "
            f"{classes - 1}, the model's {classes} outputs."
        )


def _copies(dataset: tf.data.Dataset, argument: str):
    # A shuffled data set draws each iterator's order from a generator that all its iterators
    # share: iterating over it in a probe would change the order that training sees.
    try:
        graph = graph_pb2.GraphDef.FromString(
            tf.raw_ops.DatasetToGraphV2(
                input_dataset=tf.data.experimental.to_variant(dataset), external_state_policy=1
            ).numpy()
        )
        _reseed(graph)
        serialized = graph.SerializeToString()
    except (tf.errors.OpError, DecodeError, ValueError) as error:
        logger.warning(
            "%s cannot be copied (%s), so probing may change the order in which training sees its "
            "examples; pass a function that returns a new data set to avoid that.",
            argument,
            str(error).splitlines()[0],
        )
        return lambda: dataset
    # The options of the original have to come first: later ones are merged into them.
    return lambda: (
        tf.data.experimental.from_variant(
            tf.raw_ops.DatasetFromGraph(graph_def=serialized), dataset.element_spec
        )
        .with_options(dataset.options())
        .with_options(_untuned())
    )


def _untuned() -> tf.data.Options:
    """Returns options without automatic tuning, which makes the end of a short stream wait."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _reseed(graph: graph_pb2.GraphDef) -> None:
    """Gives every shuffle of the graph seeds of its own instead of the shared generator."""
    shuffles = [node for node in graph.node if node.op == "ShuffleDatasetV3"]
    for number, node in enumerate(shuffles):
        seeds = []
        for name in ("seed", "seed2"):
            constant = graph.node.add(op="Const", name=f"{node.name}/probe_{name}")
            constant.attr["dtype"].type = tf.int64.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(
                tf.make_tensor_proto(number + 1, dtype=tf.int64, shape=[])
            )
            seeds.append(constant.name)
        inputs = list(node.input)[:2] + seeds
        del node.input[:]
        node.input.extend(inputs)
        node.op = "ShuffleDataset"
        node.attr["reshuffle_each_iteration"].b = False
