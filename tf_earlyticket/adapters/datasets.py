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
