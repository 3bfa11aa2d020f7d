"""What is in a TFLite file: its constants and how they are stored. Nothing is executed."""

from pathlib import Path

import numpy as np

_IDENTIFIER = b"TFL3"


def constant_rows(path: Path) -> list[dict]:
    """Returns a row per constant tensor of numbers with more than one value, as `weight_table`.

    "bytes" counts the stored values and, where the encoding is sparse, their indices; such rows
    have "sparse" True. "kept" counts stored values that are not zero.

    Raises:
        ValueError: If the file is no TFLite file.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise ValueError(f"it does not have the identifier {_IDENTIFIER.decode()}")
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    types = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT8: np.int8,
        schema.TensorType.INT16: np.int16,
        schema.TensorType.INT32: np.int32,
        schema.TensorType.INT64: np.int64,
        schema.TensorType.UINT8: np.uint8,
        schema.TensorType.BOOL: np.bool_,
    }
    rows = []
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            stored = model.buffers[tensor.buffer].data
            if stored is None or not len(stored) or tensor.type not in types:
                continue
            shape = [] if tensor.shape is None else [int(length) for length in tensor.shape]
            size = int(np.prod(shape, dtype=np.int64))
            if size < 2:
                continue
            values = np.frombuffer(bytes(stored), types[tensor.type])
            kept = int(np.count_nonzero(values))
            rows.append(
                {
                    "name": tensor.name.decode(errors="replace"),
                    "shape": shape,
                    "dtype": np.dtype(types[tensor.type]).name,
                    "kept": kept,
                    "sparsity": 1 - kept / size,
                    "bytes": int(values.nbytes) + _index_bytes(tensor.sparsity),
                    "sparse": tensor.sparsity is not None,
                }
            )
    return rows


def _index_bytes(sparsity) -> int:
    """Returns the bytes of a sparse tensor's indices; 0 for a tensor that is stored whole."""
    if sparsity is None:
        return 0
    vectors = [
        vector.values
        for dimension in sparsity.dimMetadata
        for vector in (dimension.arraySegments, dimension.arrayIndices)
        if vector is not None and vector.values is not None
    ]
    return sum(int(np.asarray(values).nbytes) for values in vectors)
