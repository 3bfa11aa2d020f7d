"""Measures the accuracy of a run's dense network when one layer alone is pruned.

    python -m tf_earlyticket.sensitivity runs/mine --data_dir=DIR --json=sensitivity.json

Nothing is retrained unless --steps says so, and the run stays as it is. With --sparsity the file
also holds a sparsity of each layer, which `pruning.ranking="budgets(file='FILE')"` takes.
"""

import sys
import types

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.sensitivity import define_flags, main

__all__ = ["define_flags", "main"]


class _Program(types.ModuleType):
    """The module, which once imported stands where `et.sensitivity` is, and does the same."""

    def __call__(self, *args, **kwargs):
        from tf_earlyticket.analysis.sensitivity import sensitivity

        return sensitivity(*args, **kwargs)


if __name__ == "__main__":
    run_program(define_flags, main)
else:
    sys.modules[__name__].__class__ = _Program
