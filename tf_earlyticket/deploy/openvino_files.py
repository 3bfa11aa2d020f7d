"""SavedModels as files of OpenVINO (a directory with model.xml and model.bin), made and run.

Full-precision ones come from the SavedModel itself, int8 ones from the ONNX file that ONNX
Runtime's tools quantise: both runtimes then have the same integers.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tf_earlyticket.deploy import onnx_files
from tf_earlyticket.deploy.formats import Form, check_calibration
from tf_earlyticket.errors import RunError

FORMATS = {
    form.name: form
    for form in (
        Form("openvino", "float32", False, 1e-4),
        Form("openvino_int8", "int8", False, 0.3),
    )
}
NEEDED = ("openvino", *onnx_files.NEEDED)
# A directory.
ENDING = ""
MODEL = "model.xml"
# Among the runtime information of a model.
DESCRIPTION = "input"


def write(
    saved_model: Path,
    target: Path,
    form: Form,
    calibration: np.ndarray | None = None,
    description: str | None = None,
) -> None:
    """Writes a SavedModel as `model.xml` and `model.bin`; arguments as for `onnx_files.write`.

    Raises:
        InputError: If int8 is asked for without calibration.
        RunError: If the network cannot be converted.
    """
    import openvino

    check_calibration(form, calibration)
    with tempfile.TemporaryDirectory() as folder:
        source = saved_model
        if form.weights == "int8":
            source = Path(folder) / "model.onnx"
            onnx_files.write(saved_model, source, form, calibration)
        try:
            model = openvino.convert_model(str(source))
            if description is not None:
                model.set_rt_info(description, [DESCRIPTION])
            target.mkdir()
            # In float32, not in the float16 that is usual there.
            openvino.save_model(model, str(target / MODEL), compress_to_fp16=False)
        except RuntimeError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(f"OpenVINO cannot convert to {form.name}: {lines[0]:.300}") from error


def run_file(path: Path, threads: int | None, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from inputs [batch, ...] to outputs [batch, ...] of such a directory.

    It computes in float32 also where the processor has something shorter.

    Raises:
        RunError: If the runtime refuses the files.
    """
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        model = openvino.Core().compile_model(str(path / MODEL), "CPU", options)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{name}: OpenVINO refuses the files: {reason:.300}") from error
    request = model.create_infer_request()
    return lambda inputs: request.infer([inputs])[0].copy()
