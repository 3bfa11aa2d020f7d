"""Measures training under pruning wrappers against dense training, beside stock TFMOT.

    python tools/benchmark_overhead.py
    python tools/benchmark_overhead.py --only=step_graph16,memory
    python tools/benchmark_overhead.py --only=updates_graph16,updates_graph128,updates_memory

In each setting variants of one network take turns: dense; wrapped by this toolkit with
`et.MaskUpdate`; wrapped by stock TFMOT with `UpdatePruningStep`, which does not know Keras 3. Each
setting is a process of its own, since XLA, logical devices and Keras' backend are chosen once.

step_*: time of a training step between mask updates, callbacks included. The variants take turns
step by step, so that whatever else the machine does meets all of them; under Keras 3, whose steps
cannot be called one by one alike on all backends, by `fit` of a few steps. first_*: time from `fit`
to the end of the first step of a new model, wrapping not included. memory: greatest resident memory
of a process that trains ResNet50. import: time to import everything, against TensorFlow, tf_keras
and TFMOT.

updates_*: instead of these two, every mask update of the registry takes turns with dense, in the
midst of its ramp: half of the weights are pruned and may return, which is when steps cost most; so
does `shrink` with distillation, after the start. Also the time of one mask update there.
"""

import gc
import importlib.util
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarking
import numpy as np
from absl import app, flags
from trainers import DISTILLATION, Keras3Trainer, Trainer

from tf_earlyticket.deploy import timing
from tf_earlyticket.pruning.updates import UPDATES
from tf_earlyticket.version import installed_versions

VARIANTS = ("dense", "tf_earlyticket", "tfmot")
UPDATE_VARIANTS = ("dense", *UPDATES, "regrow(threshold='feather')", DISTILLATION)
# network, image side, batch, replicas, XLA, steps of each variant for each of --rounds
STEPS = {
    "step_graph16": ("resnet20", 32, 16, 1, False, 40),
    "step_graph128": ("resnet20", 32, 128, 1, False, 15),
    "step_xla16": ("resnet20", 32, 16, 1, True, 30),
    "step_xla128": ("resnet20", 32, 128, 1, True, 6),
    "step_mirrored32": ("resnet20", 32, 32, 2, False, 25),
    "step_mirrored128": ("resnet20", 32, 128, 2, False, 12),
    "step_resnet50": ("resnet50", 64, 8, 1, False, 12),
    "updates_graph16": ("resnet20", 32, 16, 1, False, 10),
    "updates_graph128": ("resnet20", 32, 128, 1, False, 5),
}
# backend of Keras, batch, steps of each variant for each of --rounds
KERAS3_STEPS = {
    "step_keras3_16": ("tensorflow", 16, 40),
    "step_keras3_128": ("tensorflow", 128, 15),
    "step_jax16": ("jax", 16, 40),
    "step_jax128": ("jax", 128, 15),
    "updates_keras3_16": ("tensorflow", 16, 7),
    "updates_keras3_128": ("tensorflow", 128, 3),
    "updates_jax16": ("jax", 16, 7),
    "updates_jax128": ("jax", 128, 3),
}
_STEPS_OF_FIT = 5
FIRST_STEPS = {
    "first_graph": ("resnet20", 32, 16, 1, False),
    "first_mirrored": ("resnet20", 32, 32, 2, False),
    "first_xla": ("resnet20", 32, 16, 1, True),
}
MEMORY = {
    "memory": VARIANTS,
    "updates_memory": ("dense", "shrink", "regrow", DISTILLATION),
}
_MASK_UPDATES = 5
_QUICK = ("step_graph16", "step_jax16", "first_graph", "memory", "import")
_STACK = "import tensorflow, tf_keras, tensorflow_model_optimization"
_IMPORTS = {
    # Everything behind the public names, which are otherwise imported when first used.
    "tf_earlyticket": (
        f"{_STACK}; import tf_earlyticket as et; [getattr(et, name) for name in et.__all__]"
    ),
    "name_only": "import tf_earlyticket",
    "stack": _STACK,
}


def _strategy(replicas: int):
    benchmarking.logical_devices(replicas)
    from tf_earlyticket.backends.strategies import make_strategy

    return make_strategy("mirrored" if replicas > 1 else "one_device")


def _variants(setting: str) -> tuple[str, ...]:
    return UPDATE_VARIANTS if setting.startswith("updates_") else VARIANTS


def step(setting: str, rounds: int, quick: bool) -> dict:
    """Returns the step times of the variants in a setting, against dense."""
    network, side, batch, replicas, jit, steps = STEPS[setting]
    if quick:
        network, steps = "resnet8", 3
    strategy = _strategy(replicas)
    with strategy.scope():
        trainers = {
            name: Trainer(name, network, side, batch, strategy, jit) for name in _variants(setting)
        }
        for trainer in trainers.values():
            trainer.begin()
        times = timing.alternate(
            {name: trainer.step for name, trainer in trainers.items()}, steps * rounds, warmup=5
        )
        return _compared(times) | _mask_updates(trainers)


def keras3_step(setting: str, rounds: int, quick: bool) -> dict:
    """Returns the step times of Keras 3 on the backend of this process, against dense."""
    _, batch, steps = KERAS3_STEPS[setting]
    network = "resnet8" if quick else "resnet20"
    trainers = {
        name: Keras3Trainer(name, network, 32, batch, _STEPS_OF_FIT)
        for name in _variants(setting)
        if name != "tfmot"
    }
    turns = max(2, steps * rounds // _STEPS_OF_FIT)
    times = timing.alternate({name: trainer.step for name, trainer in trainers.items()}, turns)
    found = _compared(times) | _mask_updates(trainers)
    return {**found, "packages": installed_versions()}


def _mask_updates(trainers: dict) -> dict:
    """Returns the seconds of a mask update of each kind, in the middle of the ramp."""
    kinds = [name for name in UPDATE_VARIANTS[1:-1] if name in trainers]
    if not kinds:
        return {}
    times = timing.alternate({name: trainers[name].update for name in kinds}, _MASK_UPDATES)
    return {"update_seconds": {name: benchmarking.median(each) for name, each in times.items()}}


def first_step(setting: str, rounds: int, quick: bool) -> dict:
    """Returns the times to the first step of the variants in a setting, against dense."""
    network, side, batch, replicas, jit = FIRST_STEPS[setting]
    if quick:
        network = "resnet8"
    strategy = _strategy(replicas)

    def measure(variant: str) -> float:
        trainer = Trainer(variant, network, side, batch, strategy, jit)
        # Else the model before this one is thrown away while the clock runs.
        gc.collect()
        began, ends = trainer.fit(1)
        return ends[0] - began

    times = timing.alternate({name: lambda name=name: measure(name) for name in VARIANTS}, rounds)
    return _compared(times)


def _compared(times: dict) -> dict:
    return {
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        "against_dense": {
            name: timing.ratio(times[name], times["dense"]) for name in times if name != "dense"
        },
    }


def resident(variant: str, network: str) -> dict:
    """Returns the greatest resident memory of this process after training a few steps."""
    import tensorflow as tf

    side = 64 if network == "resnet50" else 32
    trainer = Trainer(variant, network, side, 8, tf.distribute.get_strategy(), False)
    trainer.fit(5)
    kernels = [w for w in trainer.model.trainable_weights if len(w.shape) > 1]
    return {
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "kernel_bytes": int(sum(np.prod(w.shape) * w.dtype.size for w in kernels)),
    }


def memory(script: str, variants: Sequence[str], network: str, rounds: int) -> dict:
    """Returns the memory of processes that train each variant, in turn."""
    kernel_bytes = []

    def measure(variant: str) -> float:
        found = benchmarking.in_own_process(script, f"--memory_of={variant},{network}")
        kernel_bytes.append(found["kernel_bytes"])
        return found["bytes"]

    values = timing.alternate(
        {name: lambda name=name: measure(name) for name in variants}, rounds, warmup=0
    )
    allowed = np.asarray(values["dense"]) + kernel_bytes[0]
    return {
        "network": network,
        "megabytes": {name: benchmarking.median(v) / 1e6 for name, v in values.items()},
        "kernel_megabytes": kernel_bytes[0] / 1e6,
        # Masks have to be held: one copy of the prunable kernels is no waste.
        "against_dense_and_masks": {
            name: timing.ratio(values[name], allowed) for name in variants[1:]
        },
    }


def imports(rounds: int) -> dict:
    """Returns the time to import everything, against TensorFlow, tf_keras and TFMOT alone."""

    def measure(code: str) -> float:
        command = [sys.executable, "-c", code]
        return timing.seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, cwd=benchmarking.ROOT)
        )

    times = timing.alternate(
        {name: lambda code=code: measure(code) for name, code in _IMPORTS.items()}, rounds
    )
    return {
        "seconds": {name: benchmarking.median(values) for name, values in times.items()},
        **timing.ratio(times["tf_earlyticket"], times["stack"]),
    }


def measured(setting: str, script: str, rounds: int, quick: bool) -> dict:
    """Returns what came out of a setting, measured in processes of its own."""
    if setting in MEMORY:
        network = "resnet8" if quick else "resnet50"
        return memory(script, MEMORY[setting], network, max(2, rounds // 3))
    if setting == "import":
        return imports(rounds)
    return benchmarking.in_own_process(
        script,
        f"--one={setting}",
        f"--rounds={rounds}",
        f"--quick={quick}",
        keras_backend=KERAS3_STEPS[setting][0] if setting in KERAS3_STEPS else None,
    )


def main(argv: list[str]) -> None:
    """Measures every setting in a process of its own, prints the ratios, writes the JSON."""
    values = flags.FLAGS
    if values.memory_of:
        print(json.dumps(resident(*values.memory_of.split(","))))
        return
    if values.one:
        kinds = {step: STEPS, keras3_step: KERAS3_STEPS, first_step: FIRST_STEPS}
        measure = next(kind for kind, settings in kinds.items() if values.one in settings)
        print(json.dumps(measure(values.one, values.rounds, values.quick)))
        return
    settings = [*STEPS, *KERAS3_STEPS, *FIRST_STEPS, *MEMORY, "import"]
    if values.only:
        settings = values.only
    elif values.quick:
        settings = list(_QUICK)
    if importlib.util.find_spec("jax") is None:
        print("Keras 3 on JAX is left out: JAX is not installed, see `pip install -e '.[jax]'`.")
        settings = [name for name in settings if KERAS3_STEPS.get(name, ("",))[0] != "jax"]
    kept = Path(values.output)
    results = json.loads(kept.read_text()) if values.only and kept.exists() else {}
    for setting in settings:
        results[setting] = measured(setting, argv[0], values.rounds, values.quick)
        # The file may be written by several commands, and what is measured is not to be lost.
        results[setting]["command"] = benchmarking.command()
        benchmarking.write(kept, results)
        print(setting, json.dumps(results[setting]), flush=True)
    rows = [
        (name, variant, benchmarking.with_spread(ratio))
        for name, found in results.items()
        # Beside them what the machine is.
        if isinstance(found, dict)
        for variant, ratio in found.get("against_dense", {}).items()
    ]
    benchmarking.show("Against dense training", ["setting", "variant", "ratio"], rows)


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
