"""Checks of values from the user, each once, in one form of sentence: `name=VALUE: expected ...`.

A check returns the value as a plain Python one: `steps = checks.integer("steps", steps, 1)` also
turns NumPy's numbers into Python's.
"""

import contextlib
import math
from collections.abc import Collection, Iterator
from numbers import Integral, Real
from typing import TypeVar

from tf_earlyticket.errors import InputError, suggestion

Value = TypeVar("Value")


def refuse(name: str, value: object, expected: str) -> InputError:
    """Returns the error for a value: `name=VALUE: expected ...`, in one line.

    Args:
        name: What the user calls it: an argument, a field with its path, or a flag.
        value: What was received; a long one is cut in its middle.
        expected: What is accepted, as it follows the word "expected".

    Example:
        >>> raise refuse("epochs", 0, "an integer of at least 1")
    """
    text = " ".join(repr(value).split())
    # The end of a path tells more than its beginning.
    text = text if len(text) <= 80 else f"{text[:30]}...{text[-47:]}"
    return InputError(f"{name}={text}: expected {expected}.")


def integer(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """Returns an integer from `low` to `high`, both included; None: no limit.

    Raises:
        InputError: If it is a bool, no integer, or out of range.
    """
    good = isinstance(value, Integral) and not isinstance(value, bool)
    if not good or (low is not None and value < low) or (high is not None and value > high):
        raise refuse(name, value, "an integer" + _interval(low, high))
    return int(value)


def _interval(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f" from {low} to {high}"
    return f" of at least {low}" if low is not None else f" of at most {high}" if high else ""


def number(
    name: str,
    value: object,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> float:
    """Returns a finite real number within bounds.

    Args:
        name: As for `refuse`.
        value: What to check.
        low: Least accepted value.
        above: Accepted values are greater.
        high: Greatest accepted value.
        below: Accepted values are less.

    Raises:
        InputError: If it is a bool, no number, NaN, infinite or out of range.
    """
    good = isinstance(value, Real) and not isinstance(value, bool) and _is_finite(value)
    bounds = ((">=", low), (">", above), ("<=", high), ("<", below))
    meets = {
        ">=": lambda bound: value >= bound,
        ">": lambda bound: value > bound,
        "<=": lambda bound: value <= bound,
        "<": lambda bound: value < bound,
    }
    if not good or not all(bound is None or meets[sign](bound) for sign, bound in bounds):
        accepted = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        raise refuse(name, value, f"a number {accepted}".rstrip())
    return float(value)


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        # An integer beyond all floats.
        return False


def choice(name: str, value: Value, accepted: Collection) -> Value:
    """Returns a value that is among the accepted ones.

    Raises:
        InputError: If it is not; the message suggests the closest one.
    """
    # By comparison: a value that cannot be hashed is refused like any other.
    if not any(value == one for one in accepted):
        listed = ", ".join(map(str, accepted)) or "nothing, as there is none"
        error = refuse(name, value, f"one of {listed}")
        raise InputError(f"{error}{suggestion(str(value), map(str, accepted))}")
    return value


def plain_path(name: str, path: object) -> None:
    """Checks a path that TensorFlow writes to: by some signs it would look for other files there.

    Raises:
        InputError: If it has one of them.
    """
    if any(sign in str(path) for sign in "*?[]"):
        raise refuse(name, str(path), "a path without any of * ? [ ]")


def function(name: str, value: Value) -> Value:
    """Returns a value that can be called.

    Raises:
        InputError: If it cannot.
    """
    if not callable(value):
        raise refuse(name, value, "a function")
    return value


@contextlib.contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Puts where a value stands in front of what is refused within a `with` block.

    Raises:
        InputError: With the prefix.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error
