"""The version of the package, in one place, and those of what it stands on."""

import importlib.metadata

__version__ = "0.1.0"

_PACKAGES = (
    "tensorflow",
    "tf_keras",
    "tensorflow-model-optimization",
    "tensorflow-datasets",
    "numpy",
)


def installed_versions() -> dict[str, str]:
    """Returns the versions of the packages that decide what a run computes, by name."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}
