"""A CNN of your own in plain `fit`: find the ticket, prune, export.

python examples/own_cnn.py
"""

import tempfile

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.datasets import load_digits

import tf_earlyticket as et


def main(epochs: int = 20) -> float:
    """Trains and exports; returns the ticket's accuracy on held-out digits."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((images, digits.target.astype(np.int32)))
    train = data.skip(600).shuffle(1200, seed=0).batch(32)
    val, test = data.take(300).batch(100), data.skip(300).take(300).batch(100)

    layers = keras.layers
    my_model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(final_sparsity=0.8))
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    early_ticket = et.EarlyTicket(train, val)
    model.fit(train, validation_data=val, epochs=epochs, callbacks=[early_ticket], verbose=0)
    accuracy = model.evaluate(test, verbose=0, return_dict=True)["accuracy"]
    with tempfile.TemporaryDirectory() as folder:
        ticket = et.export_ticket(model, f"{folder}/ticket")
    print(
        f"Started after epoch {early_ticket.start_epoch} of {epochs}: "
        f"{100 * ticket.sparsity:.1f} % sparse, accuracy {100 * accuracy:.1f} %"
    )
    return accuracy


if __name__ == "__main__":
    main()
