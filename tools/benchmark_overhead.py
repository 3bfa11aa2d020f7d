"""Measures training under pruning wrappers against dense training, beside stock TFMOT.

    python tools/benchmark_overhead.py
    python tools/benchmark_overhead.py --only=step_graph16,memory

In each setting three variants of one network take turns: dense; wrapped by this toolkit with
`et.MaskUpdate`; wrapped by stock TFMOT with `UpdatePruningStep`. Each setting is a process of its
own, since XLA and logical devices are chosen once.

step_*: time of a training step between mask updates, callbacks included. The variants take turns
step by step, so that whatever else the machine does meets all of them. first_*: time from `fit` to
the end of the first step of a new model, wrapping not included. memory: greatest resident memory of
a process that trains ResNet50. import: time to import everything, against TensorFlow, tf_keras and
TFMOT.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import benchmarking
import numpy as np
from absl import app, flags

from tf_earlyticket.config import Config
from tf_earlyticket.core import comparison

VARIANTS = ("dense", "tf_earlyticket", "tfmot")
# network, image side, batch, replicas, XLA, steps of each variant for each of --rounds
STEPS = {
    "step_graph16": ("resnet20", 32, 16, 1, False, 40),
    "step_graph128": ("resnet20", 32, 128, 1, False, 15),
    "step_xla16": ("resnet20", 32, 16, 1, True, 30),
    "step_xla128": ("resnet20", 32, 128, 1, True, 6),
    "step_mirrored32": ("resnet20", 32, 32, 2, False, 25),
    "step_mirrored128": ("resnet20", 32, 128, 2, False, 12),
    "step_resnet50": ("resnet50", 64, 8, 1, False, 12),
}
FIRST_STEPS = {
    "first_graph": ("resnet20", 32, 16, 1, False),
    "first_mirrored": ("resnet20", 32, 32, 2, False),
    "first_xla": ("resnet20", 32, 16, 1, True),
}
_QUICK = ("step_graph16", "first_graph", "memory", "import")
_STACK = "import tensorflow, tf_keras, tensorflow_model_optimization"
_IMPORTS = {
    # Everything behind the public names, which are otherwise imported when first used.
    "tf_earlyticket": (
        f"{_STACK}; import tf_earlyticket as et; [getattr(et, name) for name in et.__all__]"
    ),
    "name_only": "import tf_earlyticket",
    "stack": _STACK,
}


class StepTimes:
    """Makes a Keras callback that notes when each step of a `fit` ended."""

    def __init__(self, keras):
        self.ends: list[float] = []
        ends = self.ends

        class Note(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                ends.append(time.perf_counter())

        self.callback = Note()


class Trainer:
    """One variant of a network, compiled, with what it needs to train by `fit`."""

    def __init__(self, variant: str, network: str, side: int, batch: int, strategy, jit: bool):
        import tensorflow as tf

        import tf_earlyticket as et
        from tf_earlyticket.data.catalog import describe
        from tf_earlyticket.keras_compat import keras, tfmot
        from tf_earlyticket.training.setup import build_plain_model

        self._keras = keras
        config = Config()
        config.model.name = network
        config.data.name = "imagenet2012" if side == 64 else "cifar10"
        config.data.image_size = side
        spec = describe(config.data.name, image_size=side)
        # A begin, so that schedules are evaluated at every step; no update within the rounds.
        far = 10**8
        self._callbacks = []
        with strategy.scope():
            model = build_plain_model(config)
            if variant == "tf_earlyticket":
                schedule = et.EarlyTicketPolynomialDecay(
                    0.8, begin_step=10, ramp_steps=far, frequency=far
                )
                model = et.wrap_for_pruning(model, schedule)
                self._callbacks = [et.MaskUpdate()]
            elif variant == "tfmot":
                schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, 0.8, 10, far, frequency=far)
                model = benchmarking.wrap_by_tfmot(model, schedule)
                self._callbacks = [tfmot.sparsity.keras.UpdatePruningStep()]
            model.compile(
                keras.optimizers.SGD(0.01, momentum=0.9),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                metrics=["accuracy"],
                jit_compile=jit,
            )
        self._model = model
        random = np.random.RandomState(0)
        images = random.normal(size=(batch, *spec.image_shape)).astype(np.float32)
        labels = random.randint(0, spec.num_classes, batch).astype(np.int32)
        self._data = tf.data.Dataset.from_tensors((images, labels)).repeat()
        self._strategy = strategy
        self._step = 0

    def begin(self) -> None:
        """Prepares to be called step by step, as `fit` does it."""
        self._list = self._keras.callbacks.CallbackList(
            self._callbacks, add_history=True, model=self._model, verbose=0, epochs=1
        )
        self._train = self._model.make_train_function()
        data = self._strategy.experimental_distribute_dataset(self._data)
        self._iterator = iter(data)
        self._list.on_train_begin()
        self._model.reset_metrics()
        self._list.on_epoch_begin(0)

    def step(self) -> float:
        """Makes one step, callbacks included; returns the seconds until its loss is known."""
        started = time.perf_counter()
        self._list.on_train_batch_begin(self._step)
        logs = self._train(self._iterator)
        self._list.on_train_batch_end(self._step, logs)
        float(logs["loss"])
        self._step += 1
        return time.perf_counter() - started

    def fit(self, steps: int) -> tuple[float, list[float]]:
        """Trains so many steps; returns when that began and when each step ended."""
        times = StepTimes(self._keras)
        began = time.perf_counter()
        self._model.fit(
            self._data,
            steps_per_epoch=steps,
            epochs=1,
            verbose=0,
            callbacks=[*self._callbacks, times.callback],
        )
        return began, times.ends


def _strategy(replicas: int):
    benchmarking.logical_devices(replicas)
    from tf_earlyticket.training.distribute import make_strategy

    return make_strategy("mirrored" if replicas > 1 else "one_device")


def step(setting: str, rounds: int, quick: bool) -> dict:
    """Returns the step times of the variants in a setting, against dense."""
    network, side, batch, replicas, jit, steps = STEPS[setting]
    if quick:
        network, steps = "resnet8", 3
    strategy = _strategy(replicas)
    with strategy.scope():
        trainers = {name: Trainer(name, network, side, batch, strategy, jit) for name in VARIANTS}
        for trainer in trainers.values():
            trainer.begin()
        times = comparison.alternate(
            {name: trainer.step for name, trainer in trainers.items()}, steps * rounds, warmup=5
        )
    return _compared(times)


def first_step(setting: str, rounds: int, quick: bool) -> dict:
    """Returns the times to the first step of the variants in a setting, against dense."""
    network, side, batch, replicas, jit = FIRST_STEPS[setting]
    if quick:
        network = "resnet8"
    strategy = _strategy(replicas)

    def measure(variant: str) -> float:
        trainer = Trainer(variant, network, side, batch, strategy, jit)
        began, ends = trainer.fit(1)
        return ends[0] - began

    times = comparison.alternate(
        {name: lambda name=name: measure(name) for name in VARIANTS}, rounds
    )
    return _compared(times)


def _compared(times: dict) -> dict:
    return {
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        "against_dense": {
            name: comparison.ratio(times[name], times["dense"]) for name in VARIANTS[1:]
        },
    }


def resident(variant: str, network: str) -> dict:
    """Returns the greatest resident memory of this process after training a few steps."""
    import tensorflow as tf

    side = 64 if network == "resnet50" else 32
    trainer = Trainer(variant, network, side, 8, tf.distribute.get_strategy(), False)
    trainer.fit(5)
    model = trainer._model
    kernels = [w for w in model.trainable_weights if len(w.shape) > 1]
    return {
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "kernel_bytes": int(sum(np.prod(w.shape) * w.dtype.size for w in kernels)),
    }


def memory(script: str, network: str, rounds: int) -> dict:
    """Returns the memory of processes that train each variant, in turn."""
    kernel_bytes = []

    def measure(variant: str) -> float:
        found = benchmarking.in_own_process(script, f"--memory_of={variant},{network}")
        kernel_bytes.append(found["kernel_bytes"])
        return found["bytes"]

    values = comparison.alternate(
        {name: lambda name=name: measure(name) for name in VARIANTS}, rounds, warmup=0
    )
    allowed = np.asarray(values["dense"]) + kernel_bytes[0]
    return {
        "network": network,
        "megabytes": {name: benchmarking.median(v) / 1e6 for name, v in values.items()},
        "kernel_megabytes": kernel_bytes[0] / 1e6,
        # Masks have to be held: one copy of the prunable kernels is no waste.
        "against_dense_and_masks": {
            name: comparison.ratio(values[name], allowed) for name in VARIANTS[1:]
        },
    }


def imports(rounds: int) -> dict:
    """Returns the time to import everything, against TensorFlow, tf_keras and TFMOT alone."""

    def measure(code: str) -> float:
        command = [sys.executable, "-c", code]
        return comparison.seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, cwd=benchmarking.ROOT)
        )

    times = comparison.alternate(
        {name: lambda code=code: measure(code) for name, code in _IMPORTS.items()}, rounds
    )
    return {
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        **comparison.ratio(times["tf_earlyticket"], times["stack"]),
    }


def main(argv: list[str]) -> None:
    """Measures every setting in a process of its own, prints the ratios, writes the JSON."""
    values = flags.FLAGS
    if values.memory_of:
        print(json.dumps(resident(*values.memory_of.split(","))))
        return
    if values.one:
        measure = step if values.one in STEPS else first_step
        print(json.dumps(measure(values.one, values.rounds, values.quick)))
        return
    settings = [*STEPS, *FIRST_STEPS, "memory", "import"]
    if values.only:
        settings = values.only
    elif values.quick:
        settings = list(_QUICK)
    kept = Path(values.output)
    results = json.loads(kept.read_text()) if values.only and kept.exists() else {}
    for setting in settings:
        if setting == "memory":
            network = "resnet8" if values.quick else "resnet50"
            results[setting] = memory(argv[0], network, max(2, values.rounds // 3))
        elif setting == "import":
            results[setting] = imports(values.rounds)
        else:
            # A first step under XLA takes half a minute.
            rounds = max(2, values.rounds // 2) if setting in FIRST_STEPS else values.rounds
            results[setting] = benchmarking.in_own_process(
                argv[0], f"--one={setting}", f"--rounds={rounds}", f"--quick={values.quick}"
            )
        print(setting, json.dumps(results[setting]))
    rows = [
        (name, *(benchmarking.with_spread(found["against_dense"][v]) for v in VARIANTS[1:]))
        for name, found in results.items()
        if "against_dense" in found
    ]
    benchmarking.show("Against dense training", ["setting", *VARIANTS[1:]], rows)
    benchmarking.write(kept, results)


if __name__ == "__main__":
    flags.DEFINE_integer("rounds", 11, "Counted rounds of each measurement.", lower_bound=1)
    flags.DEFINE_bool(
        "quick", False, "ResNet8 in a few settings: shows that it runs; the numbers mean nothing."
    )
    flags.DEFINE_list("only", None, "Measure only these settings, keep the other results.")
    flags.DEFINE_string("one", "", "Measure this setting in this process, print JSON.")
    flags.DEFINE_string("memory_of", "", "VARIANT,NETWORK: print the memory of this process.")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "overhead.json"), "The result file.")
    sys.argv[0] = str(Path(sys.argv[0]).resolve())
    app.run(main)
