"""Measures what automatic tuning of data streams costs: their ends wait for the tuner's sleep.

    python tools/benchmark_streams.py --data_dir=DIR

An epoch of `fit` with validation, and a probe, on digits and on a part of CIFAR-10 (bfloat16), with
the streams as they are and with automatic tuning on, in turn on one model. What both do in between
is the same.
"""

from pathlib import Path

import benchmarking
import tensorflow as tf
from absl import app, flags

import tf_earlyticket as et
from tf_earlyticket import data
from tf_earlyticket.config import Config
from tf_earlyticket.deploy import timing
from tf_earlyticket.job.build import build_wrapped_model, dataset_spec

# Training and held-out examples, batch size: an epoch of digits is whole.
_SETS = {"digits": (None, 300, 64), "cifar10": (6_400, 5_000, 128)}


def _tuned(stream: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.autotune.enabled = True
    return stream.with_options(options)


def streams(name: str, data_dir: str | None, rounds: int, quick: bool) -> dict:
    """Returns the seconds of an epoch and of a probe, tuned and not, on one data set."""
    config = Config()
    config.data.name, config.model.name = name, "resnet8" if quick else "resnet20"
    training, config.data.validation_examples, batch_size = _SETS[name]
    config.data.train_examples = 256 if quick else training
    config.train.batch_size, config.train.dtype_policy = batch_size, "mixed_bfloat16"
    loaded = data.load(dataset_spec(config), data_dir)
    steps = loaded.steps_per_epoch(batch_size)
    model = build_wrapped_model(config, steps, tf.distribute.get_strategy())
    ways = {"untuned": lambda stream: stream, "tuned": _tuned}

    def fit(way) -> float:
        training = way(loaded.train(batch_size, seed=0, last_epoch=1))
        held_out = way(loaded.validation(batch_size))
        options = {"validation_data": held_out, "verbose": 0}
        return timing.seconds(lambda: model.fit(training, **options))

    def probe(way) -> float:
        training, held_out = loaded.probe(batch_size, seed=0), loaded.validation(batch_size)
        callback = et.PPRProbe(
            lambda: way(training), lambda: way(held_out), epochs=[], sparsity=0.8, fraction=0.5
        )
        callback.set_model(model)
        callback.on_train_begin()
        callback.steps_per_epoch = steps
        return timing.seconds(lambda: callback.probe(1))

    def row(work) -> dict:
        candidates = {name: lambda way=way: work(way) for name, way in ways.items()}
        times = timing.alternate(candidates, rounds)
        medians = {name: benchmarking.median(values) for name, values in times.items()}
        return {"seconds": medians, **timing.ratio(times["untuned"], times["tuned"])}

    return {
        "data": name,
        "network": config.model.name,
        "steps": steps,
        "batch_size": batch_size,
        "epoch": row(fit),
        "probe": row(probe),
    }


def main(argv: list[str]) -> None:
    """Measures, prints the ratios, writes the JSON."""
    del argv
    values = flags.FLAGS
    names = ["digits"] if values.quick else list(_SETS)
    results = {"streams": [streams(n, values.data_dir, values.rounds, values.quick) for n in names]}
    benchmarking.show(
        "Streams without automatic tuning / with it",
        ["data", "steps", "epoch with validation", "probe"],
        [
            (
                row["data"],
                row["steps"],
                benchmarking.with_spread(row["epoch"]),
                benchmarking.with_spread(row["probe"]),
            )
            for row in results["streams"]
        ],
    )
    benchmarking.write(Path(values.output), results)


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 15, "Counted rounds of each measurement.", lower_bound=1)
    flags.DEFINE_string("data_dir", None, "TFDS data directory with CIFAR-10.")
    flags.DEFINE_bool("quick", False, "Tiny sizes: shows that it runs; the numbers mean nothing.")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "streams.json"), "The result file.")
    app.run(main)
