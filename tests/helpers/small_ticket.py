"""A small network with 11,520 weights in masked kernels, and its ticket."""

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras


def plain_network():
    layers = keras.layers
    inner = keras.Sequential(
        [
            layers.Input((8, 8, 8)),
            layers.Conv2D(32, 3, padding="same", use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
        ],
        name="inner",
    )
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="stem"),
            inner,
            layers.ReLU(),
            layers.Conv2D(32, 3, strides=2, name="last"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, name="classifier"),
        ]
    )


def write_ticket(directory, plain, sparsity, pictures=None, structure=None):
    """Writes the ticket of a network pruned at once, untrained, and returns it."""
    schedule = et.EarlyTicketPolynomialDecay(sparsity)
    model = et.wrap_for_pruning(plain, schedule, structure=structure)
    model.compile("sgd", "mse")
    adapter = pruned(model)
    adapter.prepare()
    adapter.set_masks(adapter.ranked_masks(sparsity))
    return et.export_ticket(model, directory, pictures=pictures)
