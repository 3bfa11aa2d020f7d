"""Measures the seconds from the command to the first training step, by what they go into.

    python tools/benchmark_startup.py

Of the default job, in fresh processes.
"""

import json
import time
from pathlib import Path

import benchmarking
from absl import app, flags

STAGES = {
    "command": "Python and what checks the flags",
    "tensorflow": "importing TensorFlow",
    "frameworks": "importing tf_keras, TFMOT and the rest of this package",
    "data": "loading the data",
    "model": "building the network, wrapping and compiling it",
    "first_step": "tracing and making the first step",
}


def stages() -> dict[str, float]:
    """Returns the seconds of each stage in this process, which has imported nothing yet."""
    found, began = {}, time.perf_counter()

    def done(stage: str) -> None:
        nonlocal began
        now = time.perf_counter()
        found[stage], began = now - began, now

    import tf_earlyticket.commands.train  # noqa: F401
    from tf_earlyticket.config import Config
    from tf_earlyticket.job.preflight import check_run

    config = Config()
    check_run(config, None, "one_device")
    done("command")
    import tensorflow as tf  # noqa: F401

    done("tensorflow")
    import tf_earlyticket as et
    from tf_earlyticket import data
    from tf_earlyticket.backends.strategies import make_strategy
    from tf_earlyticket.job.build import build_wrapped_model, dataset_spec

    strategy = make_strategy("one_device")
    # Imported when it is first used.
    et.wrap_for_pruning, et.EarlyTicketPolynomialDecay  # noqa: B018
    done("frameworks")
    loaded, size = data.load(dataset_spec(config)), config.train.batch_size
    stream = loaded.train(size, seed=0)
    done("data")
    model = build_wrapped_model(config, loaded.steps_per_epoch(size), strategy)
    done("model")
    model.fit(stream, steps_per_epoch=1, verbose=0, callbacks=[et.MaskUpdate()])
    done("first_step")
    return found


def main(argv: list[str]) -> None:
    """Measures, prints the medians, writes the JSON."""
    del argv
    values = flags.FLAGS
    if values.one:
        print(json.dumps(stages()))
        return
    rounds = [benchmarking.in_own_process(__file__, "--one") for _ in range(values.rounds)]
    seconds = {stage: [found[stage] for found in rounds] for stage in STAGES}
    results = {
        "network": "resnet20",
        "rounds": values.rounds,
        "stages": [
            {
                "stage": STAGES[stage],
                "seconds": benchmarking.median(times),
                "least": min(times),
                "most": max(times),
            }
            for stage, times in seconds.items()
        ],
        "total": benchmarking.median([sum(found.values()) for found in rounds]),
    }
    benchmarking.show(
        "Seconds to the first step",
        ["stage", "median", "from", "to"],
        [
            (row["stage"], *(f"{row[each]:.2f}" for each in ("seconds", "least", "most")))
            for row in results["stages"]
        ],
    )
    benchmarking.write(Path(values.output), results)


if __name__ == "__main__":
    flags.DEFINE_bool("one", False, "Measure in this process and print JSON.")
    flags.DEFINE_bool("quick", False, "As it is: one round is quick enough.")
    flags.DEFINE_integer("rounds", 7, "Fresh processes.", lower_bound=1)
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "startup.json"), "The result file.")
    app.run(main)
