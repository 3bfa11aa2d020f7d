"""Trains 50 steps with probes under a strategy; writes weights and masks. A process of its own.

python same_steps.py one_device|mirrored|multi_worker|xla|several_steps FOLDER [keras]

xla: one device, the step compiled by XLA; several_steps: five steps per execution. Names joined by
commas: one after the other. keras: of Keras 3, which has two devices of JAX if XLA_FLAGS says so.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

EPOCHS, STEPS, BATCH = 5, 10, 32


def main(names: str, folder: Path, framework: str = "tf_keras") -> None:
    from tf_earlyticket.backends import backend_named
    from tf_earlyticket.backends.strategies import STRATEGIES

    if "mirrored" in names:
        cpu = tf.config.list_physical_devices("CPU")[0]
        device = tf.config.LogicalDeviceConfiguration()
        tf.config.set_logical_device_configuration(cpu, [device, device])
    backend = backend_named(framework)
    for name in names.split(","):
        with backend.devices(name if name in STRATEGIES else "one_device") as strategy:
            train(name, folder, backend, strategy)


def copies(variable) -> list[np.ndarray]:
    """Returns what each device has of a variable."""
    value = variable if isinstance(variable, tf.Variable) else variable.value
    shards = getattr(value, "addressable_shards", None)
    if shards is not None:
        return [np.asarray(shard.data) for shard in shards]
    return [part.numpy() for part in getattr(value, "values", [value])]


def train(name: str, folder: Path, backend, strategy) -> None:
    import tf_earlyticket as et
    from tf_earlyticket.backends import pruned
    from tf_earlyticket.config import Config
    from tf_earlyticket.data.catalog import load
    from tf_earlyticket.job.build import dataset_spec

    keras = backend.keras
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layers = keras.layers
        # No batch norm: with it rounding errors grow too fast to compare after 50 steps.
        plain = keras.Sequential(
            [
                keras.Input((16, 16, 1)),
                layers.Conv2D(8, 3, activation="relu", name="first"),
                layers.Conv2D(16, 3, strides=2, activation="relu", name="second"),
                layers.Conv2D(16, 3, activation="relu", name="third"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(10, name="last"),
            ]
        )
        model = et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.75, frequency=5))
        model.compile(
            keras.optimizers.SGD(0.02, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=name == "xla" or backend.always_compiled,
            steps_per_execution=5 if name == "several_steps" else 1,
        )

    class Equal(keras.callbacks.Callback):
        """Checks after every step that the replicas of this process have the same values."""

        def on_train_batch_end(self, batch, logs=None):
            assert pruned(model).violations() == 0
            for variable in [*model.variables, *pruned(model)._mask_variables().values()]:
                first, *others = copies(variable)
                assert len(others) == strategy.num_replicas_in_sync - 1 or name == "multi_worker"
                for other in others:
                    np.testing.assert_array_equal(first, other, variable.name)

    class Probed(et.FixedEpoch):
        """Decides by the epoch, but has probes made."""

        def wants_probe(self, epoch, signals):
            return True

    data = load(dataset_spec(Config()))
    validation = data.validation(BATCH)
    early_ticket = et.EarlyTicket(
        lambda: data.probe(BATCH, seed=0),
        lambda: validation,
        detector=Probed(3),
        probe_every=1,
        ramp_epochs=1,
        hold_epochs=1,
        verbose=0,
    )
    model.fit(
        data.train(BATCH, seed=0),
        validation_data=validation,
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        callbacks=[early_ticket, Equal()],
        verbose=0,
    )
    adapter = pruned(model)
    assert adapter.step() == EPOCHS * STEPS and adapter.violations() == 0
    resolver = getattr(strategy, "cluster_resolver", None)
    task = resolver.task_id if resolver is not None and resolver.task_id else 0
    masks = {f"mask:{key}": mask for key, mask in adapter.masks().items()}
    probes = [
        [seen.ppr_accuracy, seen.pruned_accuracy, seen.dense_accuracy]
        for seen in (result.observation for result in early_ticket.probe.results)
    ]
    np.savez(folder / f"{name}{task}.npz", **adapter.all_weights(), **masks, probes=probes)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
