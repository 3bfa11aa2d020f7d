"""What all tests share: their order, how hypothesis runs, how a command is called."""

import sys
from collections import Counter

import pytest
from absl import app, flags
from hypothesis import settings

from tf_earlyticket import command_line

# A machine may stall at any moment: no test fails for the time it takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items):
    """Puts files with slow tests first, so that no process ends with a long one."""
    sizes = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    # Of the files with slow tests, those of few tests have the slowest.
    items.sort(key=lambda item: (0, sizes[item.path]) if item.path in slow else (1, 0))


@pytest.fixture
def call_program(monkeypatch, capsys):
    """Runs the command of a module in this process; returns (exit status, stdout, stderr)."""

    def call(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        app.define_help_flags()
        before = set(flags.FLAGS)
        status = 0
        try:
            command_line.run_program(module.define_flags, module.main)
        except SystemExit as error:
            status = error.code or 0
        finally:
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call
