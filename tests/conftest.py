"""What all tests share: their order, how hypothesis runs, how a command is called."""

import sys
from pathlib import Path

import pytest
from absl import app, flags
from hypothesis import settings

from tf_earlyticket.commands import command_line

# A machine may stall at any moment: no test fails for the time it takes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


# The files that take longest, longest first: two processes that begin with these end together.
LONG = (
    "every_keras_test.py",
    "commands/documented_commands_test.py",
    "job/workers_test.py",
    "commands/reproduce_smoke_test.py",
    "job/job_test.py",
    "paper/reproduction_test.py",
    "job/imagenet_smoke_test.py",
    "tools/benchmarks_test.py",
    "deploy/clean_environment_test.py",
    "deploy/artefacts_test.py",
    "callbacks/early_ticket_test.py",
    "commands/reproduce_kill_test.py",
    "callbacks/undisturbed_test.py",
    "backends/determinism_test.py",
)


def pytest_collection_modifyitems(items):
    """Puts the long files first, then others with slow tests."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: places.get(item.path, len(LONG) + (item.path not in slow)))


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
