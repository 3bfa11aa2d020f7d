"""Compares all detectors of the start epoch on recorded dense runs and the tickets made from them.

    python -m tf_earlyticket.study_detectors --config=configs/digits_resnet20.py:study \\
        --seeds=0,1,2 --workdir=runs/study

Records one dense run per seed (weights and a probe of every epoch), trains tickets from several
start epochs, replays every detector over the record, and prints what each one chose, what its
probes cost and how far its ticket is from the best one. The same command continues it.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.study_detectors import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
