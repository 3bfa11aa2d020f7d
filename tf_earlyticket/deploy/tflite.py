"""SavedModels as TFLite (LiteRT) files, each run and compared before anyone else sees it.

Sparse encoding stores the kept weights and their indices only: it makes files small, not fast on
most processors. Shapes: the batch dimension stays free. Files are also read without being run.
"""

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tf_earlyticket.errors import InputError, RunError


@dataclasses.dataclass(frozen=True)
class TFLiteFormat:
    """How weights and activations are stored.

    Attributes:
        name: As on the command line.
        weights: "float32", "float16", "dynamic" (weights of 8 bits, activations float) or "int8"
            (both of 8 bits).
        sparse: Whether zeros are left out of the file.
        tolerance: Greatest error accepted: root mean square of the difference to the reference
            outputs, divided by the root mean square of those.
    """

    name: str
    weights: str
    sparse: bool
    tolerance: float


_IDENTIFIER = b"TFL3"
FORMATS = {
    form.name: form
    for form in (
        TFLiteFormat("tflite", "float32", True, 1e-4),
        TFLiteFormat("tflite_dense", "float32", False, 1e-4),
        TFLiteFormat("tflite_float16", "float16", True, 1e-2),
        TFLiteFormat("tflite_float16_dense", "float16", False, 1e-2),
        TFLiteFormat("tflite_dynamic", "dynamic", False, 0.3),
        TFLiteFormat("tflite_int8", "int8", False, 0.3),
        TFLiteFormat("tflite_int8_sparse", "int8", True, 0.3),
    )
}
# What is asked for at times and cannot be had, and why.
REFUSED = {
    "tflite_dynamic_sparse": "the interpreter's default delegate (XNNPACK) cannot run sparse "
    "weights of 8 bits with float activations",
}


def without_sparse_encoding(form: TFLiteFormat) -> TFLiteFormat:
    """Returns the format of a dense network in the same number type."""
    return dataclasses.replace(form, sparse=False)


def convert(saved_model: Path, form: TFLiteFormat, calibration: np.ndarray | None = None) -> bytes:
    """Returns a SavedModel as a TFLite file.

    Args:
        saved_model: Directory with the signature `serving_default`.
        form: How to store it.
        calibration: Float array [examples, ...] of typical inputs, for int8.

    Raises:
        InputError: If int8 is asked for without calibration.
        RunError: If TensorFlow cannot convert the network.
    """
    import tensorflow as tf

    if form.weights == "int8" and calibration is None:
        raise InputError(
            f"format={form.name}: expected calibration inputs; give --calibration=FILE.npy, or a "
            "ticket of `python -m tf_earlyticket.train`, whose data set is known."
        )
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=["serving_default"]
    )
    optimizations = []
    if form.weights != "float32":
        optimizations.append(tf.lite.Optimize.DEFAULT)
    if form.sparse:
        optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    converter.optimizations = optimizations
    if form.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form.weights == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in calibration)
    try:
        return converter.convert()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RunError(f"TensorFlow cannot convert to {form.name}: {lines[0]:.300}") from error


def runner(content: bytes, threads: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from inputs [batch, ...] to outputs [batch, ...] of a TFLite file.

    Args:
        content: The file.
        threads: Of the interpreter; None: its default.

    Raises:
        RunError: If the interpreter refuses the file; at the call, if it refuses the shape.
    """
    import tensorflow as tf

    with warnings.catch_warnings():
        # It recommends another package of the same interpreter.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    prepared = None

    def run(inputs: np.ndarray) -> np.ndarray:
        nonlocal prepared
        if inputs.shape != prepared:
            interpreter.resize_tensor_input(entry["index"], inputs.shape)
            interpreter.allocate_tensors()
            prepared = inputs.shape
        interpreter.set_tensor(entry["index"], inputs)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


def relative_error(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Returns the root mean square of the difference over that of the reference."""
    scale = np.sqrt(np.mean(np.square(reference, dtype=np.float64)))
    difference = np.sqrt(np.mean(np.square(outputs - reference, dtype=np.float64)))
    return float(difference / max(scale, np.finfo(np.float32).tiny))


def check(
    content: bytes, form: TFLiteFormat, inputs: np.ndarray, reference: np.ndarray
) -> dict[str, float]:
    """Runs a TFLite file and compares its outputs.

    Returns:
        "relative_error", and "same_class": the fraction of inputs with the same greatest output.

    Raises:
        RunError: If the file does not load, or differs by more than the format's tolerance.
    """
    try:
        outputs = runner(content)(inputs)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{form.name}: the interpreter refuses the file: {reason:.300}") from error
    found = relative_error(outputs, reference)
    if not found <= form.tolerance:
        raise RunError(
            f"{form.name}: outputs differ from the SavedModel's by {found:.2g} (relative, root "
            f"mean square); accepted is {form.tolerance:g}. Nothing was written."
        )
    same = np.argmax(outputs, axis=-1) == np.argmax(reference, axis=-1)
    return {"relative_error": found, "same_class": float(np.mean(same))}


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
