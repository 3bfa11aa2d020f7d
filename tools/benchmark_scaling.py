"""Measures how a run's extra costs grow with parameters and replicas, and projects them to 10**9.

    python tools/benchmark_scaling.py

For ResNet20 (0.27 M parameters) to ResNet50 (25.6 M), on one device and on two logical CPUs, in a
process each: a whole mask update (ranking all weights, masks, weights and optimizer slots), a
probe's snapshot and restoration, a checkpoint, and a training step for comparison. The projection
is in proportion to the largest network, since each of these costs grows linearly.
"""

import json
import sys
import tempfile
import tracemalloc
from pathlib import Path

import benchmarking
import numpy as np
from absl import app, flags

from tf_earlyticket.config import Config
from tf_earlyticket.deploy import timing

_NETWORKS = (("resnet20", "cifar10"), ("resnet56", "cifar10")) + (
    ("resnet18", "imagenet2012"),
    ("resnet50", "imagenet2012"),
)
_IMAGE_SIZE = 64
_BATCH = 32
_PROJECTED_PARAMETERS = 10**9
BYTES = ("checkpoint_bytes", "state_bytes", "ranking_bytes")
EVENTS = ("mask_update", "snapshot", "checkpoint", "step")
# Epochs of the paper's schedules and of the digits job.
_EPOCHS = (60, 90, 200)


def measure(network: str, data: str, replicas: int, rounds: int, batch_size: int = _BATCH) -> dict:
    """Returns the median seconds of each event, its bytes, and the network's size."""
    benchmarking.logical_devices(replicas)
    import tensorflow as tf

    from tf_earlyticket.backends import pruned
    from tf_earlyticket.backends.strategies import make_strategy
    from tf_earlyticket.data import describe
    from tf_earlyticket.job.build import build_wrapped_model
    from tf_earlyticket.job.checkpoint import RunCheckpoint
    from tf_earlyticket.job.log import MetricsLog

    config = Config()
    config.model.name, config.data.name = network, data
    if data == "imagenet2012":
        config.data.image_size = _IMAGE_SIZE
    spec = describe(data, image_size=config.data.image_size)
    strategy = make_strategy("mirrored" if replicas > 1 else "one_device")
    model = build_wrapped_model(config, 1000, strategy)
    adapter = pruned(model)
    adapter.prepare()
    random = np.random.RandomState(0)
    images = random.normal(size=(batch_size, *spec.image_shape)).astype(np.float32)
    batch = (images, random.randint(0, spec.num_classes, batch_size).astype(np.int32))
    stream = tf.data.Dataset.from_tensors(batch).repeat()
    iterator = iter(strategy.experimental_distribute_dataset(stream))
    train = model.make_train_function()

    def update() -> None:
        adapter.set_masks(adapter.ranked_masks(0.8))

    def snapshot() -> None:
        with adapter.sandbox():
            pass

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = RunCheckpoint(Path(folder), MetricsLog("benchmark"), keep=1)
        checkpoint.set_model(model)
        work = {
            "mask_update": update,
            "snapshot": snapshot,
            "checkpoint": lambda: checkpoint.save(1),
            "step": lambda: train(iterator)["loss"].numpy(),
        }
        times = timing.alternate(
            {name: lambda event=event: timing.seconds(event) for name, event in work.items()},
            rounds,
        )
        checkpoint_bytes = sum(path.stat().st_size for path in Path(folder).glob("ckpt-*"))
    weights, masks = adapter.weights(), adapter.masks()
    tracemalloc.start()
    adapter.criterion.masks(weights, 0.8, masks)
    ranking_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    plain = adapter.all_weights()
    return {
        "network": network,
        "parameters": int(sum(weight.size for weight in plain.values())),
        "prunable": int(sum(weight.size for weight in weights.values())),
        "replicas": replicas,
        "batch_size": batch_size,
        "image_shape": list(spec.image_shape),
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        "range": {name: [min(values), max(values)] for name, values in times.items()},
        "checkpoint_bytes": checkpoint_bytes,
        # A probe holds a second copy of it.
        "state_bytes": int(_state_bytes(model)),
        "ranking_bytes": ranking_bytes,
    }


def _state_bytes(model) -> int:
    from tf_earlyticket.backends.tf_keras.optimizers import variables

    seen = {id(v): v for v in [*model.variables, *variables(model.optimizer)]}
    return sum(np.prod(v.shape, dtype=int) * v.dtype.size for v in seen.values())


def project(rows: list[dict], parameters: int = _PROJECTED_PARAMETERS) -> dict:
    """Returns seconds and bytes at so many parameters, in proportion to the largest network's.

    Only there do the parameters outweigh what each variable costs however small it is.
    """
    largest = max((row for row in rows if row["replicas"] == 1), key=lambda row: row["parameters"])
    times = parameters / largest["parameters"]
    return {
        "parameters": parameters,
        "from": largest["network"],
        "seconds": {name: times * largest["seconds"][name] for name in EVENTS[:3]},
        **{name: times * largest[name] for name in BYTES},
    }


def events(epochs: int) -> dict:
    """Returns how often each event happens in a run of so many epochs, with default settings."""
    from tf_earlyticket.pruning.plan import resolve_plan

    plan = resolve_plan(epochs)
    probes = len(plan.probe_epochs)
    return {
        "epochs": epochs,
        "probes_at_most": probes,
        "probe_epochs_at_most": probes * plan.probe_fraction,
        "mask_updates": 20,
        "checkpoints": epochs,
    }


def main(argv: list[str]) -> None:
    """Measures every network in processes of their own, prints a table, writes the JSON."""
    if flags.FLAGS.one:
        network, data, replicas, batch_size = flags.FLAGS.one.split(",")
        found = measure(network, data, int(replicas), flags.FLAGS.rounds, int(batch_size))
        print(json.dumps(found))
        return
    networks = [("resnet8", "cifar10")] if flags.FLAGS.quick else _NETWORKS
    rows = [
        benchmarking.in_own_process(
            argv[0],
            f"--rounds={flags.FLAGS.rounds}",
            f"--one={network},{data},{replicas},{4 if flags.FLAGS.quick else _BATCH}",
        )
        for network, data in networks
        for replicas in (1, 2)
    ]
    results = {
        "rounds": flags.FLAGS.rounds,
        "rows": rows,
        "projection": project(rows),
        "events": [events(epochs) for epochs in _EPOCHS],
    }
    benchmarking.show(
        "Milliseconds",
        ["network", "parameters", "replicas", *EVENTS],
        [
            (
                row["network"],
                f"{row['parameters'] / 1e6:.2f} M",
                row["replicas"],
                *(f"{1e3 * row['seconds'][name]:.1f}" for name in EVENTS),
            )
            for row in rows
        ],
    )
    benchmarking.write(Path(flags.FLAGS.output), results)


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 9, "Counted rounds of each measurement.", lower_bound=1)
    flags.DEFINE_bool("quick", False, "One small network: shows that it runs.")
    flags.DEFINE_string("one", "", "NETWORK,DATA,REPLICAS,BATCH: measure only this, print JSON.")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "scaling.json"), "The result file.")
    sys.argv[0] = str(Path(sys.argv[0]).resolve())
    app.run(main)
