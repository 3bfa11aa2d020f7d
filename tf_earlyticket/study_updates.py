"""Compares ways to prune at equal epochs, probes counted, with the dense network and each other.

    python -m tf_earlyticket.study_updates --config=configs/digits_resnet20.py:study \\
        --seeds=0,1,2 --sparsities=0.8,0.9 --workdir=runs/updates

Trains each of --variants at each sparsity with each seed, as runs of the main job, and the dense
network once a seed; prints accuracies, and differences with their intervals. The same command
continues it.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.study_updates import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
