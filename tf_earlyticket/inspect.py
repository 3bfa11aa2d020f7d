"""Shows the weights of a run, ticket, SavedModel, checkpoint, Keras or TFLite file.

    python -m tf_earlyticket.inspect PATH
    python -m tf_earlyticket.inspect PATH --json

Columns: name, shape, type, kept (values that are not zero), sparsity, bytes as stored. Only weights
are read; nothing in a file is executed.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.inspect import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
