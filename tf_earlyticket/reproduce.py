"""One figure or table of the paper, from a dense run and whatever else it needs.

    python -m tf_earlyticket.reproduce --item=fig1 --scale=smoke
    python -m tf_earlyticket.reproduce --item=fig1 --scale=small --data_dir=DIR

Items: fig1 fig2 fig3 fig4 fig5 fig6 fig8 table1 table2 table3 table4 table5. The same command
continues what was interrupted; items with the same config share their runs; `--shard=0/4` to
`--shard=3/4` fill one directory by four processes or machines.
"""

from tf_earlyticket.commands.command_line import run_program
from tf_earlyticket.commands.reproduce import define_flags, main

__all__ = ["define_flags", "main"]

if __name__ == "__main__":
    run_program(define_flags, main)
