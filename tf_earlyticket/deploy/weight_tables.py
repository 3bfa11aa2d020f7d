"""The weights of a ticket, SavedModel, checkpoint, Keras file or TFLite file, as one kind of table.

Only weights are read: no graph is loaded, no layer is made, nothing in a file is executed.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.storage import RECORD_FILE
from tf_earlyticket.tickets.ticket import Ticket

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_KERAS_WEIGHTS = "model.weights.h5"
_ACCEPTED = (
    "expected a run directory, a ticket, a SavedModel, a checkpoint, or a .keras, .h5 or .tflite "
    "file."
)

_TOLD = ("start_reason", "test_accuracy", "left_dense", "versions")

Row = dict[str, object]


def weight_table(path: Path) -> tuple[str, list[Row]]:
    """Returns what kind of thing lies at a path, and its weights.

    Returns:
        (kind, rows): kind is "ticket", "saved_model", "checkpoint", "keras" or "tflite". A row
        has "name", "shape" (list), "dtype", "kept" (values that are not zero), "sparsity"
        (fraction) and "bytes" (as stored, uncompressed). The rows of a ticket are its masks.

    Raises:
        InputError: If there is nothing of these kinds, or it is damaged.
    """
    for kind, matches, read in _KINDS:
        if matches(path):
            try:
                return kind, read(path)
            except InputError:
                raise
            except Exception as error:
                # What damaged files raise differs by library and version.
                raise InputError(
                    f"{path} cannot be read as a {kind}: {type(error).__name__}: {error!s:.200}"
                ) from error
    found = "is of no known kind" if path.exists() else "does not exist"
    raise InputError(f"PATH={str(path)!r} {found}: {_ACCEPTED}")


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
    weights = sum(int(np.prod(row["shape"], dtype=np.int64)) for row in rows)
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
        **{name: ticket.provenance[name] for name in _TOLD if name in ticket.provenance},
    }


def _ticket_rows(path: Path) -> list[Row]:
    ticket = Ticket.load(path)
    weights = ticket.final_weights or ticket.rewind_weights
    return [
        {**layer, "dtype": "bool", "bytes": (weights[layer["name"]].size + 7) // 8}
        for layer in ticket.layers()
    ]


def _saved_model_rows(path: Path) -> list[Row]:
    return _checkpoint_rows(path / "variables" / "variables")


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
        if key != _OBJECT_GRAPH:
            value = reader.get_tensor(key)
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
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
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
            rows.append(array_row(name.replace("/vars/", "/"), item[()]))

    with h5py.File(source, "r") as file:
        file.visititems(visit)
    return [row for row in rows if not row["name"].startswith(("optimizer/", "metrics/"))]


def _tflite_rows(path: Path) -> list[Row]:
    from tf_earlyticket.deploy.tflite import constant_rows

    return constant_rows(path)


_KINDS: list[tuple[str, Callable[[Path], bool], Callable[[Path], list[Row]]]] = [
    ("ticket", lambda path: (path / RECORD_FILE).exists(), _ticket_rows),
    ("saved_model", lambda path: (path / "saved_model.pb").exists(), _saved_model_rows),
    ("checkpoint", lambda path: (path / "checkpoint").exists(), _checkpoint_rows),
    (
        "checkpoint",
        lambda path: path.suffix == ".index" or path.with_name(f"{path.name}.index").exists(),
        _checkpoint_rows,
    ),
    (
        "keras",
        lambda path: path.is_file() and path.suffix in (".keras", ".h5", ".hdf5"),
        _keras_rows,
    ),
    ("tflite", lambda path: path.is_file() and path.suffix == ".tflite", _tflite_rows),
]
