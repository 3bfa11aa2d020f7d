"""A training loop of your own: `et.EarlyTicket` is called as `fit` would call it.

python examples/custom_loop.py
"""

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.datasets import load_digits

import tf_earlyticket as et


def main(epochs: int = 16) -> float:
    """Trains; returns the sparsity that was reached."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = (digits.images.reshape(-1, 64) / 16).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((images, digits.target.astype(np.int32)))
    train, val = data.skip(300).shuffle(1500, seed=0).batch(50), data.take(300).batch(100)

    layers = keras.layers
    my_model = keras.Sequential(
        [
            layers.Input((64,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.9))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.Adam(2e-3)
    # The probes train and evaluate by the compiled model, with the same optimizer.
    model.compile(optimizer, loss, metrics=["accuracy"])

    @tf.function
    def train_step(inputs, labels):
        with tf.GradientTape() as tape:
            value = loss(labels, model(inputs, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value

    early_ticket = et.EarlyTicket(train, val)
    early_ticket.set_params({"epochs": epochs, "steps": int(train.cardinality())})
    early_ticket.set_model(model)
    early_ticket.on_train_begin()
    for epoch in range(epochs):
        early_ticket.on_epoch_begin(epoch)
        for step, (inputs, labels) in enumerate(train):
            early_ticket.on_train_batch_begin(step)
            value = train_step(inputs, labels)
            early_ticket.on_train_batch_end(step, {"loss": value})
        logs = {"loss": float(value)}
        early_ticket.on_epoch_end(epoch, logs)
        print(f"epoch {epoch + 1}: loss {logs['loss']:.3f}, sparsity {logs['sparsity']:.3f}")
    early_ticket.on_train_end()
    return logs["sparsity"]


if __name__ == "__main__":
    main()
