"""The state of a Keras 3 training run in a file: NumPy arrays by number, on every backend."""

import zipfile
from pathlib import Path

import numpy as np

from tf_earlyticket.backends.keras3.compat import keras
from tf_earlyticket.files import naming

# Keras 3 begins a `fit` at an epoch only: the one in progress is finished before a termination.
STARTS_WITHIN_EPOCHS = False
INDEX, OTHERS = ".npz", ".npz.tmp"


def write(model, path: Path) -> None:
    """Writes model, masks and optimizer to `path` with the ending .npz, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    values = [keras.ops.convert_to_numpy(variable.value) for variable in _variables(model)]
    target = path.with_name(path.name + INDEX)
    temporary = path.with_name(path.name + OTHERS)
    with naming(target):
        try:
            with open(temporary, "wb") as file:
                # In float32, which NumPy can write: bfloat16 values all fit into it.
                np.savez(
                    file, *(v.astype(np.float32) if v.dtype.kind == "V" else v for v in values)
                )
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def point_to(directory: Path, name: str) -> None:
    """Does nothing: the files' numbers tell which is the latest."""


def read(model, path: Path) -> None:
    """Reads what `write` wrote.

    Raises:
        ValueError: If it is not whole or not of this model; the model is then unchanged.
    """
    variables = _variables(model)
    try:
        with np.load(path.with_name(path.name + INDEX), allow_pickle=False) as file:
            values = [file[f"arr_{number}"] for number in range(len(file.files))]
    except (KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"it is damaged: {error}") from error
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise ValueError("it is not of this model and optimizer")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _variables(model) -> list:
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    inner = getattr(model.optimizer, "inner_optimizer", None)
    found = [*model.variables, *model.optimizer.variables, *(inner.variables if inner else [])]
    return list({id(variable): variable for variable in found}.values())
