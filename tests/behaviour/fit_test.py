"""In `fit` beside pruning: other callbacks, steps of an execution, schedules that are too long."""

import re

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.layers import named_weights
from tf_earlyticket.detectors.weight_signals import FixedEpoch
from tf_earlyticket.pruning.masks import kept_count, mask_sparsity


def _wrapped(network, compiled, final=0.75, optimizer=None, steps_per_execution=1, **schedule):
    model = et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(final, **schedule))
    return compiled(model, optimizer, steps_per_execution=steps_per_execution)


def _assert_final(model, sparsity=0.75):
    adapter = pruned(model)
    masks = adapter.masks()
    assert sum(int(m.sum()) for m in masks.values()) == kept_count(
        sum(m.size for m in masks.values()), sparsity
    )
    assert adapter.violations() == 0
    zeros = sum(int((weight == 0).sum()) for weight in adapter.weights().values())
    assert zeros == sum(int((~m).sum()) for m in masks.values())


def _said(caplog):
    """Returns what the toolkit logged; Keras complains of slow callbacks when it likes."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("tf_earlyticket")]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("patience", [1, 100])
def test_early_stopping_chooses_among_epochs_at_the_final_sparsity(
    keras, network, compiled, data, patience, place
):
    model = _wrapped(network, compiled)
    # Best at the first epoch, while the network is dense, if anybody asked it then.
    values = iter(range(100))

    class Worse(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["badness"] = next(values)
            weights.append(pruned(self.model).weights())

    weights = []
    stopping = keras.callbacks.EarlyStopping(
        "badness", patience=patience, mode="min", restore_best_weights=True
    )
    ours = et.EarlyTicket(*data, detector=FixedEpoch(2), ramp_epochs=2, hold_epochs=4, verbose=0)
    callbacks = [ours, Worse(), stopping] if place == "after" else [Worse(), stopping, ours]
    history = model.fit(data[0], validation_data=data[1], epochs=8, verbose=0, callbacks=callbacks)
    _assert_final(model)
    # Start after 2, ramp in 3 and 4: 5 is the first whole epoch at the final sparsity, so its best.
    assert len(history.epoch) == (6 if patience == 1 else 8)
    for name, weight in pruned(model).weights().items():
        np.testing.assert_array_equal(weight, weights[4][name])
    assert stopping.start_from_epoch == 0


@pytest.mark.parametrize("how", ["weights", "everything"])
def test_weights_that_a_callback_writes_at_the_end_are_masked_again(
    keras, network, compiled, data, caplog, how
):
    model = _wrapped(network, compiled, begin_step=2, ramp_steps=4)
    dense = [np.array(weight) for weight in model.get_weights()]

    class Rude(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            if how == "everything":
                self.model.set_weights(dense)
            else:
                adapter = pruned(self.model)
                full = {name: np.ones_like(w) for name, w in adapter.all_weights().items()}
                adapter._assign(named_weights(adapter.model), full)

    for callbacks in ([et.MaskUpdate(), Rude()], [Rude(), et.MaskUpdate()]):
        caplog.clear()
        model.fit(data[0], epochs=2, verbose=0, callbacks=callbacks)
        _assert_final(model)
        assert "Another callback wrote weights when training ended" in caplog.text


@pytest.mark.parametrize("steps_per_execution", [4, 16, 32])
def test_steps_of_an_execution_need_not_divide_the_epoch(
    network, compiled, data, steps_per_execution, caplog
):
    model = _wrapped(network, compiled, steps_per_execution=steps_per_execution)
    callback = et.EarlyTicket(*data, detector=FixedEpoch(3), verbose=0)
    model.fit(data[0], epochs=8, verbose=0, callbacks=[callback])
    _assert_final(model)
    assert pruned(model).step() == 48
    steps = [step for step, _ in callback.mask_update.updates]
    assert steps[0] >= 18 and steps[-1] == 18 + callback.plan.ramp_steps
    assert not _said(caplog)


def test_probes_of_an_execution_longer_than_the_epoch_cost_what_they_cost(network, compiled, data):
    model = _wrapped(network, compiled, steps_per_execution=32)
    probe = et.PPRProbe(*data)
    model.fit(data[0], epochs=1, verbose=0, callbacks=[probe])
    assert probe.results[0].cost_epochs == 1


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({}, "Nothing will be pruned in this fit: the schedule has no begin"),
        ({"begin_step": 20, "ramp_steps": 4}, "ends at step 12, at sparsity 0.0000: .* step 24"),
        ({"begin_step": 0, "ramp_steps": 40}, "ends at step 12, at sparsity 0.4.*: .* at step 40"),
    ],
)
def test_a_fit_that_ends_before_its_schedule_says_so_first(
    network, compiled, data, caplog, schedule, words
):
    model = _wrapped(network, compiled, **schedule)
    model.fit(data[0], epochs=2, verbose=0, callbacks=[et.MaskUpdate()])
    assert len(_said(caplog)) == 1 and re.search(words, _said(caplog)[0]), _said(caplog)


def test_a_fit_that_is_stopped_before_its_end_says_so(keras, network, compiled, data, caplog):
    model = _wrapped(network, compiled, begin_step=0, ramp_steps=24)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model.fit(data[0], epochs=4, verbose=0, callbacks=[et.MaskUpdate(), Stop()])
    assert "Training stopped at sparsity 0.4" in caplog.text


def test_a_fit_that_reaches_its_end_says_nothing(network, compiled, data, caplog):
    model = _wrapped(network, compiled, begin_step=0, ramp_steps=6)
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.MaskUpdate()])
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.MaskUpdate()])
    assert mask_sparsity(pruned(model).masks()) == 0.75
    assert not _said(caplog)
