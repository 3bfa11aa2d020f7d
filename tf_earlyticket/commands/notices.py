"""Holds back what TensorFlow tells while it starts, before its log level counts.

Run as a script, by a process that reads no other file of the package, it is the filter itself.
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_NOTICE = re.compile(r"I\d{4} |WARNING: All log messages before absl::InitializeLog")


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Within it, notices written to standard error are dropped; everything else passes.

    TensorFlow's compiled code writes past `sys.stderr`. Another process filters, so that what is
    said passes also if this process dies of it, as on a processor that TensorFlow cannot use.
    """
    if sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    # Isolated: modules beside this file have names of Python's own.
    passing = subprocess.Popen([sys.executable, "-IS", __file__], stdin=subprocess.PIPE)
    try:
        os.dup2(passing.stdin.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        passing.stdin.close()
        passing.wait()


def is_notice(line: str) -> bool:
    """Tells whether a line says nothing that the user could act on."""
    if "failed call to cuInit" in line:
        # An error only where there is a GPU.
        return not Path("/dev/nvidiactl").exists()
    return _NOTICE.match(line) is not None


if __name__ == "__main__":
    for line in sys.stdin:
        if not is_notice(line):
            print(line, end="", file=sys.stderr, flush=True)
