"""The exception types of the toolkit: input that the user has to change, and interruptions."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A value from the user cannot be used.

    The message is one line that names the argument, field or flag, the value
    received and what is accepted. The command-line programs print it and exit
    with status 2; in Python it is an ordinary `ValueError`.
    """


class RunError(RuntimeError):
    """Something that no input could have told beforehand ended the work; the message says what.

    The command-line programs print it and exit with status 1; in Python it is an ordinary
    `RuntimeError`.
    """


class Interrupted(Exception):
    """A run was told to terminate and saved its state; the message says where it stands."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the closest known name, or "" if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
