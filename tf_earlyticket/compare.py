"""Prints and draws several finished runs side by side: accuracy against cost and sparsity.

    python -m tf_earlyticket.compare runs/a runs/b runs/c

Writes the figure to --output; --json prints the numbers for other programs.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.compare import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
