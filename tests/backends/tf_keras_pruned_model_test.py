"""`PrunedModel` of tf_keras: writes masks and weights, reads schedules, trains and evaluates."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.sparsity.keras import (
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
)

from tf_earlyticket.backends import pruned, wrap_for_pruning
from tf_earlyticket.backends.tf_keras import optimizers
from tf_earlyticket.backends.tf_keras.wrapper import EarlyTicketPolynomialDecay
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.select import global_masks

NAMES = ["conv2/kernel", "dense1/kernel"]


@pytest.fixture
def adapter(make_cnn, compiled):
    return compiled(wrap_for_pruning(make_cnn()))


@pytest.fixture
def batches(images):
    """8 batches of 2."""
    return tf.data.Dataset.from_tensor_slices(images).batch(2)


def test_a_model_without_our_wrappers_is_refused(make_cnn):
    with pytest.raises(InputError, match="returned by wrap_for_pruning"):
        pruned(make_cnn())
    with pytest.raises(InputError, match="builtins.str: expected a Keras model"):
        pruned("model")


def test_an_uncompiled_model_is_refused(make_cnn):
    adapter = pruned(wrap_for_pruning(make_cnn()))
    with pytest.raises(InputError, match="compile"):
        adapter.prepare()
    with pytest.raises(InputError, match="compile"), adapter.sandbox():
        pass
    assert adapter.step() == 0


def test_names_are_those_of_the_plain_model_in_its_order(adapter, make_cnn):
    assert list(adapter.weights()) == list(adapter.masks()) == NAMES
    names = list(adapter.all_weights())
    assert len(names) == len(make_cnn().weights)
    assert {"conv1/bias", "norm/moving_variance", *NAMES} < set(names)
    assert not any("mask" in name or "step" in name for name in names)


def test_set_masks_zeroes_weights_and_slots_and_sets_tfmots_variables(adapter, images):
    adapter.model.fit(*images, batch_size=4, verbose=0)
    before = adapter.weights()
    masks = global_masks(before, 0.6)
    adapter.set_masks(masks)
    for name in NAMES:
        wrapper = adapter.model.get_layer(f"masked_prune_low_magnitude_{name.split('/')[0]}")
        ((weight, mask, threshold),) = wrapper.pruning_vars
        np.testing.assert_array_equal(weight, np.where(masks[name], before[name], 0))
        assert not np.signbit(weight.numpy()[~masks[name]]).any()
        np.testing.assert_array_equal(mask.numpy().astype(bool), masks[name])
        assert float(threshold) == np.abs(before[name][masks[name]]).min()
        assert int(wrapper.pruning_step) == adapter.step() == 4
        (momentum,) = optimizers.slots(adapter.model.optimizer, weight)
        assert not momentum.numpy()[~masks[name]].any()
        assert momentum.numpy()[masks[name]].any()
    assert adapter.masks()[NAMES[0]].dtype == bool


def test_a_layer_may_be_pruned_completely(adapter, images):
    masks = {name: np.zeros(w.shape, bool) for name, w in adapter.weights().items()}
    adapter.set_masks(masks)
    adapter.model.fit(*images, verbose=0)
    assert adapter.violations() == 0
    assert np.isfinite(adapter.model.predict(images[0], verbose=0)).all()


def test_set_masks_works_before_anything_is_prepared_or_compiled(make_cnn, compiled, prune, images):
    model = wrap_for_pruning(make_cnn())
    prune(pruned(model))
    adapter = compiled(model, keras.optimizers.Adam(), prepare=False)
    prune(adapter, 0.8)
    model.fit(*images, verbose=0)
    assert adapter.violations() == 0


def test_applying_masks_compiles_nothing_until_something_is_pruned(adapter, prune, monkeypatch):
    written = []
    monkeypatch.setattr(adapter, "_write_masks", written.append)
    adapter.apply_masks()
    assert not written
    monkeypatch.undo()
    prune(adapter, 0.5)
    weights = {name: np.ones_like(weight) for name, weight in adapter.all_weights().items()}
    adapter.set_all_weights(weights)
    assert adapter.violations() == 0


def test_a_new_optimizers_slots_are_zeroed_too(adapter, compiled, prune, images):
    prune(adapter, 0.2)
    compiled(adapter.model, keras.optimizers.Adam())
    adapter.model.fit(*images, batch_size=4, verbose=0)
    prune(adapter, 0.7)
    adapter.model.fit(*images, batch_size=4, verbose=0)
    assert adapter.violations() == 0


def test_set_masks_and_a_later_begin_do_not_retrace_the_training_step(adapter, prune, images):
    def train():
        adapter.model.fit(*images, batch_size=8, verbose=0)
        return adapter.model.train_function.experimental_get_tracing_count()

    traces = train()
    prune(adapter, 0.4)
    adapter.begin_schedule(2, ramp_steps=10, frequency=5)
    assert train() == traces
    prune(adapter, 0.6)
    adapter.begin_schedule(4, ramp_steps=20, frequency=2)
    assert train() == traces


@pytest.mark.parametrize("problem", ["missing", "unknown", "shape", "value"])
def test_masks_that_do_not_fit_are_refused_and_nothing_is_written(problem, adapter):
    masks = global_masks(adapter.weights(), 0.5)
    if problem == "missing":
        del masks[NAMES[0]]
    elif problem == "unknown":
        masks["other/kernel"] = np.ones(3, bool)
    elif problem == "shape":
        masks[NAMES[1]] = masks[NAMES[1]][:, :-1]
    else:
        masks[NAMES[1]] = masks[NAMES[1]] * 0.5
    before = adapter.weights()
    for method in (adapter.check_masks, adapter.set_masks):
        with pytest.raises(InputError, match="other/kernel|conv2/kernel|dense1/kernel"):
            method(masks)
    assert all(mask.all() for mask in adapter.masks().values())
    for name, weight in adapter.weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_set_all_weights_writes_everything_and_masks_it(adapter, prune):
    masks = prune(adapter)
    wanted = {name: np.full_like(w, 2.0) for name, w in adapter.all_weights().items()}
    adapter.set_all_weights(wanted)
    assert adapter.violations() == 0
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, 2.0 * masks[name] if name in masks else wanted[name])


@pytest.mark.parametrize("problem", ["missing", "unknown", "shape"])
def test_set_all_weights_refuses_wrong_weights_without_writing(problem, adapter):
    before = adapter.all_weights()
    wanted = {name: weight + 1 for name, weight in before.items()}
    if problem == "missing":
        del wanted["norm/gamma"]
    elif problem == "unknown":
        wanted["norm/delta"] = np.ones(6)
    else:
        wanted["norm/gamma"] = np.ones(7)
    with pytest.raises(InputError, match="norm/(gamma|delta)"):
        adapter.set_all_weights(wanted)
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_violations_counts_and_apply_masks_mends(adapter, prune, make_cnn):
    masks = prune(adapter)
    assert adapter.violations() == 0
    kernel = adapter.model.get_layer("masked_prune_low_magnitude_dense1").layer.kernel
    kernel.assign(tf.ones_like(kernel))
    assert adapter.violations() == np.count_nonzero(~masks["dense1/kernel"])
    adapter.apply_masks()
    assert adapter.violations() == 0
    np.testing.assert_array_equal(adapter.weights()["dense1/kernel"], masks["dense1/kernel"])


def due_steps(adapter, last):
    found = {}
    for step in range(last + 1):
        sparsity = adapter.due_sparsity(step - 1, step)
        if sparsity is not None:
            found[step] = sparsity
    return found


def test_due_sparsity_of_stock_schedules_is_tfmots(make_cnn):
    constant = pruned(wrap_for_pruning(make_cnn(), ConstantSparsity(0.5, 3, 9, frequency=2)))
    assert due_steps(constant, 12) == dict.fromkeys((3, 5, 7, 9), 0.5)
    assert constant.due_sparsity(-1, 12) == 0.5
    assert constant.due_sparsity(9, 50) is None
    decay = PolynomialDecay(0.0, 0.75, 2, 10, frequency=4)
    polynomial = pruned(wrap_for_pruning(make_cnn(), decay))
    assert due_steps(polynomial, 20) == {
        step: pytest.approx(float(decay(tf.constant(step))[1])) for step in (2, 6, 10)
    }
    assert (constant.final_sparsity(), polynomial.final_sparsity()) == (0.5, 0.75)
    for adapter in (constant, polynomial):
        assert adapter.sparsity_schedule() is None
        with pytest.raises(InputError, match="EarlyTicketPolynomialDecay"):
            adapter.early_ticket_schedule()
        with pytest.raises(InputError, match="EarlyTicketPolynomialDecay"):
            adapter.begin_schedule(1, ramp_steps=1, frequency=1)


def test_due_sparsity_of_ours_starts_with_the_begin_and_includes_the_end(adapter):
    assert due_steps(adapter, 30) == {}
    adapter.begin_schedule(4, ramp_steps=10, frequency=4)
    due = due_steps(adapter, 30)
    assert list(due) == [4, 8, 12, 14]
    assert due[14] == adapter.final_sparsity() == 0.8
    # Of several updates since the last call, the last one counts.
    assert adapter.due_sparsity(4, 13) == due[12]
    assert adapter.due_sparsity(5, 40) == 0.8
    assert adapter.due_sparsity(14, 40) is None


def test_final_sparsity_may_be_zero_and_is_asked_of_known_schedules_only(make_cnn):
    zero = wrap_for_pruning(make_cnn(), EarlyTicketPolynomialDecay(0.0))
    assert pruned(zero).final_sparsity() == 0.0

    class Own(PruningSchedule):
        def __call__(self, step):
            return tf.constant(False), tf.constant(0.0)

        def get_config(self):
            return {"class_name": "Own", "config": {}}

    with pytest.raises(InputError, match="Own"):
        pruned(wrap_for_pruning(make_cnn(), Own())).final_sparsity()


def test_begin_schedule_sets_every_wrapper_and_the_schedule(adapter):
    adapter.begin_schedule(6, ramp_steps=10, frequency=5)
    for layer in adapter.model.layers:
        if hasattr(layer, "schedule_steps"):
            np.testing.assert_array_equal(layer.schedule_steps, [6, 10, 5])
    assert adapter.early_ticket_schedule().begin_step == 6
    assert adapter.sparsity_schedule().update_steps() == [6, 11, 16]


@pytest.mark.parametrize("values", [(-1, 10, 5), (3, -1, 5), (3, 10, 0), (3.5, 10, 5)])
def test_begin_schedule_refuses_bad_values_and_changes_nothing(values, adapter):
    step, ramp_steps, frequency = values
    with pytest.raises(InputError):
        adapter.begin_schedule(step, ramp_steps=ramp_steps, frequency=frequency)
    assert adapter.sparsity_schedule() is None


def test_train_makes_the_steps_it_reports(adapter, batches):
    with adapter.sandbox():
        assert adapter.train(batches, 5) == 5
        assert adapter.step() == 5
        assert adapter.train(batches, 50) == 8
        assert adapter.train(batches.take(0), 3) == 0
    assert adapter.step() == 0


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"]
)
def test_train_with_several_steps_per_execution(jit_compile, make_cnn, compiled, batches, images):
    adapter = compiled(wrap_for_pruning(make_cnn()), steps_per_execution=4, jit_compile=jit_compile)
    model = adapter.model
    with adapter.sandbox():
        # The last call of five steps makes one: a function built now must still make four.
        assert adapter.train(batches, 5) == adapter.step() == 5
        assert adapter.evaluate(batches)["loss"] > 0
        assert adapter.train(batches.take(6), 8) == 6
    assert int(model._steps_per_execution) == 4
    # The functions made in the sandbox are those of an undisturbed model.
    seen = model.evaluate(*images, batch_size=2, verbose=0, return_dict=True)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
        images[1], model.predict(images[0], batch_size=2, verbose=0)
    )
    assert seen["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_evaluate_agrees_with_keras(adapter, batches, images):
    ours = adapter.evaluate(batches)
    theirs = adapter.model.evaluate(*images, batch_size=2, verbose=0, return_dict=True)
    assert ours == pytest.approx(theirs, rel=1e-6)
    first = adapter.evaluate(batches, steps=3)
    assert first == pytest.approx(
        adapter.model.evaluate(batches.take(3), verbose=0, return_dict=True), rel=1e-6
    )


def test_evaluate_leaves_out_metrics_that_are_no_numbers(make_cnn, compiled, images):
    model = wrap_for_pruning(make_cnn())
    adapter = compiled(model)
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(), "accuracy"])
    one_hot = np.eye(4, dtype="float32")[images[1]]
    logs = adapter.evaluate(tf.data.Dataset.from_tensor_slices((images[0], one_hot)).batch(8))
    assert set(logs) == {"loss", "accuracy"}


def test_evaluate_refuses_an_empty_data_set(adapter, batches):
    with pytest.raises(InputError, match="empty"):
        adapter.evaluate(batches.take(0))


def test_the_record_of_a_model_is_its_own(make_cnn):
    first, second = wrap_for_pruning(make_cnn()), wrap_for_pruning(make_cnn())
    pruned(first).record.start_epoch = 5
    assert pruned(first).record.start_epoch == 5
    assert pruned(second).record.start_epoch is None


def test_the_function_that_writes_masks_is_compiled_once_for_all_callbacks(adapter, prune):
    traced = []
    adapter = pruned(adapter.model)
    original = adapter._masked_variables
    adapter._masked_variables = lambda *arguments: (traced.append(1), original(*arguments))[1]
    for sparsity in (0.2, 0.4, 0.6):
        prune(pruned(adapter.model), sparsity)
    assert len(traced) == 1 and adapter.violations() == 0


def test_a_model_that_is_gone_leaves_nothing_behind(make_cnn):
    model = wrap_for_pruning(make_cnn(), EarlyTicketPolynomialDecay(0.5))
    adapter = pruned(model)
    adapter.set_masks(global_masks(adapter.weights(), 0.5))
    gone = weakref.ref(model)
    del model, adapter
    gc.collect()
    assert gone() is None
