"""A recurrent network for text: which package of Python does a sentence of its help come from?

    python examples/lstm_text.py

The texts are docstrings of the standard library, so nothing is downloaded.
"""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import tf_keras as keras

import tf_earlyticket as et

PACKAGES = ("asyncio", "email", "http", "logging", "unittest")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
layers = keras.layers


def sentences(package: str) -> list[str]:
    """Returns the sentences of at least six words in the docstrings of a package."""
    found = set()
    folder = Path(importlib.import_module(package).__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, DOCUMENTED):
                text = " ".join((ast.get_docstring(node) or "").split())
                found.update(part for part in re.split(r"(?<=[.:]) ", text) if part.count(" ") > 4)
    return sorted(found)


def recurrent_network(words: int) -> keras.Model:
    """Returns the network, before training: two recurrent layers are pruned, the table is not."""
    return keras.Sequential(
        [
            layers.Input((24,), dtype="int32"),
            layers.Embedding(words, 32, mask_zero=True, name="words"),
            layers.SpatialDropout1D(0.3),
            layers.Bidirectional(layers.LSTM(48, return_sequences=True), name="first"),
            layers.Bidirectional(layers.LSTM(48), name="second"),
            layers.Dropout(0.3),
            layers.Dense(len(PACKAGES), name="classifier"),
        ]
    )


def main(epochs: int = 20, seed: int = 0) -> dict:
    """Trains dense and with pruning; returns accuracies on held-out texts, and the sparsity."""
    keras.utils.set_random_seed(seed)
    texts = [(text, number) for number, name in enumerate(PACKAGES) for text in sentences(name)]
    texts = [texts[place] for place in np.random.permutation(len(texts))]
    lookup = layers.TextVectorization(3000, output_sequence_length=24)
    lookup.adapt([text for text, _ in texts[800:]])
    x = lookup([text for text, _ in texts]).numpy().astype(np.int32)
    y = np.array([number for _, number in texts])
    test, val, train = (x[:400], y[:400]), (x[400:800], y[400:800]), (x[800:], y[800:])

    def fit(model, callbacks):
        model.compile(
            keras.optimizers.Adam(2e-3),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        options = {"batch_size": 64, "validation_data": val, "callbacks": callbacks, "verbose": 0}
        history = model.fit(*train, epochs=epochs, **options)
        return history, model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]

    my_model = recurrent_network(lookup.vocabulary_size())
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(final_sparsity=0.8))
    early_ticket = et.EarlyTicket(train, val, batch_size=64)
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
