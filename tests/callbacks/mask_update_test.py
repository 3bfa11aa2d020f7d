"""MaskUpdate: the schedule is followed exactly and weights are sparse after every batch."""

import numpy as np
import pytest
from small import PRUNABLE, Collect, data, masks, pruned, wrapped_model, zeros

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras, tfmot
from tf_earlyticket.pruning.schedule import PolynomialSparsity


def _schedule(begin=3, ramp=10, frequency=4, sparsity=0.75, initial=0.0):
    return et.EarlyTicketPolynomialDecay(
        sparsity,
        initial_sparsity=initial,
        begin_step=begin,
        ramp_steps=ramp,
        frequency=frequency,
    )


def test_updates_come_at_the_steps_of_the_schedule_and_reach_exactly_its_sparsity():
    model, update = wrapped_model(_schedule(initial=0.1)), et.MaskUpdate()
    history = model.fit(data(), epochs=4, callbacks=[update], verbose=0)
    polynomial = PolynomialSparsity(0.1, 0.75, begin_step=3, end_step=13, frequency=4)
    # 4 does not divide 10: the end updates all the same.
    assert [step for step, _ in update.updates] == [3, 7, 11, 13]
    for step, sparsity in update.updates:
        assert round(sparsity * PRUNABLE) == pruned(polynomial.sparsity_at(step))
    assert zeros(model) == pruned(0.75)
    assert history.history["sparsity"][-1] == 0.75


def test_weights_are_sparse_after_every_batch_and_masks_only_shrink():
    model = wrapped_model(_schedule(), optimizer=keras.optimizers.Adam(0.01))
    per_batch = Collect(lambda m: (zeros(m), masks(m)))
    model.fit(data(), epochs=4, callbacks=[et.MaskUpdate(), per_batch], verbose=0)
    polynomial = PolynomialSparsity(0.0, 0.75, begin_step=3, end_step=13, frequency=4)
    before = None
    for step, (count, present) in per_batch.values.items():
        last = polynomial.last_update_step(step)
        held = 0.0 if last is None else polynomial.sparsity_at(last)
        assert count == pruned(held)
        if before is not None:
            assert not any((present[name] & ~before[name]).any() for name in present)
        before = present
    assert zeros(model) == pruned(0.75)


def test_a_begin_at_step_zero_prunes_before_the_first_batch():
    model, update = wrapped_model(_schedule(begin=0, ramp=0)), et.MaskUpdate()
    model.fit(data(steps=1), epochs=1, callbacks=[update], verbose=0)
    assert update.updates == [(0, 0.75)]


def test_several_steps_per_execution_follow_the_same_schedule():
    one = wrapped_model(_schedule(begin=4, ramp=12, frequency=4))
    one.fit(data(steps=6), epochs=4, callbacks=[et.MaskUpdate()], verbose=0)
    two = wrapped_model(_schedule(begin=4, ramp=12, frequency=4), steps_per_execution=2)
    update = et.MaskUpdate()
    two.fit(data(steps=6), epochs=4, callbacks=[update], verbose=0)
    assert [step for step, _ in update.updates] == [8, 12, 16]
    for name, mask in masks(one).items():
        np.testing.assert_array_equal(mask, masks(two)[name])


def test_a_frequency_between_two_calls_of_keras_is_refused():
    model = wrapped_model(_schedule(frequency=3), steps_per_execution=2)
    with pytest.raises(et.InputError, match=r"frequency=3: .*steps_per_execution=2"):
        model.fit(data(), epochs=1, callbacks=[et.MaskUpdate()], verbose=0)


def test_one_shot_pruning_needs_no_fitting_frequency():
    model = wrapped_model(_schedule(begin=2, ramp=0, frequency=1), steps_per_execution=2)
    model.fit(data(steps=4), epochs=1, callbacks=[et.MaskUpdate()], verbose=0)
    assert zeros(model) == pruned(0.75)


def test_a_callback_that_writes_pruned_weights_at_every_step_is_found_at_the_next():
    class Overwrite(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            kernel = self.model.get_layer("masked_prune_low_magnitude_middle").layer.kernel
            kernel.assign(kernel + 1.0)

    model = wrapped_model(_schedule(begin=0, ramp=0))
    with pytest.raises(RuntimeError, match=r"pruned weights are not zero after a step"):
        model.fit(data(), epochs=1, callbacks=[et.MaskUpdate(), Overwrite()], verbose=0)


def test_weights_written_between_two_fits_are_masked_before_the_first_batch():
    model = wrapped_model(_schedule(begin=0, ramp=0))
    model.fit(data(), epochs=1, callbacks=[et.MaskUpdate()], verbose=0)
    kernel = model.get_layer("masked_prune_low_magnitude_middle").layer.kernel
    kernel.assign(kernel + 1.0)
    model.fit(data(), epochs=1, callbacks=[et.MaskUpdate()], verbose=0)
    assert zeros(model) == pruned(0.75)


def test_a_ramp_restored_in_its_middle_goes_on_at_the_next_step(tmp_path):
    whole = wrapped_model(_schedule())
    whole.fit(data(), epochs=4, callbacks=[et.MaskUpdate()], verbose=0)
    first = wrapped_model(_schedule())
    first.fit(data(), epochs=2, callbacks=[et.MaskUpdate()], verbose=0)
    first.save(tmp_path / "model.keras")
    second, update = keras.models.load_model(tmp_path / "model.keras"), et.MaskUpdate()
    second.fit(data(), initial_epoch=2, epochs=4, callbacks=[update], verbose=0)
    assert [step for step, _ in update.updates] == [11, 13]
    for name, mask in masks(whole).items():
        np.testing.assert_array_equal(mask, masks(second)[name])


@pytest.mark.parametrize(
    "schedule",
    [
        tfmot.sparsity.keras.PolynomialDecay(0.0, 0.75, begin_step=0, end_step=12, frequency=4),
        tfmot.sparsity.keras.ConstantSparsity(0.75, begin_step=4, frequency=4),
    ],
)
def test_schedules_of_tfmot_prune_globally_to_their_end(schedule):
    model = wrapped_model(schedule)
    model.fit(data(), epochs=3, callbacks=[et.MaskUpdate()], verbose=0)
    assert zeros(model) == pruned(0.75)


@pytest.mark.parametrize(
    "schedule",
    [
        # Its frequency is 100: by itself it prunes at step 0 only.
        tfmot.sparsity.keras.PolynomialDecay(0.5, 0.7, 0, 6),
        tfmot.sparsity.keras.PolynomialDecay(0.5, 0.7, 2, 9, frequency=4),
        tfmot.sparsity.keras.ConstantSparsity(0.7, 3),
    ],
)
@pytest.mark.parametrize("dense_epochs", [0, 3])
def test_a_schedule_of_tfmot_ends_where_it_says(schedule, dense_epochs):
    model = wrapped_model(schedule)
    if dense_epochs:
        model.fit(data(), epochs=dense_epochs, verbose=0)
    model.fit(data(), epochs=3, verbose=0, callbacks=[et.MaskUpdate()])
    assert zeros(model) == pruned(0.7)


def test_nothing_is_pruned_while_the_begin_is_unset():
    model, update = wrapped_model(), et.MaskUpdate()
    model.fit(data(), epochs=1, callbacks=[update], verbose=0)
    assert update.updates == [] and zeros(model) == 0


def test_an_unwrapped_model_is_refused():
    model = keras.Sequential([keras.layers.Dense(3, input_shape=(2,))])
    model.compile("sgd", "mse")
    with pytest.raises(et.InputError, match="wrap_for_pruning"):
        model.fit(np.ones((4, 2)), np.ones((4, 3)), callbacks=[et.MaskUpdate()], verbose=0)
