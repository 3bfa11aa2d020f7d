"""Measures mask updates: a whole one against TFMOT's masks alone, and how ranking grows with size.

    python tools/benchmark_masks.py

Update: ResNet50 wrapped by this toolkit (one exact global ranking, masks, weights, thresholds and
momentum slots written) against the same network wrapped by stock TFMOT (its layerwise masks alone,
in one compiled function), in turn in one process.

Ranking: time and peak memory of `global_masks` from 0.1 M to 100 M random weights, for the first
mask and for one that an earlier mask restricts, against NumPy sorting the magnitudes.
"""

import tracemalloc
from pathlib import Path

import benchmarking
import numpy as np
import tensorflow as tf
from absl import app, flags

from tf_earlyticket import global_masks
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import collect_prunable_layers, tfmot
from tf_earlyticket.config import Config
from tf_earlyticket.deploy import timing
from tf_earlyticket.job.build import build_plain_model, build_wrapped_model
from tf_earlyticket.pruning.masks import kept_count

_SPARSITY = 0.8
_SIZES = (10**5, 10**6, 10**7, 10**8)


def update(network: str, rounds: int) -> dict:
    """Returns the time of a whole mask update against that of TFMOT's masks alone."""
    config = Config()
    config.model.name = network
    if network in ("resnet18", "resnet50"):
        config.data.name, config.data.image_size = "imagenet2012", 64
    model = build_wrapped_model(config, 1000, tf.distribute.get_strategy())
    adapter = pruned(model)
    adapter.prepare()
    dense = adapter.all_weights()
    everything = {name: np.ones(mask.shape, bool) for name, mask in adapter.masks().items()}
    layers = _wrapped_by_tfmot(config)

    @tf.function
    def tfmot_masks() -> None:
        for layer in layers:
            layer.pruning_obj.conditional_mask_update()

    def ours() -> float:
        # Each update starts from dense weights, as the first of a ramp does.
        adapter.set_masks(everything)
        adapter.set_all_weights(dense)
        return timing.seconds(lambda: adapter.set_masks(adapter.ranked_masks(_SPARSITY)))

    times = timing.alternate(
        {"tf_earlyticket": ours, "tfmot": lambda: timing.seconds(tfmot_masks)}, rounds
    )
    masks = adapter.masks()
    total = sum(mask.size for mask in masks.values())
    kept = int(sum(mask.sum() for mask in masks.values()))
    return {
        "network": network,
        "prunable": total,
        "kept": kept,
        "kept_exactly": kept == kept_count(total, _SPARSITY),
        "tfmot_kept": int(
            sum(np.sum(mask) for layer in layers for _, mask, _ in layer.pruning_vars)
        ),
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        **timing.ratio(times["tf_earlyticket"], times["tfmot"]),
    }


def _wrapped_by_tfmot(config: Config) -> list:
    """Returns the wrappers that stock TFMOT puts around the same layers, with a mask due now."""
    schedule = tfmot.sparsity.keras.ConstantSparsity(_SPARSITY, begin_step=0, frequency=1)
    layers = collect_prunable_layers(
        benchmarking.wrap_by_tfmot(build_plain_model(config), schedule)
    )
    for layer in layers:
        layer.pruning_step.assign(0)
    return layers


def ranking(size: int, rounds: int) -> dict:
    """Returns the time and peak memory of ranking so many weights."""
    weights = [np.random.default_rng(0).normal(size=size).astype(np.float32)]
    previous = global_masks(weights, _SPARSITY / 2)
    ways = {
        "first": lambda: global_masks(weights, _SPARSITY),
        "restricted": lambda: global_masks(weights, _SPARSITY, previous=previous),
        "sort": lambda: np.sort(np.abs(weights[0])),
    }
    times = timing.alternate(
        {name: lambda way=way: timing.seconds(way) for name, way in ways.items()}, rounds
    )
    tracemalloc.start()
    ways["restricted"]()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "weights": size,
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        "peak_bytes": peak,
        "against_sort": timing.ratio(times["restricted"], times["sort"]),
    }


def main(argv: list[str]) -> None:
    """Measures, prints the ratios, writes the JSON."""
    del argv
    quick, rounds = flags.FLAGS.quick, flags.FLAGS.rounds
    results = {
        "update": update("resnet8" if quick else "resnet50", rounds),
        # Fewer rounds of what takes long and varies little.
        "ranking": [
            ranking(size, max(2, rounds // (3 if size > 10**7 else 1)))
            for size in (_SIZES[:1] if quick else _SIZES)
        ],
    }
    found = results["update"]
    benchmarking.show(
        "A whole mask update / TFMOT's masks alone",
        ["network", "ms", "TFMOT, ms", "ratio"],
        [
            (
                found["network"],
                *(f"{1e3 * value:.0f}" for value in found["seconds"].values()),
                benchmarking.with_spread(found),
            )
        ],
    )
    benchmarking.show(
        "Ranking",
        ["weights", "first, ms", "restricted, ms", "peak, MB", "/ sorting"],
        [
            (
                f"{row['weights']:,}",
                f"{1e3 * row['seconds']['first']:.1f}",
                f"{1e3 * row['seconds']['restricted']:.1f}",
                f"{row['peak_bytes'] / 1e6:.1f}",
                benchmarking.with_spread(row["against_sort"]),
            )
            for row in results["ranking"]
        ],
    )
    benchmarking.write(Path(flags.FLAGS.output), results)


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 11, "Counted rounds of each measurement.", lower_bound=1)
    flags.DEFINE_bool("quick", False, "Tiny sizes: shows that it runs; the numbers mean nothing.")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "masks.json"), "The result file.")
    app.run(main)
