"""What a `fit` that an exception ended leaves behind: nothing that the next one would see."""

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned


def _interrupting(keras, epoch):
    def interrupt(now, logs):
        if now == epoch:
            raise KeyboardInterrupt

    return keras.callbacks.LambdaCallback(on_epoch_end=interrupt)


def test_a_rate_that_was_set_and_an_early_stopping_that_waited(keras, network, compiled, data):
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 1000, 0.5)
    schedule = et.EarlyTicketPolynomialDecay(0.5, begin_step=2, ramp_steps=4)
    model = compiled(et.wrap_for_pruning(network(), schedule), keras.optimizers.SGD(rate))
    stopping = keras.callbacks.EarlyStopping("loss", patience=9)
    callbacks = [et.MaskUpdate(), et.LearningRateRestart(0.01), stopping]
    with pytest.raises(KeyboardInterrupt):
        interrupt = _interrupting(keras, 1)
        model.fit(data[0], epochs=4, verbose=0, callbacks=[*callbacks, interrupt])
    adapter = pruned(model)
    adapter.prepare()
    assert adapter.learning_rate() == pytest.approx(0.05 * 0.5 ** (12 / 1000), rel=1e-3)
    adapter.finish()
    stopping.start_from_epoch = 7
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.MaskUpdate(), stopping])
    assert stopping.start_from_epoch == 0


def test_a_teacher(keras, network, compiled, data, examples):
    schedule = et.EarlyTicketPolynomialDecay(0.5, ramp_steps=2)
    model = compiled(et.wrap_for_pruning(network(), schedule))
    detector, teaching = et.FixedEpoch(1), et.Distillation(5.0)
    ticket = et.EarlyTicket(*data, detector=detector, distillation=teaching, verbose=0)
    with pytest.raises(KeyboardInterrupt):
        interrupt = _interrupting(keras, 1)
        model.fit(*examples, epochs=4, verbose=0, callbacks=[ticket, interrupt])
    assert "train_step" in vars(model)
    # The next one has none.
    model.fit(*examples, epochs=1, verbose=0, callbacks=[et.MaskUpdate()])
    assert "train_step" not in vars(model) and "compute_loss" not in vars(model)


def test_a_probe_whose_evaluation_fails(keras, network, compiled, examples, monkeypatch):
    import tensorflow as tf

    kept, is_pruned = {}, []

    def broken():
        for place in range(0, 96, 16):
            if is_pruned and place:
                raise RuntimeError("the data broke")
            yield tuple(part[place : place + 16] for part in examples)

    specs = tuple(tf.TensorSpec([None, *part.shape[1:]], part.dtype) for part in examples)
    held_out = tf.data.Dataset.from_generator(broken, output_signature=specs)
    model = compiled(et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.8)))
    adapter = pruned(model)
    set_masks = adapter.set_masks

    def prune(masks):
        is_pruned.append(True)
        set_masks(masks)

    monkeypatch.setattr(adapter, "set_masks", prune)
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.update(adapter.all_weights())
    )
    probe = et.PPRProbe(examples, held_out, epochs=[2])
    with pytest.raises(Exception, match="the data broke"):
        model.fit(*examples, epochs=3, verbose=0, callbacks=[keep, probe])
    assert is_pruned
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, kept[name])
    assert all(mask.all() for mask in adapter.masks().values())
