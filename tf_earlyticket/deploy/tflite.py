"""SavedModels as TFLite (LiteRT) files, made and run.

Sparse encoding stores the kept weights and their indices only: it makes files small, not fast on
most processors. Shapes: the batch dimension stays free.
"""

import contextlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tf_earlyticket.deploy.formats import Form, check_calibration
from tf_earlyticket.errors import RunError

NEEDED: tuple[str, ...] = ()
ENDING = ".tflite"
FORMATS = {
    form.name: form
    for form in (
        Form("tflite", "float32", True, 1e-4),
        Form("tflite_dense", "float32", False, 1e-4),
        Form("tflite_float16", "float16", True, 1e-2),
        Form("tflite_float16_dense", "float16", False, 1e-2),
        Form("tflite_dynamic", "dynamic", False, 0.3),
        Form("tflite_int8", "int8", False, 0.3),
        Form("tflite_int8_sparse", "int8", True, 0.3),
    )
}
# In the archive behind a file.
DESCRIPTION = "input.json"
# What is asked for at times and cannot be had, and why.
REFUSED = {
    "tflite_dynamic_sparse": "the interpreter's default delegate (XNNPACK) cannot run sparse "
    "weights of 8 bits with float activations",
}


def convert(saved_model: Path, form: Form, calibration: np.ndarray | None = None) -> bytes:
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

    check_calibration(form, calibration)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=["serving_default"]
    )
    wanted = {
        tf.lite.Optimize.DEFAULT: form.weights != "float32",
        tf.lite.Optimize.EXPERIMENTAL_SPARSITY: form.sparse,
    }
    converter.optimizations = [way for way, taken in wanted.items() if taken]
    if form.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if form.weights == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in calibration)
    try:
        return converter.convert()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = f"{lines[0]:.300}"
        # Pages of its intermediate code otherwise.
        if "TensorList" in str(error):
            reason = (
                "its recurrent layers take any number of examples. Convert the network made with "
                "Input(batch_size=1) instead, of tf_keras or of Keras 3 on TensorFlow, which "
                "et.load_trained_weights gives the ticket's weights, or the SavedModel with "
                "tf.lite.OpsSet.SELECT_TF_OPS"
            )
        raise RunError(f"TensorFlow cannot convert to {form.name}: {reason}.") from error


def write(
    saved_model: Path,
    target: Path,
    form: Form,
    calibration: np.ndarray | None = None,
    description: str | None = None,
) -> None:
    """Writes a SavedModel as a TFLite file that carries what it takes; see `convert`."""
    content = convert(saved_model, form, calibration)
    target.write_bytes(content if description is None else with_description(content, description))


def run_file(path: Path, threads: int | None, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what `runner` returns, of a file."""
    return runner(path.read_bytes(), threads, name)


def with_description(content: bytes, description: str) -> bytes:
    """Returns a TFLite file that carries what it takes.

    As archives do that go with TFLite files: a ZIP archive behind the content, here with
    `input.json`. Runtimes pass it over; `zipfile.ZipFile` opens the file as it is.
    """
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(zipfile.ZipInfo(DESCRIPTION), description)
    return stream.getvalue()


def runner(
    content: bytes, threads: int | None = None, name: str = "tflite"
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from inputs [batch, ...] to outputs [batch, ...] of a TFLite file.

    Args:
        content: The file.
        threads: Of the interpreter; None: its default.
        name: What errors call it.

    Raises:
        RunError: If the interpreter refuses the file; at the call, if it refuses the inputs.
    """
    try:
        # TensorFlow's own is to go; this one needs no TensorFlow.
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow import lite

        Interpreter = lite.Interpreter
    with _accepted(name), warnings.catch_warnings():
        # It recommends the other package.
        warnings.simplefilter("ignore")
        interpreter = Interpreter(model_content=content, num_threads=threads)
    (entry,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    prepared = None

    @_accepted(name)
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


@contextlib.contextmanager
def _accepted(name: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{name}: the interpreter refuses the file: {reason:.300}") from error
