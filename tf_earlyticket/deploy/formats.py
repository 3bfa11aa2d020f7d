"""What formats for deployment have in common: how numbers are stored, and what is needed."""

import dataclasses
from importlib.util import find_spec

import numpy as np

from tf_earlyticket.errors import InputError

# How to get what the optional formats and runtimes need.
INSTALL = "pip install -e '.[bench]'"


@dataclasses.dataclass(frozen=True)
class Form:
    """How weights and activations are stored.

    Attributes:
        name: As on the command line.
        weights: "float32", "float16", "dynamic" (weights of 8 bits, activations float) or "int8"
            (both of 8 bits).
        sparse: Whether zeros are left out of the file.
        tolerance: Greatest error accepted: root mean square of the difference to the reference
            outputs, divided by the root mean square of those.
    """

    name: str
    weights: str
    sparse: bool
    tolerance: float


def missing(packages: tuple[str, ...]) -> list[str]:
    """Returns those of some packages, by the names they are imported by, that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def check_calibration(form: Form, calibration: np.ndarray | None) -> None:
    """Checks that there are inputs to calibrate a form by that needs some.

    Raises:
        InputError: If there are none.
    """
    if form.weights == "int8" and calibration is None:
        raise InputError(
            f"format={form.name}: expected calibration inputs; give --calibration=FILE.npy, or a "
            "ticket of `python -m tf_earlyticket.train`, whose data set is known."
        )
