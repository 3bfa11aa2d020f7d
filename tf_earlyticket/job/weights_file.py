"""Weights of a network in a file, by name."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tf_earlyticket.files import naming


def save_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Writes arrays of any shapes by name, whole or not at all; makes the directory."""
    arrays = {f"array_{n}": value for n, value in enumerate(weights.values())}
    path.parent.mkdir(parents=True, exist_ok=True)
    # NumPy would append .npz to any other ending.
    temporary = path.with_name(f".tmp.{path.name}")
    with naming(path):
        try:
            np.savez(temporary, names=np.array(list(weights)), **arrays)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Returns what `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return {str(name): file[f"array_{n}"] for n, name in enumerate(file["names"])}
