"""A network from `tf_keras.applications` as backbone, with a classifier of your own on top.

    python examples/transfer.py

The backbone's weights are random here, so that nothing is downloaded; with weights="imagenet" the
code is the same.
"""

import tempfile

import numpy as np
import tensorflow as tf
import tf_keras as keras

import tf_earlyticket as et


def main(epochs: int = 6) -> float:
    """Trains; returns the sparsity over all pruned layers."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 192).astype(np.int32)
    images = random.normal(size=(192, 32, 32, 3)).astype(np.float32) + labels[:, None, None, None]
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    train, val = data.take(128).batch(32), data.skip(128).batch(32)

    backbone = keras.applications.MobileNetV2((32, 32, 3), 0.35, include_top=False, weights=None)
    my_model = keras.Sequential(
        [
            keras.layers.Input((32, 32, 3)),
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="classifier"),
        ]
    )
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.8))
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        train,
        validation_data=val,
        epochs=epochs,
        callbacks=[et.EarlyTicket(train, val, detector=et.MaskDistance())],
        verbose=2,
    )
    with tempfile.TemporaryDirectory() as folder:
        ticket = et.export_ticket(model, f"{folder}/ticket")
    print(f"{len(ticket.masks)} pruned layers in the backbone")
    return ticket.sparsity


if __name__ == "__main__":
    print(f"{100 * main():.1f} % of the prunable weights are zero")
