"""A small vision transformer: attention and feed-forward kernels are pruned, on Keras 3.

    python examples/vit.py

Digits of 8 x 8 pixels are read as 16 patches (Dosovitskiy et al., 2021, at a thousandth the size).
"""

import keras
import numpy as np
from sklearn.datasets import load_digits

import tf_earlyticket as et

layers = keras.layers


@keras.saving.register_keras_serializable(package="examples")
class Positions(layers.Layer):
    """Adds a learned vector to each patch."""

    def build(self, shape):
        self.positions = self.add_weight(shape=shape[1:], name="positions")

    def call(self, patches):
        return patches + self.positions


def vision_transformer(width: int = 48, depth: int = 3, heads: int = 4) -> keras.Model:
    """Returns the network, before training."""
    pictures = layers.Input((8, 8, 1))
    x = layers.Conv2D(width, 2, strides=2, name="patches")(pictures)
    x = Positions(name="positions")(layers.Reshape((16, width))(x))
    for block in range(depth):
        y = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(heads, width // heads, name=f"attention_{block}")
        x = layers.Add()([x, attention(y, y)])
        y = layers.Dense(2 * width, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(layers.Dropout(0.1)(y))])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(pictures, layers.Dense(10, name="classifier")(x))


def main(epochs: int = 40, seed: int = 0) -> dict:
    """Trains dense and with pruning; returns accuracies on held-out digits, and the sparsity."""
    keras.utils.set_random_seed(seed)
    digits = load_digits()
    order = np.random.permutation(len(digits.target))
    x = (digits.images[order, ..., None] / 16).astype(np.float32)
    y = digits.target[order]
    test, val, train = (x[:400], y[:400]), (x[400:700], y[400:700]), (x[700:], y[700:])

    def fit(model, callbacks):
        rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(train[0]) // 32))
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        options = {"batch_size": 32, "validation_data": val, "callbacks": callbacks, "verbose": 0}
        history = model.fit(*train, epochs=epochs, **options)
        return history, model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]

    my_model = vision_transformer()
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(final_sparsity=0.8))
    early_ticket = et.EarlyTicket(train, val, batch_size=32)
    history, ticket = fit(model, [early_ticket])
    _, dense = fit(my_model, [])
    sparsity = history.history["sparsity"][-1]
    print(f"dense {100 * dense:.1f} %, ticket {100 * ticket:.1f} % at sparsity {sparsity:.3f}")
    return {
        "dense_accuracy": dense,
        "ticket_accuracy": ticket,
        "sparsity": sparsity,
        "start_epoch": early_ticket.start_epoch,
    }


if __name__ == "__main__":
    main()
