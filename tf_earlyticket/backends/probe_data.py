"""Data sets for the probe that share no state with those of the training run."""

import logging

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2

from tf_earlyticket.errors import InputError

logger = logging.getLogger(__name__)


def probe_dataset(data, argument: str):
    """Returns a function that makes a data set which yields the same elements every time.

    Args:
        data: A batched `tf.data.Dataset`, of which an independent copy is made, or a function
            without arguments that returns a new one.
        argument: Name of the argument, for the error message.

    Raises:
        InputError: If `data` is neither.
    """
    if callable(data) and not isinstance(data, tf.data.Dataset):
        return data
    if not isinstance(data, tf.data.Dataset):
        raise InputError(
            f"{argument} is a {type(data).__name__}: expected a batched tf.data.Dataset of "
            "(inputs, labels), or a function without arguments that returns one."
        )
    return _copies(data, argument)


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
        batch = next(iter(dataset), None)
    except tf.errors.OpError as error:
        reason = " ".join(str(error.message).split())
        raise InputError(f"{argument} cannot be read: {reason:.300}") from error
    if batch is None:
        raise InputError(f"{argument} is empty: expected at least one batch.")
    if not isinstance(batch, tuple) or len(batch) < 2:
        raise InputError(f"{argument} yields {type(batch).__name__}s: expected (inputs, labels).")
    inputs, labels = batch[:2]
    if not tf.is_tensor(inputs) or not tf.is_tensor(labels) or len(_ends(model, "inputs")) != 1:
        return
    wanted = tf.TensorShape(model.inputs[0].shape)
    if not wanted.is_compatible_with(inputs.shape):
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
    return lambda: tf.data.experimental.from_variant(
        tf.raw_ops.DatasetFromGraph(graph_def=serialized), dataset.element_spec
    ).with_options(dataset.options())


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
