"""The back end of tf_keras (Keras 2)."""

import contextlib
import io
from pathlib import Path

from tf_earlyticket.backends.base import Backend
from tf_earlyticket.backends.tf_keras import names, optimizers, state, wrap
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.backends.tf_keras.pruned_model import TfmotAdapter
from tf_earlyticket.backends.tf_keras.schedule import EarlyTicketPolynomialDecay


class TfKerasBackend(Backend):
    """Models in TFMOT's wrappers."""

    framework = "tf_keras"
    keras = keras
    schedule_class = EarlyTicketPolynomialDecay
    starts_within_epochs = state.STARTS_WITHIN_EPOCHS
    state_index, state_others = state.INDEX, state.OTHERS

    def pruned(self, model) -> TfmotAdapter:
        return TfmotAdapter.of(model)

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
        # Keras prints the list of everything it captured.
        with contextlib.redirect_stdout(io.StringIO()):
            model.export(str(directory))

    def write_state(self, model, path):
        state.write(model, path)

    def read_state(self, model, path):
        state.read(model, path)

    def point_to(self, directory, name):
        state.point_to(directory, name)

    def start_within(self, model, step):
        state.start_within(model, step)

    def metric_values(self, model):
        return state.metric_values(model)

    def set_metric_values(self, model, values):
        state.set_metric_values(model, values)

    @contextlib.contextmanager
    def dtype_policy(self, name):
        former = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy(name)
        try:
            yield
        finally:
            keras.mixed_precision.set_global_policy(former)

    def sgd(self, learning_rate, momentum, *, loss_scale=False):
        optimizer = keras.optimizers.SGD(learning_rate, momentum=momentum)
        return keras.mixed_precision.LossScaleOptimizer(optimizer) if loss_scale else optimizer

    def stepwise_learning_rate(self, boundaries, values):
        # In place from the start, all phases of a run share one compiled training step.
        return optimizers.OverridableSchedule(super().stepwise_learning_rate(boundaries, values))


BACKEND = TfKerasBackend()
