"""The version of the package, in one place, and those of what it stands on."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterable

__version__ = "0.1.0"

_PACKAGES = (
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "tensorflow-datasets",
    "numpy",
)
# Only where they are in use, which these modules tell: TensorFlow imports keras, needed or not.
_USED = {"keras": "tf_earlyticket.backends.keras3.compat", "jax": "jax"}


def installed_versions(also: Iterable[str] = ()) -> dict[str, str]:
    """Returns the versions of the packages that decide what a run computes, and others, by name."""
    names = [*_PACKAGES, *also, *(name for name, module in _USED.items() if module in sys.modules)]
    found = {}
    for name in names:
        # A user of Keras 3 need not have all of them.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
