"""Makes a ticket's files for deployment, each checked and measured before it is written.

    python -m tf_earlyticket.export --ticket=runs/mine/ticket --format=saved_model,tflite

Formats: saved_model; tflite and tflite_float16 (sparse encoding: small files), the same with
_dense; tflite_dynamic; tflite_int8 and tflite_int8_sparse (calibrated); onnx, openvino and the same
with _int8 (calibrated), which need `pip install -e '.[bench]'`. A ticket of
`python -m tf_earlyticket.train` is calibrated and tested on its own data set; for others give
--calibration.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.export import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
