"""A network of KerasHub on Keras 3: a vision transformer as backbone, fine-tuned and pruned.

    pip install -e '.[hub]' && python examples/hub_classifier.py

The backbone is small and its weights are random here, so that nothing is downloaded; with
`keras_hub.models.ImageClassifier.from_preset("vit_base_patch16_224_imagenet", num_classes=10)` the
code is the same.
"""

import tempfile

import keras
import keras_hub
import numpy as np
from sklearn.datasets import load_digits

import tf_earlyticket as et


def main(epochs: int = 12) -> float:
    """Trains; returns the sparsity over all pruned layers."""
    keras.utils.set_random_seed(0)
    digits = load_digits()
    # Of a size and with three channels, as the backbone takes them.
    x = np.repeat(digits.images[..., None] / 16, 3, axis=-1).repeat(2, 1).repeat(2, 2)
    x, y = x.astype(np.float32), digits.target
    val, train = (x[:300], y[:300]), (x[300:], y[300:])

    backbone = keras_hub.models.ViTBackbone(
        (16, 16, 3), patch_size=4, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64
    )
    my_model = keras_hub.models.ViTImageClassifier(backbone, num_classes=10)
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(0.8))
    model.compile(
        keras.optimizers.Adam(2e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    early_ticket = et.EarlyTicket(train, val, batch_size=64)
    options = {"batch_size": 64, "validation_data": val, "verbose": 2}
    model.fit(*train, epochs=epochs, callbacks=[early_ticket], **options)
    with tempfile.TemporaryDirectory() as folder:
        ticket = et.export_ticket(model, f"{folder}/ticket")
    print(f"{len(ticket.masks)} pruned kernels, such as {', '.join(list(ticket.masks)[:3])}")
    return ticket.sparsity


if __name__ == "__main__":
    print(f"{100 * main():.1f} % of the prunable weights are zero")
