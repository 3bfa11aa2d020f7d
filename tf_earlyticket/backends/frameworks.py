"""The two Keras that are served, by name; neither is imported before it is asked for."""

from importlib.util import find_spec
from types import ModuleType

from tf_earlyticket.errors import InputError

FRAMEWORKS = ("tf_keras", "keras")
# Packages by the name they are imported by.
_NEEDED = {"tf_keras": ("tf_keras", "tensorflow_model_optimization"), "keras": ("keras",)}


def check_installed(framework: str) -> None:
    """Checks that what a Keras needs is installed; imports nothing.

    Raises:
        InputError: If it is not.
    """
    missing = [name for name in _NEEDED[framework] if find_spec(name) is None]
    if missing:
        (other,) = set(FRAMEWORKS) - {framework}
        raise InputError(
            f"config.model.keras={framework!r}: {' and '.join(missing)} not installed; expected "
            f"{other!r}, or an environment with {' and '.join(missing)}."
        )


def framework_of(model) -> str:
    """Returns "tf_keras" (Keras 2) or "keras" (Keras 3), whichever a model is of.

    Raises:
        InputError: If the model is of neither.
    """
    for kind in type(model).__mro__:
        package = kind.__module__.split(".")[0]
        if kind.__name__ == "Model" and package in FRAMEWORKS:
            return package
    raise InputError(
        f"model is a {type(model).__module__}.{type(model).__name__}: expected a Keras model, of "
        "tf_keras (Keras 2) or keras (Keras 3)."
    )


def keras_of(framework: str) -> ModuleType:
    """Returns the module of a Keras.

    Raises:
        InputError: For an unknown name.
    """
    if framework == "tf_keras":
        from tf_earlyticket.backends.tf_keras.compat import keras
    elif framework == "keras":
        from tf_earlyticket.backends.keras3.compat import keras
    else:
        raise InputError(f"framework={framework!r}: expected {' or '.join(map(repr, FRAMEWORKS))}.")
    return keras


def backend_of(framework: str) -> str:
    """Returns what a Keras computes with in this process: "tensorflow" or, Keras 3 only, "jax"."""
    if framework == "tf_keras":
        return "tensorflow"
    from tf_earlyticket.backends.keras3.compat import BACKEND

    return BACKEND


def always_compiled(framework: str) -> bool:
    """Tells whether the present backend of a Keras computes by compiled steps only: JAX."""
    return backend_of(framework) == "jax"
