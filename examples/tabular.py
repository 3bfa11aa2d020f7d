"""A table instead of images: dense layers only, three kinds of wine.

    python examples/tabular.py

An epoch has few steps here, so the start is found by the weights alone, without probes.
"""

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import tf_earlyticket as et


def main(epochs: int = 30) -> float:
    """Trains; returns the ticket's accuracy on held-out wines."""
    keras.utils.set_random_seed(0)
    wine = load_wine()
    order = np.random.default_rng(0).permutation(len(wine.target))
    table = StandardScaler().fit_transform(wine.data)[order].astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((table, wine.target[order].astype(np.int32)))
    train, val = data.skip(50).shuffle(200, seed=0).batch(16), data.take(50).batch(50)

    layers = keras.layers
    my_model = keras.Sequential(
        [
            layers.Input((13,)),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(64, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.8))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", ["accuracy"])
    early_ticket = et.EarlyTicket(train, val, detector=et.MaskDistance())
    model.fit(train, validation_data=val, epochs=epochs, callbacks=[early_ticket], verbose=0)
    accuracy = model.evaluate(val, verbose=0, return_dict=True)["accuracy"]
    print(f"Started after epoch {early_ticket.start_epoch}: {early_ticket.start_reason}")
    print(f"accuracy {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    main()
