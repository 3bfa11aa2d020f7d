"""Trains twice from the same start, with probes and without; prints whether the ends are equal.

python undisturbed.py one_device|mirrored
"""

import sys

import tensorflow as tf
from small import StartAt, data, plain_model

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras


def train(probes: bool, strategy) -> list:
    schedule = et.EarlyTicketPolynomialDecay(
        0.75, begin_step=None if probes else 12, ramp_steps=8, frequency=2
    )
    with strategy.scope():
        # Dropout and a shuffled data set: both draw numbers in training and in probes.
        plain = plain_model()
        outputs = keras.layers.Dropout(0.3)(plain.layers[-2].output)
        plain = keras.Model(plain.inputs, plain.layers[-1](outputs))
        model = et.wrap_for_pruning(plain, schedule)
        rate = keras.optimizers.schedules.CosineDecay(0.05, 24)
        model.compile(
            keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
    keras.utils.set_random_seed(5)
    source = data(4).unbatch().apply(tf.data.experimental.assert_cardinality(32))
    source = source.shuffle(32, seed=3).batch(8)
    callback = et.MaskUpdate()
    if probes:
        callback = et.EarlyTicket(
            source, data(2, seed=1), detector=StartAt(3), probe_every=1, verbose=0
        )
    history = model.fit(
        source, validation_data=data(2, seed=1), epochs=6, callbacks=[callback], verbose=0
    )
    if probes:
        assert len(callback.probe.results) == 3
        assert any(r.observation.ppr_accuracy for r in callback.probe.results)
    variables = [
        component.numpy()
        for variable in [*model.variables, *model.optimizer.variables]
        for component in getattr(variable, "values", [variable])
        if "pruning_step" not in variable.name
    ]
    return [*variables, *(history.history[name] for name in ("loss", "val_loss", "accuracy"))]


def main(name: str) -> None:
    cpus = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    tf.config.experimental.enable_op_determinism()
    strategy = tf.distribute.get_strategy()
    if name == "mirrored":
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with_probes, without = train(True, strategy), train(False, strategy)
    assert len(with_probes) == len(without)
    different = [
        number
        for number, (one, other) in enumerate(zip(with_probes, without, strict=True))
        if tf.constant(one).numpy().tobytes() != tf.constant(other).numpy().tobytes()
    ]
    print("equal" if not different else f"different: {different} of {len(without)}")


if __name__ == "__main__":
    main(sys.argv[1])
