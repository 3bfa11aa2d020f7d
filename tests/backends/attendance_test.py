"""Training a wrapped model without a callback that updates masks is said aloud."""

import warnings

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.backends.tf_keras.wrapper import UNATTENDED


def wrapped_model():
    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(8, 8, 3)),
            layers.Conv2D(4, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    schedule = et.EarlyTicketPolynomialDecay(0.5, begin_step=0, ramp_steps=1)
    model = et.wrap_for_pruning(plain, schedule)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


def warned(train):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train()
    return any(str(warning.message) == UNATTENDED for warning in caught)


def test_a_forgotten_callback_is_warned_about(images):
    model = wrapped_model()
    assert warned(lambda: model.fit(*images, verbose=0))


def test_a_callback_that_updates_masks_is_enough(images):
    model = wrapped_model()
    assert not warned(lambda: model.fit(*images, verbose=0, callbacks=[et.MaskUpdate()]))


def test_masks_set_beforehand_and_inference_need_no_callback(images):
    model = wrapped_model()
    assert not warned(lambda: model.evaluate(*images, verbose=0))
    pruned(model).apply_masks()
    assert not warned(lambda: model.fit(*images, verbose=0))
