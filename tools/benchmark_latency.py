"""Measures tickets of whole channels beside the dense network, in several runtimes.

    python tools/benchmark_latency.py --processes=5 --rounds=10

ResNet20 (32 px), ResNet50 (64 px) and MobileNetV2 (128 px) at a half and a quarter of their
multiply-adds, ranked as tickets are and made small, with random weights: latency does not depend
on them. As `python -m tf_earlyticket.bench` measures tickets; needs `pip install -e '.[bench]'`.
"""

import tempfile
from pathlib import Path

import benchmarking
import numpy as np
from absl import app, flags

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.commands import command_line
from tf_earlyticket.deploy import bench
from tf_earlyticket.files import read_json

# Height of the pictures, and of which numbers of channels are multiples: ResNet20 has 16 to 64.
NETWORKS = {"resnet20": (32, 4), "resnet50": (64, 8), "mobilenet_v2": (128, 8)}
SHARES = (0.5, 0.25)
# Outputs of random weights are noise with 8 bits, and speed does not depend on them.
INT8_TOLERANCE = 1.0
_EXAMPLES = 8


def build(name: str):
    """Returns a network with random weights, the same every time, that gives logits.

    Its BatchNorms know what comes in: signals that die away have no numbers of 8 bits.
    """
    keras.utils.set_random_seed(0)
    shape = (NETWORKS[name][0], NETWORKS[name][0], 3)
    if name == "mobilenet_v2":
        model = keras.applications.MobileNetV2(shape, weights=None, classifier_activation=None)
    else:
        model = getattr(et.models, name)(shape, {"resnet20": 10, "resnet50": 1000}[name])
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(np.random.default_rng(1).normal(size=(8, *shape)).astype(np.float32), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return model


def ranked(model, sparsity: float, structure=None):
    """Returns a copy of a network, wrapped, pruned at once by what ranks lowest in it."""
    schedule = et.EarlyTicketPolynomialDecay(sparsity)
    wrapped = et.wrap_for_pruning(model, schedule, structure=structure)
    wrapped.compile("sgd", "mse")
    adapter = pruned(wrapped)
    adapter.prepare()
    adapter.set_masks(adapter.ranked_masks(sparsity))
    return wrapped


def small_network(model, share: float, multiple: int):
    """Returns a network without the channels that rank lowest, at a share of its multiply-adds."""
    return et.remove_channels(ranked(model, 1 - share, et.structures.Channels("macs", multiple)))


def measure(name: str, options: bench.Options) -> tuple[dict, list[dict]]:
    """Returns what a network is, and the rows of `bench.measure`."""
    height, multiple = NETWORKS[name]
    dense = build(name)
    networks = {bench.DENSE: dense}
    for share in SHARES:
        networks[f"{name} {share}"] = small_network(dense, share, multiple)
    backend, about = backend_of(dense), {"height": height, "multiple": multiple}
    shape = (_EXAMPLES, height, height, 3)
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        places = {key: Path(folder) / str(number) for number, key in enumerate(networks)}
        for key, model in networks.items():
            backend.save_model(model, places[key])
            graph = et.channel_graph(model)
            about[key] = {
                "multiply_adds": graph.multiply_adds(),
                "parameters": graph.parameters(),
            }
        dense_place = places.pop(bench.DENSE)
        return about, bench.measure(places, dense_place, inputs, options)


def main(argv: list[str]) -> None:
    """Measures the networks and keeps what was measured of others."""
    del argv
    values = flags.FLAGS
    options = bench.Options(
        values.runtimes,
        int8_tolerance=INT8_TOLERANCE,
        batches=command_line.numbers("batches", values.batches),
        processes=values.processes,
        rounds=values.rounds,
    )
    options = bench.with_runtimes(options, print)
    kept = read_json(Path(values.output)) if values.keep else {"networks": {}, "rows": []}
    versions = [name for runtime in bench.RUNTIMES.values() for name in runtime.distributions]
    for name in values.networks:
        about, rows = measure(name, options)
        new = {(name, runtime) for runtime in options.runtimes}
        rows += [r for r in kept["rows"] if (r["path"].split()[0], r["runtime"]) not in new]
        kept = {"networks": kept["networks"] | {name: about}, "rows": rows}
        options_told = vars(options) | {"networks": list(kept["networks"])}
        benchmarking.write(
            Path(values.output), {**kept, "options": options_told}, packages=versions
        )


if __name__ == "__main__":
    flags.DEFINE_list("networks", list(NETWORKS), "Networks")
    flags.DEFINE_list("runtimes", list(bench.RUNTIMES), "Runtimes")
    flags.DEFINE_list("batches", ["1", "32"], "Examples a call")
    flags.DEFINE_integer("processes", 5, "Fresh processes for each runtime and precision")
    flags.DEFINE_integer("rounds", 10, "Rounds in each process, for each batch")
    flags.DEFINE_bool("keep", False, "Keep what the output has of other networks and runtimes")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "latency.json"), "File for results")
    app.run(main)
