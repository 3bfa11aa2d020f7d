"""Tiny runs, started from here in a process of their own: they switch on op determinism.

python jobs.py FOLDER JOB [JOB ...]
"""

import os
import signal
import sys
from pathlib import Path

# XLA's code is then made in less time than it saves.
QUICK_XLA = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
# And JAX then has two.
TWO_DEVICES = f"{QUICK_XLA} --xla_force_host_platform_device_count=2"


class Bang(Exception):
    """What interrupts a run."""


def tiny_config(**fields):
    """Returns a run of 6 epochs of 4 steps: pruning starts after epoch 4, ramp 1, hold 1."""
    from tf_earlyticket.config import Config

    config = Config()
    config.data.train_examples = 128
    config.data.validation_examples = 100
    config.model.name = "resnet8"
    config.train.epochs = 6
    config.train.batch_size = 32
    config.train.drop_epochs = (3,)
    config.train.deterministic = True
    config.pruning.rewind_epoch = 1
    for name, value in fields.items():
        section, field = name.split("__")
        setattr(getattr(config, section), field, value)
    return config


def _rewind_config():
    return tiny_config(pruning__mode="rewind", train__dense_baseline=False)


def _channels_config(mode="continue", keras="tf_keras", shrinks=False):
    """Half of the multiply-adds stay, in whole channels; in mode `continue` with probes."""
    return tiny_config(
        model__keras=keras,
        train__dense_baseline=False,
        pruning__mode=mode,
        pruning__structure="channels",
        pruning__target="macs:0.5",
        pruning__channel_multiple=4,
        pruning__shrink_after_ramp=shrinks,
        # One as with single weights: a search that is long enough to be interrupted.
        pruning__hold_epochs=2 if shrinks else 1,
    )


def family_config(keras="tf_keras", **fields):
    """Returns a family of two whose tickets start after different epochs, with the baseline."""
    return tiny_config(
        model__keras=keras,
        train__epochs=8,
        pruning__ramp_epochs=1,
        pruning__hold_epochs=2,
        pruning__family=(0.5, 0.9),
        probe__detector="mask_distance(threshold=0.03, window=3)",
        **fields,
    )


def two_logical_devices():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [device, device])


def interrupted(workdir, config, points, terminate=False, **options):
    """Starts a run again and again, each time interrupting it at the next point.

    With `terminate`, by SIGTERM, which the run is to answer by saving within the epoch.
    """
    from tf_earlyticket.errors import Interrupted
    from tf_earlyticket.job import job as run_module
    from tf_earlyticket.job import phases
    from tf_earlyticket.job.family import train_family
    from tf_earlyticket.job.log import Progress, make_progress

    train = train_family if config.pruning.family else run_module.train_and_evaluate

    class Bomb(Progress):
        """Runs before the checkpoint of the epoch."""

        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            self.now = epoch + 1

        def on_train_batch_end(self, batch, logs=None):
            self.go_off((self._phase, self.now, batch))

        def on_epoch_end(self, epoch, logs=None):
            self.go_off((self._phase, epoch + 1))

        def go_off(self, point):
            if points and points[0] == point:
                points.pop(0)
                if terminate:
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                raise Bang

    def bomb_before(name, function):
        def wrapped(*arguments, **options):
            if points and points[0] == name:
                points.pop(0)
                raise Bang
            return function(*arguments, **options)

        return wrapped

    phases.make_progress = Bomb
    originals = {name: getattr(run_module, name) for name in ("export_ticket", "write_html")}
    for name, function in originals.items():
        setattr(run_module, name, bomb_before(name, function))
    try:
        for _ in range(len(points) + 1):
            try:
                train(config, workdir, **options)
            except (Bang, Interrupted) as error:
                assert isinstance(error, Interrupted) == terminate
                continue
        assert not points, f"never came to {points[0]}"
    finally:
        phases.make_progress = make_progress
        for name, function in originals.items():
            setattr(run_module, name, function)


def dense_only(workdir, config):
    """Trains the same network without wrappers, probes or pruning; saves its weights."""
    import numpy as np

    from tf_earlyticket.backends.tf_keras.compat import keras
    from tf_earlyticket.data.catalog import load
    from tf_earlyticket.job import build, recipe

    keras.utils.set_random_seed(config.seed)
    data = load(build.dataset_spec(config))
    model = build.build_plain_model(config)
    steps = data.steps_per_epoch(config.train.batch_size)
    rate = recipe.learning_rate_schedule(config.train, steps)
    model.compile(
        keras.optimizers.SGD(rate, momentum=config.train.momentum),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train = data.train(config.train.batch_size, seed=config.seed)
    model.fit(train, epochs=config.train.epochs, steps_per_epoch=steps, verbose=0)
    workdir.mkdir()
    np.savez(workdir / "dense.npz", *model.get_weights())


def main(folder, jobs):
    from tf_earlyticket.job.build import family_of
    from tf_earlyticket.job.family import train_family
    from tf_earlyticket.job.job import train_and_evaluate

    for job in jobs:
        workdir = folder / job
        if job == "whole":
            train_and_evaluate(tiny_config(), workdir)
        elif job == "rewind":
            train_and_evaluate(_rewind_config(), workdir)
        elif job == "keras_whole":
            train_and_evaluate(tiny_config(model__keras="keras"), workdir)
        elif job == "keras_interrupted":
            points = [("search", 2, 0), ("search", 5, 2), ("dense", 6), "export_ticket"]
            interrupted(workdir, tiny_config(model__keras="keras"), points)
        elif job.startswith("keras_mirrored"):
            two_logical_devices()
            config = tiny_config(model__keras="keras")
            points = [("search", 2, 0), ("search", 5, 2), ("dense", 6)]
            points = points if "interrupted" in job else []
            interrupted(workdir, config, points, strategy="mirrored")
        elif job == "keras_terminated":
            # Keras 3 begins at epochs only: the one in progress is finished first.
            points = [("search", 5, 2)]
            interrupted(workdir, tiny_config(model__keras="keras"), points, terminate=True)
        elif job.startswith("channels"):
            # Such as "channels_rewind_keras_interrupted".
            mode = "rewind" if "rewind" in job else "continue"
            shrinks, keras = "shrunk" in job, "keras" if "_keras" in job else "tf_keras"
            config = _channels_config(mode, keras, shrinks)
            points = [("search", 2, 0), ("search", 5, 2), "export_ticket"]
            if mode == "rewind":
                points = [("search", 3), ("retrain", 2, 1), ("retrain", 6)]
            if shrinks:
                points = [("search", 4), ("shrunk", 5, 2), ("shrunk", 6, 1), ("shrunk", 6)]
            if "interrupted" in job or "terminated" in job:
                interrupted(workdir, config, points, terminate="terminated" in job)
            else:
                train_and_evaluate(config, workdir)
        elif job.startswith("cycle"):
            # And a learning rate that begins anew in the last two epochs.
            fields = {"pruning__schedule": "one_cycle", "pruning__hold_epochs": 2}
            config = tiny_config(**fields, pruning__rewind_epoch=0, train__restart=True)
            config.train.recalibrate_batch_norm = 2
            if "interrupted" in job:
                points = [("search", 3, 1), ("search", 6, 1), ("dense", 3), ("dense", 6)]
                interrupted(workdir, config, points)
            else:
                train_and_evaluate(config, workdir)
        elif job.startswith("distilled"):
            # Such as "distilled_keras_interrupted".
            keras = "keras" if "_keras" in job else "tf_keras"
            config = tiny_config(model__keras=keras, train__distillation=0.5)
            config.train.dense_baseline = False
            if "interrupted" in job:
                points = [("search", 4), ("search", 5, 2), ("search", 6)]
                interrupted(workdir, config, points)
            else:
                train_and_evaluate(config, workdir)
        elif job.startswith("family"):
            # Such as "family_keras_interrupted"; "family_0.5_keras": the ticket by itself.
            config = family_config("keras" if "_keras" in job else "tf_keras")
            goal = job.split("_")[1]
            if "=" in goal:
                config.pruning.goal = goal
            if "interrupted" in job:
                points = [("dense", 5, 1), ("dense", 8), ("search", 8, 2), "export_ticket"]
                interrupted(workdir, config, points)
            elif goal in family_of(config):
                train_and_evaluate(family_of(config)[goal], workdir)
            else:
                train_family(config, workdir)
        elif job == "interrupted":
            points = [("search", 2, 0), ("search", 5, 2), "export_ticket"]
            interrupted(workdir, tiny_config(), points)
        elif job == "terminated":
            # At the beginning, within epochs before and after the start, at the end of an epoch.
            points = [("search", 1, 0), ("search", 2, 1), ("search", 3), ("search", 5, 2)]
            points += [("search", 5, 3), ("dense", 6, 0)]
            interrupted(workdir, tiny_config(), points, terminate=True)
        elif job == "more_interrupted":
            points = [("search", 1), ("search", 4), ("search", 6), ("dense", 5), "write_html"]
            interrupted(workdir, tiny_config(), points)
        elif job == "rewind_interrupted":
            points = [("search", 3), ("search", 4), ("retrain", 2, 1), ("retrain", 6)]
            interrupted(workdir, _rewind_config(), points)
        elif job == "scaled":
            two_logical_devices()
            fields = {"batch_size": 16, "learning_rate": 0.05, "scale_with_replicas": True}
            config = tiny_config(**{f"train__{name}": value for name, value in fields.items()})
            config.train.dense_baseline = False
            train_and_evaluate(config, workdir, strategy="mirrored")
        elif job == "dense":
            dense_only(workdir, tiny_config())
        print(job, "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
