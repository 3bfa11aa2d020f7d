"""Measures tickets in several runtimes beside the dense network, and that beside itself.

    python -m tf_earlyticket.bench runs/mine/ticket --runtime=tensorflow,litert,onnxruntime,openvino

Latency, throughput, time to load, memory and size, of float32 and int8 files. Several processes,
one after the other, time all networks in random order. A speed-up is printed only where the dense
network, timed against itself in the same way, shows none.
"""

from tf_earlyticket.commands.bench import define_flags, main
from tf_earlyticket.commands.command_line import run_program

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
