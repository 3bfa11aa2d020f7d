"""The only module that imports Keras 3, and knows its private names.

A process has one backend, which Keras reads from KERAS_BACKEND when it is imported first.
"""

import keras
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.export.export_utils import get_input_signature
from keras.src.models import Functional
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.saving.serialization_lib import SafeModeScope
from keras.src.utils.naming import reset_uids

from tf_earlyticket.backends import check_computes_with

BACKEND = keras.backend.backend()
check_computes_with(BACKEND)

__all__ = [
    "BACKEND",
    "Functional",
    "KerasSaveable",
    "SafeModeScope",
    "get_global_attribute",
    "get_input_signature",
    "keras",
    "loss_gradients",
    "reset_uids",
]


def loss_gradients(model, variables, inputs, labels, sample_weight) -> list:
    """Returns the gradients of the compiled loss in a model's trainable variables, on a batch."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs = model(inputs, training=True)
            loss = model.compute_loss(inputs, labels, outputs, sample_weight, training=True)
        return tape.gradient(loss, [variable.value for variable in variables])
    import jax

    others, metrics, slots = (
        [variable.value for variable in found]
        for found in (
            model.non_trainable_variables,
            model.metrics_variables,
            model.optimizer.variables,
        )
    )

    def loss(values):
        _, (unscaled, *_) = model.compute_loss_and_updates(
            values,
            others,
            metrics,
            inputs,
            labels,
            sample_weight,
            training=True,
            optimizer_variables=slots,
        )
        return unscaled

    return jax.grad(loss)([variable.value for variable in variables])
