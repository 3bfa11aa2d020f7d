"""The weights of a ticket, SavedModel, checkpoint, Keras file or TFLite file, as one kind of table.

Only weights are read: no graph is loaded, no layer is made, nothing in a file is executed.
"""

import io
import math
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.storage import RECORD_FILE, Pictures
from tf_earlyticket.tickets.ticket import Ticket

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What an optimizer keeps is no weight.
_OF_OPTIMIZER = re.compile(r"(^|/)optimizer/|\.OPTIMIZER_SLOT/")
_KERAS_WEIGHTS = "model.weights.h5"
_ACCEPTED = (
    "expected a run directory, a ticket, a SavedModel, a checkpoint, or a .keras, .h5, .tflite or "
    ".onnx file, or an OpenVINO directory with model.xml."
)

_SUFFIXES = {
    ".keras": "keras",
    ".h5": "keras",
    ".hdf5": "keras",
    ".tflite": "tflite",
    ".onnx": "onnx",
}
_TFLITE_TYPES = ("float32", "float16", "int8", "int16", "int32", "int64", "uint8", "bool")
_TOLD = ("start_reason", "test_accuracy", "left_dense", "layers", "channels", "versions")

Row = dict[str, object]


def weight_table(path: Path) -> tuple[str, list[Row]]:
    """Returns what kind of thing lies at a path, and its weights.

    Returns:
        (kind, rows): kind is "ticket", "saved_model", "checkpoint", "keras", "tflite", "onnx" or
        "openvino". A row
        has "name", "shape" (list), "dtype", "kept" (values that are not zero), "sparsity"
        (fraction) and "bytes" (as stored, uncompressed). The rows of a ticket are its masks.

    Raises:
        InputError: If there is nothing of these kinds, or it is damaged.
    """
    kind = _kind_of(path)
    if kind is None:
        found = "is of no known kind" if path.exists() else "does not exist"
        raise InputError(f"PATH={str(path)!r} {found}: {_ACCEPTED}")
    try:
        return kind, _READERS[kind](path)
    except InputError:
        raise
    except Exception as error:
        # What damaged files raise differs by library and version.
        raise InputError(
            f"{path} cannot be read as a {kind}: {type(error).__name__}: {error!s:.200}"
        ) from error


def _kind_of(path: Path) -> str | None:
    if (path / RECORD_FILE).exists():
        return "ticket"
    if (path / "saved_model.pb").exists():
        return "saved_model"
    if (path / "model.xml").exists():
        return "openvino"
    index = path if path.suffix == ".index" else Path(f"{path}.index")
    if (path / "checkpoint").exists() or index.exists():
        return "checkpoint"
    return _SUFFIXES.get(path.suffix) if path.is_file() else None


def array_row(name: str, array: np.ndarray) -> Row:
    """Returns the row of an array."""
    kept = int(np.count_nonzero(array))
    return {
        "name": name,
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "kept": kept,
        "sparsity": 1 - kept / array.size if array.size else 0.0,
        "bytes": int(array.nbytes),
    }


def totals(rows: list[Row]) -> Row:
    """Returns "weights", "kept", "sparsity" and "bytes" over all rows."""
    weights = sum(math.prod(row["shape"]) for row in rows)
    kept = sum(row["kept"] for row in rows)
    return {
        "weights": weights,
        "kept": kept,
        "sparsity": 1 - kept / weights if weights else 0.0,
        "bytes": sum(row["bytes"] for row in rows),
    }


def about_ticket(path: Path) -> dict[str, object]:
    """Returns what a ticket says of itself: epochs, reason, versions."""
    ticket = Ticket.load(path)
    return {
        "start_epoch": ticket.start_epoch,
        "rewind_epoch": ticket.rewind_epoch,
        "trained": bool(ticket.final_weights),
        **({} if ticket.input is None else {"input": _told_pictures(ticket.input)}),
        **{name: ticket.provenance[name] for name in _TOLD if name in ticket.provenance},
    }


def _told_pictures(pictures: Pictures) -> str:
    mean, deviation = (" ".join(f"{v:g}" for v in vs) for vs in (pictures.mean, pictures.deviation))
    return (
        f"pictures {' x '.join(map(str, pictures.shape))}, 0 to 255, mean {mean}, deviation "
        f"{deviation}; classes {', '.join(pictures.classes[:10])}"
        + (f" and {len(pictures.classes) - 10} more" if len(pictures.classes) > 10 else "")
    )


def _ticket_rows(path: Path) -> list[Row]:
    ticket = Ticket.load(path)
    weights = ticket.final_weights or ticket.rewind_weights
    return [
        {**layer, "dtype": "bool", "bytes": (weights[layer["name"]].size + 7) // 8}
        for layer in ticket.layers()
    ]


def _checkpoint_rows(path: Path) -> list[Row]:
    import tensorflow as tf

    if path.is_dir():
        path = Path(tf.train.latest_checkpoint(str(path)))
    reader = tf.train.load_checkpoint(
        str(path.with_suffix("") if path.suffix == ".index" else path)
    )
    names = _full_names(reader)
    rows = []
    for key in sorted(reader.get_variable_to_shape_map()):
        if key != _OBJECT_GRAPH and not _OF_OPTIMIZER.search(key):
            value = reader.get_tensor(key)
            numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
            if numbers or getattr(value, "dtype", None) == tf.bfloat16:
                rows.append(array_row(names.get(key, key.removesuffix(_VALUE)), value))
    return rows


def _full_names(reader) -> dict[str, str]:
    """Returns the variables' own names by the keys of an object-based checkpoint."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    if not reader.has_tensor(_OBJECT_GRAPH):
        return {}
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(_OBJECT_GRAPH))
    return {
        attribute.checkpoint_key: attribute.full_name
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.full_name
    }


def _keras_rows(path: Path) -> list[Row]:
    import h5py

    source = path
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(_KERAS_WEIGHTS)
            if entry.file_size > 1100 * entry.compress_size:
                raise ValueError(f"{_KERAS_WEIGHTS} declares {entry.file_size:,} bytes")
            source = io.BytesIO(archive.read(entry))
    rows = []

    def visit(name: str, item) -> None:
        name = name.replace("/vars/", "/")
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
            rows.append(array_row(name, item[()]))
        elif isinstance(item, h5py.Dataset) and item.dtype == "V2":
            # bfloat16, of which HDF5 knows the bytes alone; without the sign, which zeros may have.
            bits = np.asarray(item[()]).view(np.uint16) << 1
            rows.append(array_row(name, bits) | {"dtype": "bfloat16"})

    with h5py.File(source, "r") as file:
        file.visititems(visit)
    others = ("optimizer/", "optimizer_weights/", "metrics/")
    return [row for row in rows if not row["name"].startswith(others)]


def _tflite_rows(path: Path) -> list[Row]:
    """Returns the constant tensors of numbers with more than one value.

    "bytes" counts the stored values and, where the encoding is sparse, their indices; such rows
    have "sparse" True. "kept" counts stored values that are not zero.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ValueError("it does not have the identifier TFL3")
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    types = {getattr(schema.TensorType, name.upper()): np.dtype(name) for name in _TFLITE_TYPES}
    rows = []
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        stored = model.buffers[tensor.buffer].data
        shape = [] if tensor.shape is None else [int(length) for length in tensor.shape]
        size = math.prod(shape)
        if stored is None or not len(stored) or tensor.type not in types or size < 2:
            continue
        row = array_row(
            tensor.name.decode(errors="replace"), np.frombuffer(bytes(stored), types[tensor.type])
        )
        row |= {"shape": shape, "sparsity": 1 - row["kept"] / size}
        row["bytes"] += _index_bytes(tensor.sparsity)
        rows.append({**row, "sparse": tensor.sparsity is not None})
    return rows


def _index_bytes(sparsity) -> int:
    """Returns the bytes of a sparse tensor's indices; 0 for a tensor that is stored whole."""
    return sum(
        np.asarray(vector.values).nbytes
        for dimension in (sparsity.dimMetadata if sparsity is not None else ())
        for vector in (dimension.arraySegments, dimension.arrayIndices)
        if vector is not None and vector.values is not None
    )


def _onnx_rows(path: Path) -> list[Row]:
    """Returns the constant tensors of numbers with more than one value."""
    import onnx

    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    return _number_rows(arrays)


def _openvino_rows(path: Path) -> list[Row]:
    import openvino

    nodes = openvino.Core().read_model(str(path / "model.xml")).get_ordered_ops()
    return _number_rows(
        {node.friendly_name: node.data for node in nodes if node.get_type_name() == "Constant"}
    )


def _number_rows(arrays: Mapping[str, np.ndarray]) -> list[Row]:
    return [
        array_row(name, array)
        for name, array in arrays.items()
        if array.dtype.kind in "fiu" and array.size > 1
    ]


_READERS: dict[str, Callable[[Path], list[Row]]] = {
    "ticket": _ticket_rows,
    "saved_model": lambda path: _checkpoint_rows(path / "variables" / "variables"),
    "checkpoint": _checkpoint_rows,
    "keras": _keras_rows,
    "tflite": _tflite_rows,
    "onnx": _onnx_rows,
    "openvino": _openvino_rows,
}
