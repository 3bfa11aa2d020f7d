"""The back end of Keras 3, which computes with TensorFlow or JAX."""

import contextlib
import io
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tf_earlyticket.backends.base import Backend
from tf_earlyticket.backends.keras3 import names, state, wrap
from tf_earlyticket.backends.keras3.compat import BACKEND as COMPUTES_WITH
from tf_earlyticket.backends.keras3.compat import keras
from tf_earlyticket.backends.keras3.pruned_model import Keras3Adapter
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule

logger = logging.getLogger(__name__)
# A process has one backend, so another one does it.
_SAVE_BY_TENSORFLOW = """
import sys, keras
model = keras.saving.load_model(sys.argv[1], compile=False)
model.export(sys.argv[2], verbose=False)
"""


class Keras3Backend(Backend):
    """Models whose optimizer holds the masks."""

    framework = "keras"
    keras = keras
    computes_with = COMPUTES_WITH
    command_prefix = f"KERAS_BACKEND={COMPUTES_WITH} "
    schedule_class = EarlyTicketSchedule
    starts_within_epochs = state.STARTS_WITHIN_EPOCHS
    state_index, state_others = state.INDEX, state.OTHERS

    def pruned(self, model) -> Keras3Adapter:
        return Keras3Adapter.of(model)

    def wrap(self, model, schedule, *, prunable, ranking, group_size):
        return wrap.wrap(model, schedule, prunable=prunable, ranking=ranking, group_size=group_size)

    def strip(self, model):
        return wrap.strip(model)

    def float32_copy(self, model):
        return wrap.float32_copy(model)

    def prunable_layers(self, model, prunable=None):
        return wrap.prunable_layer_names(model, prunable)

    def named_weights(self, model):
        return names.named_weights(model)

    def save_model(self, model, directory: Path) -> None:
        # What JAX itself would write is compiled for the kind of device that trained, and cannot
        # be converted to TFLite.
        if self.computes_with != "tensorflow" and _save_by_tensorflow(model, directory):
            return
        # Keras prints the list of everything it captured.
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(str(directory))

    def write_state(self, model, path):
        state.write(model, path)

    def read_state(self, model, path):
        state.read(model, path)

    @contextlib.contextmanager
    def dtype_policy(self, name):
        former = keras.config.dtype_policy()
        keras.config.set_dtype_policy(name)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(former)

    def sgd(self, learning_rate, momentum, *, loss_scale=False):
        optimizer = keras.optimizers.SGD(learning_rate, momentum=momentum)
        return keras.optimizers.LossScaleOptimizer(optimizer) if loss_scale else optimizer


def _save_by_tensorflow(model, directory: Path) -> bool:
    """Writes a SavedModel of TensorFlow's own operations, which run on every device.

    Returns:
        Whether that was possible: layers of the user's own have to be registered with Keras in a
        module that the other process imports too, which is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        model.save(file, include_optimizer=False)
        done = subprocess.run(
            [sys.executable, "-c", _SAVE_BY_TENSORFLOW, str(file), str(directory)],
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


BACKEND = Keras3Backend()
