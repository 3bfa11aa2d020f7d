"""Trains a network, finds out when to prune, prunes it and exports the ticket with a report.

TensorFlow is imported after the flags and the config were found good, so that a mistake is
reported at once.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.train import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
