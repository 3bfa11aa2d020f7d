"""SavedModels of Keras 3 models that train on another backend than TensorFlow."""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

logger = logging.getLogger(__name__)
# A process has one backend, so another one does it.
_PROGRAM = """
import sys, keras
model = keras.saving.load_model(sys.argv[1], compile=False)
model.export(sys.argv[2], verbose=False)
"""


def save_by_tensorflow(model, directory: Path) -> bool:
    """Writes a SavedModel of TensorFlow's own operations, which run on every device.

    What JAX itself would write is compiled for the kind of device that trained, and cannot be
    converted to TFLite.

    Args:
        model: A plain Keras 3 model.
        directory: Where to; made.

    Returns:
        Whether that was possible: layers of the user's own have to be registered with Keras in a
        module that the other process imports too, which is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file, include_optimizer=False)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(file), str(directory)],
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        logger.warning(
            "TensorFlow cannot rebuild the model (%.200s): the SavedModel is written by its own "
            "backend, for this kind of device, and cannot be converted to TFLite.",
            reason,
        )
    return done.returncode == 0
