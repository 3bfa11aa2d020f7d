"""Measures what a probe costs beyond the training and evaluation it consists of.

    python tools/benchmark_probe.py

Probe: `PPRProbe.probe` on ResNet20 against plain training of the same number of steps plus the same
three evaluations, in turn on one model, and the same for several parts of an epoch. What the probe
adds is the copy of the run's state, a mask update and putting everything back.

State: copying and restoring the whole state of ResNet50 (weights, masks, momentum), in seconds.
"""

from pathlib import Path

import benchmarking
import numpy as np
import tensorflow as tf
from absl import app, flags

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.config import Config
from tf_earlyticket.deploy import timing
from tf_earlyticket.job.build import build_wrapped_model, dataset_spec

_BATCH = 128
_STEPS_PER_EPOCH = 100
_FRACTIONS = (0.2, 0.5, 1.0)


def probe(network: str, fraction: float, rounds: int, batch_size: int = _BATCH) -> dict:
    """Returns the time of a probe against its training and evaluation alone."""
    config = Config()
    config.model.name, config.data.name = network, "cifar10"
    config.train.dtype_policy = "mixed_bfloat16"
    spec = dataset_spec(config)
    random = np.random.RandomState(0)
    images = random.normal(size=(batch_size, *spec.image_shape)).astype(np.float32)
    labels = random.randint(0, spec.num_classes, batch_size).astype(np.int32)
    batches = tf.data.Dataset.from_tensors((images, labels)).repeat(_STEPS_PER_EPOCH)
    model = build_wrapped_model(config, _STEPS_PER_EPOCH, tf.distribute.get_strategy())
    callback = et.PPRProbe(lambda: batches, lambda: batches, fraction=fraction)
    callback.set_model(model)
    callback.on_train_begin()
    callback.steps_per_epoch = _STEPS_PER_EPOCH
    adapter = callback.adapter
    steps = max(20, round(fraction * _STEPS_PER_EPOCH))

    def plain() -> None:
        adapter.train(batches, steps)
        for _ in range(3):
            adapter.evaluate(batches, steps)

    times = timing.alternate(
        {
            "probe": lambda: timing.seconds(lambda: callback.probe(1)),
            "plain": lambda: timing.seconds(plain),
        },
        rounds,
    )
    return {
        "network": network,
        "fraction": fraction,
        "steps": steps,
        "batch_size": batch_size,
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        **timing.ratio(times["probe"], times["plain"]),
    }


def state(network: str, rounds: int) -> dict:
    """Returns the seconds of a copy of the state and of putting it back."""
    config = Config()
    config.model.name = network
    if network in ("resnet18", "resnet50"):
        config.data.name, config.data.image_size = "imagenet2012", 64
    model = build_wrapped_model(config, 1000, tf.distribute.get_strategy())
    adapter = pruned(model)
    adapter.prepare()
    weights = adapter.all_weights()

    def copy_and_restore() -> float:
        def work() -> None:
            with adapter.sandbox():
                # Else restoring would write what is there already.
                adapter.set_all_weights(weights)

        return timing.seconds(work) - timing.seconds(lambda: adapter.set_all_weights(weights))

    values = timing.alternate({"state": copy_and_restore}, rounds)["state"]
    return {
        "network": network,
        "parameters": int(sum(weight.size for weight in weights.values())),
        "seconds": benchmarking.median(values),
        "range": [min(values), max(values)],
    }


def main(argv: list[str]) -> None:
    """Measures, prints the ratios, writes the JSON."""
    del argv
    quick, rounds = flags.FLAGS.quick, flags.FLAGS.rounds
    fractions = _FRACTIONS[:1] if quick else _FRACTIONS
    network, batch_size = ("resnet8", 4) if quick else ("resnet20", _BATCH)
    results = {
        # Fewer rounds of what takes longer.
        "probe": [
            probe(network, part, max(2, round(rounds * fractions[0] / part)), batch_size)
            for part in fractions
        ],
        "state": state("resnet8" if quick else "resnet50", rounds),
    }
    benchmarking.show(
        "A probe / the same training and evaluation",
        ["network", "part of an epoch", "steps", "probe, s", "ratio"],
        [
            (
                row["network"],
                row["fraction"],
                row["steps"],
                f"{row['seconds']['probe']:.2f}",
                benchmarking.with_spread(row),
            )
            for row in results["probe"]
        ],
    )
    found = results["state"]
    print(f"State of {found['network']}: {found['seconds']:.3f} s to copy and restore")
    benchmarking.write(Path(flags.FLAGS.output), results)


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 25, "Counted rounds of each measurement.", lower_bound=1)
    flags.DEFINE_bool("quick", False, "Tiny sizes: shows that it runs; the numbers mean nothing.")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "probe.json"), "The result file.")
    app.run(main)
