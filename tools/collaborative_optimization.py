"""Applies TFMOT's quantisation-aware training and clustering to a ticket, and looks at its zeros.

    python tools/collaborative_optimization.py --ticket=runs/mine/ticket

Four networks from the ticket's trained weights, each trained a little more: quantisation-aware
training that preserves sparsity and one that does not, clustering that preserves sparsity and one
that does not. Reported: the ticket's zeros that are still zero, test accuracy before and after,
size as TFLite. The ticket is one of `python -m tf_earlyticket.train`. Writes
`exported/collaborative.json` in the ticket.
"""

import tempfile
import zlib
from pathlib import Path

import benchmarking
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
from absl import app, flags
from tensorflow_model_optimization.python.core.clustering.keras.experimental import cluster

import tf_earlyticket as et
from tf_earlyticket.backends import backend_named, backend_of
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.commands.export import data_of
from tf_earlyticket.config import Config, config_from_dict
from tf_earlyticket.data.streams import Data
from tf_earlyticket.job.build import build_plain_model
from tf_earlyticket.tickets.ticket import Ticket

CLUSTERS = 16
# Small: the network is trained already, and clustering diverges at rates of ordinary training.
LEARNING_RATE = 1e-4


def optimize(
    way: str, preserve: bool, config: Config, ticket: Ticket, data: Data, epochs: int
) -> dict:
    """Optimises the trained ticket one way.

    Args:
        way: "quantization" or "clustering".
        preserve: Whether TFMOT is asked to preserve sparsity.
        config: Of the ticket's run.
        ticket: A trained ticket.
        data: Its data set.
        epochs: Of further training.

    Returns:
        "accuracy_before", "accuracy" (fractions of the test set), "zeros_kept" (fraction of the
        pruned weights that are still exactly zero), "bytes" and "compressed_bytes" of the TFLite
        file (8-bit weights after quantisation, else float32).
    """
    model = backend_named(config.model.keras).float32_copy(build_plain_model(config))
    et.load_trained_weights(model, ticket)
    before = _accuracy(_compiled(model), data, config)
    optimized = _compiled(_quantized(model, preserve) if way == "quantization" else
                          _clustered(model, preserve))  # fmt: skip
    batch = config.train.batch_size
    optimized.fit(
        data.train(batch, seed=config.seed, first_epoch=1),
        steps_per_epoch=data.steps_per_epoch(batch),
        epochs=epochs,
        verbose=0,
    )
    accuracy = _accuracy(optimized, data, config)
    if way == "clustering":
        optimized = tfmot.clustering.keras.strip_clustering(optimized)
    content = _tflite(optimized, way == "quantization")
    return {
        "way": way,
        "preserve_sparsity": preserve,
        "epochs": epochs,
        "accuracy_before": before,
        "accuracy": accuracy,
        "zeros_kept": _zeros_kept(optimized, ticket),
        "bytes": len(content),
        "compressed_bytes": len(zlib.compress(content, 9)),
    }


def _quantized(model, preserve: bool):
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    if not preserve:
        return tfmot.quantization.keras.quantize_apply(annotated)
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    return tfmot.quantization.keras.quantize_apply(annotated, scheme)


def _clustered(model, preserve: bool):
    return cluster.cluster_weights(
        model,
        number_of_clusters=CLUSTERS,
        cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
        preserve_sparsity=preserve,
    )


def _compiled(model):
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def _accuracy(model, data: Data, config: Config) -> float:
    test = data.test(config.train.batch_size)
    return float(model.evaluate(test, verbose=0, return_dict=True)["accuracy"])


def _zeros_kept(model, ticket: Ticket) -> float:
    """Returns the fraction of the ticket's pruned weights that are zero in the model."""
    named = backend_of(model).named_weights(model)
    # TFMOT wraps layers under names of its own that end with the layer's.
    values = {name.removeprefix("quant_"): v.numpy() for name, v in named.items()}
    pruned = kept = 0
    for name, mask in ticket.masks.items():
        pruned += int(np.sum(~mask))
        kept += int(np.sum(values[name][~mask] == 0))
    return kept / pruned


def _tflite(model, quantized: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        backend_of(model).save_model(model, Path(folder))
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=["serving_default"]
        )
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()


def main(argv: list[str]) -> None:
    """Optimises in all ways, prints a table, writes the JSON."""
    del argv
    directory = Path(flags.FLAGS.ticket)
    ticket = Ticket.load(directory)
    data = data_of(ticket, flags.FLAGS.data_dir)
    if data is None:
        raise et.InputError(f"ticket={directory}: expected one of a run, which knows its data.")
    config = config_from_dict(ticket.provenance["config"])
    keras.utils.set_random_seed(config.seed)
    found = [
        optimize(way, preserve, config, ticket, data, flags.FLAGS.epochs)
        for way in ("quantization", "clustering")
        for preserve in (True, False)
    ]
    benchmarking.show(
        "From the trained ticket",
        ["way", "preserve", "zeros kept", "accuracy before", "after", "bytes", "compressed"],
        [
            (
                row["way"],
                row["preserve_sparsity"],
                f"{100 * row['zeros_kept']:.2f} %",
                f"{100 * row['accuracy_before']:.2f}",
                f"{100 * row['accuracy']:.2f}",
                f"{row['bytes']:,}",
                f"{row['compressed_bytes']:,}",
            )
            for row in found
        ],
    )
    results = {"clusters": CLUSTERS, "learning_rate": LEARNING_RATE, "rows": found}
    benchmarking.write(directory / "exported" / "collaborative.json", results)


if __name__ == "__main__":
    flags.DEFINE_string("ticket", None, "Directory of the ticket", required=True)
    flags.DEFINE_string("data_dir", None, "Where TFDS data sets lie; default TFDS's own directory")
    flags.DEFINE_integer("epochs", 3, "Of further training", lower_bound=1)
    app.run(main)
