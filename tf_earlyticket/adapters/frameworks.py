"""Which Keras a model is of, told without importing either."""

from tf_earlyticket.errors import InputError


def framework_of(model) -> str:
    """Returns "tf_keras" (Keras 2) or "keras" (Keras 3).

    Raises:
        InputError: If the model is of neither.
    """
    for kind in type(model).__mro__:
        package = kind.__module__.split(".")[0]
        if kind.__name__ == "Model" and package in ("tf_keras", "keras"):
            return package
    raise InputError(
        f"model is a {type(model).__module__}.{type(model).__name__}: expected a Keras model, of "
        "tf_keras (Keras 2) or keras (Keras 3)."
    )
