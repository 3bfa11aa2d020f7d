"""The version of the package, in one place, and those of what it stands on."""

import contextlib
import importlib.metadata
import sys

__version__ = "0.1.0"

_PACKAGES = (
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "tensorflow-datasets",
    "numpy",
)
_OTHER_FRAMEWORKS = ("keras", "jax")


def installed_versions() -> dict[str, str]:
    """Returns the versions of the packages that decide what a run computes, by name."""
    names = [*_PACKAGES, *(name for name in _OTHER_FRAMEWORKS if _in_use(name))]
    found = {}
    for name in names:
        # A user of Keras 3 need not have all of them.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _in_use(name: str) -> bool:
    if name == "keras":
        # TensorFlow imports it, needed or not.
        return "tf_earlyticket.backends.keras3.compat" in sys.modules
    return name in sys.modules
