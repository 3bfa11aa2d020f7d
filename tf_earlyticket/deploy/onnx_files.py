"""SavedModels as ONNX files, by tf2onnx, made and run by ONNX Runtime.

Zeros are stored as zeros. BatchNorm is folded into convolutions, which keeps them.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tf_earlyticket.deploy.formats import Form, check_calibration
from tf_earlyticket.errors import RunError

FORMATS = {
    form.name: form
    for form in (Form("onnx", "float32", False, 1e-4), Form("onnx_int8", "int8", False, 0.3))
}
NEEDED = ("tf2onnx", "onnx", "onnxruntime")
ENDING = ".onnx"
# Among the metadata of a file.
DESCRIPTION = "input"
_OPSET = 18


def write(
    saved_model: Path,
    target: Path,
    form: Form,
    calibration: np.ndarray | None = None,
    description: str | None = None,
) -> None:
    """Writes a SavedModel as an ONNX file.

    Args:
        saved_model: Directory with the signature `serving_default`.
        target: The file.
        form: How to store it; int8 has its scales written out as operations (QDQ).
        calibration: Float array [examples, ...] of typical inputs, for int8.
        description: What the network takes, for the metadata.

    Raises:
        InputError: If int8 is asked for without calibration.
        RunError: If the network cannot be converted.
    """
    import onnx
    import tensorflow as tf

    check_calibration(form, calibration)
    with _quiet():
        import tf2onnx

        loaded = tf.saved_model.load(str(saved_model))
        serve = loaded.signatures["serving_default"]
        ((name, spec),) = serve.structured_input_signature[1].items()
        given = tf.TensorSpec(spec.shape, spec.dtype, name)
        function = tf.function(lambda inputs: serve(**{name: inputs}), input_signature=[given])
        try:
            model, _ = tf2onnx.convert.from_function(function, [given], opset=_OPSET)
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
            onnx.save(model, str(target))
            if form.weights == "int8":
                _quantize(target, calibration)
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(f"tf2onnx cannot convert to {form.name}: {lines[0]:.300}") from error
    if description is not None:
        model = onnx.load(str(target))
        onnx.helper.set_model_props(model, {DESCRIPTION: description})
        onnx.save(model, str(target))


def run_file(path: Path, threads: int | None, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from inputs [batch, ...] to outputs [batch, ...] of an ONNX file.

    Raises:
        RunError: If the runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    # It has a kind of error for each status.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{name}: ONNX Runtime refuses the file: {reason:.300}") from error
    (entry,) = session.get_inputs()
    return lambda inputs: session.run(None, {entry.name: inputs})[0]


def _quantize(path: Path, calibration: np.ndarray) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Typical inputs, one by one."""

        def __init__(self, name: str):
            self._inputs = ({name: example[None]} for example in calibration)

        def get_next(self):
            return next(self._inputs, None)

    import onnx

    (entry,) = onnx.load(str(path)).graph.input
    float_file = path.with_name(f"float_{path.name}")
    os.replace(path, float_file)
    quantize_static(
        str(float_file),
        str(path),
        Reader(entry.name),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    float_file.unlink()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress and advice of the converters out of the log."""
    root = logging.getLogger()
    former = root.level
    root.setLevel(logging.ERROR)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(former)
