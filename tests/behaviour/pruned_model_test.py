"""`PrunedModel`: writes masks and weights, keeps a schedule, trains and evaluates."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.pruning.select import global_masks

NAMES = ["middle/kernel", "last_conv/kernel"]
ALL = (
    *("stem/kernel", "stem/bias", "middle/kernel"),
    *("norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"),
    *("last_conv/kernel", "last_conv/bias", "classifier/kernel", "classifier/bias"),
)


@pytest.fixture
def adapter(network, compiled):
    """Of a compiled model, ready to train."""
    adapter = pruned(compiled(et.wrap_for_pruning(network())))
    adapter.prepare()
    return adapter


@pytest.fixture
def step(examples):
    """Returns a function that makes a training step on 16 examples."""
    return lambda adapter: adapter.model.train_on_batch(*(part[:16] for part in examples))


def _prune(adapter, sparsity=0.7):
    masks = global_masks(adapter.weights(), sparsity)
    adapter.set_masks(masks)
    return masks


def _slots(model, shape) -> list[np.ndarray]:
    """Returns the optimizer's numbers of a kernel's shape; Keras 3 has masks among them."""
    variables = model.optimizer.variables
    variables = variables() if callable(variables) else variables
    arrays = [np.array(variable) for variable in variables if tuple(variable.shape) == shape]
    return [array for array in arrays if array.dtype == np.float32]


def test_other_models_are_refused(network):
    with pytest.raises(et.InputError, match="returned by wrap_for_pruning"):
        pruned(network())
    with pytest.raises(et.InputError, match="builtins.str: expected a Keras model"):
        pruned("model")


def test_an_uncompiled_model_is_refused(network):
    adapter = pruned(et.wrap_for_pruning(network()))
    with pytest.raises(et.InputError, match=r"call model.compile"):
        adapter.prepare()
    with pytest.raises(et.InputError, match=r"call model.compile"), adapter.sandbox():
        pass
    assert adapter.step() == 0


def test_names_are_those_of_the_plain_model_in_its_order(network):
    adapter = pruned(et.wrap_for_pruning(network()))
    assert list(adapter.weights()) == list(adapter.masks()) == NAMES
    assert sorted(adapter.all_weights()) == sorted(ALL)
    assert list(adapter.all_weights()) == list(backend_of(network()).named_weights(network()))


def test_set_masks_zeroes_weights_and_slots(adapter, step):
    step(adapter)
    before = adapter.weights()
    slots = {name: _slots(adapter.model, w.shape) for name, w in before.items()}
    masks = _prune(adapter, 0.6)
    for name in NAMES:
        weight, mask = adapter.weights()[name], masks[name]
        np.testing.assert_array_equal(weight, np.where(mask, before[name], 0))
        assert not np.signbit(weight[~mask]).any()
        np.testing.assert_array_equal(adapter.masks()[name], mask)
        (momentum,), (found,) = slots[name], _slots(adapter.model, weight.shape)
        np.testing.assert_array_equal(found, np.where(mask, momentum, 0))
        assert momentum[~mask].any() and found[mask].any()
    assert adapter.masks()[NAMES[0]].dtype == bool and adapter.step() == 1


def test_the_slots_of_a_new_optimizer_are_zeroed_too(keras, adapter, compiled, step):
    step(adapter)
    _prune(adapter, 0.2)
    compiled(adapter.model, keras.optimizers.Adam(0.01))
    step(adapter)
    masks = _prune(adapter, 0.7)
    for mask in masks.values():
        first, second = _slots(adapter.model, mask.shape)
        for slot in (first, second):
            assert not slot[~mask].any() and slot[mask].any()
    step(adapter)
    assert adapter.violations() == 0


def test_a_network_may_be_pruned_completely(adapter, step, examples):
    adapter.set_masks({name: np.zeros(w.shape, bool) for name, w in adapter.weights().items()})
    step(adapter)
    assert adapter.violations() == 0
    assert not any(weight.any() for weight in adapter.weights().values())
    assert np.isfinite(adapter.model.predict(examples[0][:16], verbose=0)).all()


def test_applying_masks_compiles_nothing_until_something_is_pruned(adapter, monkeypatch):
    written = []
    monkeypatch.setattr(adapter, "_write_masks", written.append)
    adapter.apply_masks()
    assert not written
    _prune(adapter)
    assert len(written) == 1


def test_masks_and_a_later_begin_do_not_retrace_the_training_step(keras, compiled, examples):
    traced = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            traced.append(1)
            return inputs

    layers = keras.layers
    plain = keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), Counting()]
        + [layers.Dense(width) for width in (4, 4, 3)]
    )
    adapter = pruned(compiled(et.wrap_for_pruning(plain)))
    adapter.prepare()

    def train():
        adapter.model.fit(*examples, batch_size=16, verbose=0)
        return len(traced)

    count = train()
    for begin, sparsity in enumerate((0.4, 0.6)):
        _prune(adapter, sparsity)
        adapter.begin_schedule(begin, ramp_steps=10, frequency=5)
        assert train() == count
    assert adapter.violations() == 0


@pytest.mark.parametrize("problem", ["missing", "unknown", "shape", "value"])
def test_masks_that_do_not_fit_are_refused_and_nothing_is_written(problem, network):
    adapter = pruned(et.wrap_for_pruning(network()))
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
        with pytest.raises(et.InputError, match="other/kernel|middle/kernel|last_conv/kernel"):
            method(masks)
    assert all(mask.all() for mask in adapter.masks().values())
    for name, weight in adapter.weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_set_all_weights_writes_everything_and_masks_it(network):
    adapter = pruned(et.wrap_for_pruning(network()))
    masks = _prune(adapter)
    wanted = {name: np.full_like(w, 2.0) for name, w in adapter.all_weights().items()}
    adapter.set_all_weights(wanted)
    assert adapter.violations() == 0
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, 2.0 * masks.get(name, np.ones(weight.shape)))


@pytest.mark.parametrize("problem", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_are_refused_and_nothing_is_written(problem, network):
    adapter = pruned(et.wrap_for_pruning(network()))
    before = adapter.all_weights()
    wanted = {name: weight + 1 for name, weight in before.items()}
    if problem == "missing":
        del wanted["norm/gamma"]
    elif problem == "unknown":
        wanted["norm/delta"] = np.ones(6)
    else:
        wanted["norm/gamma"] = np.ones(7)
    with pytest.raises(et.InputError, match="norm/(gamma|delta)"):
        adapter.set_all_weights(wanted)
    for name, weight in adapter.all_weights().items():
        np.testing.assert_array_equal(weight, before[name])


def test_violations_are_counted_and_mended(network):
    adapter = pruned(et.wrap_for_pruning(network()))
    mask = _prune(adapter)["last_conv/kernel"]
    assert adapter.violations() == 0
    weights = backend_of(adapter.model).named_weights(adapter.model)
    weights["last_conv/kernel"].assign(np.ones(mask.shape, np.float32))
    assert adapter.violations() == np.count_nonzero(~mask)
    adapter.apply_masks()
    assert adapter.violations() == 0
    np.testing.assert_array_equal(adapter.weights()["last_conv/kernel"], mask)


def _due_steps(adapter, last):
    due = {step: adapter.due_sparsity(step - 1, step) for step in range(last + 1)}
    return {step: sparsity for step, sparsity in due.items() if sparsity is not None}


def test_due_sparsity_starts_with_the_begin_and_includes_the_end(network):
    adapter = pruned(et.wrap_for_pruning(network()))
    assert _due_steps(adapter, 30) == {} and adapter.sparsity_schedule() is None
    adapter.begin_schedule(4, ramp_steps=10, frequency=4)
    assert adapter.sparsity_schedule().update_steps() == [4, 8, 12, 14]
    assert adapter.early_ticket_schedule().begin_step == 4
    due = _due_steps(adapter, 30)
    assert list(due) == [4, 8, 12, 14]
    assert due[14] == adapter.final_sparsity() == 0.8
    # Of several updates since the last call, the last one counts.
    assert adapter.due_sparsity(4, 13) == due[12]
    assert adapter.due_sparsity(5, 40) == 0.8
    assert adapter.due_sparsity(14, 40) is None


def test_the_final_sparsity_may_be_zero(network):
    model = et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.0))
    assert pruned(model).final_sparsity() == 0.0


def test_the_users_schedule_is_copied(network):
    schedule = et.EarlyTicketPolynomialDecay(ramp_steps=10)
    adapter = pruned(et.wrap_for_pruning(network(), schedule))
    adapter.begin_schedule(7, ramp_steps=10, frequency=5)
    assert adapter.schedule.begin_step == 7 and schedule.begin_step is None


@pytest.mark.parametrize("values", [(-1, 10, 5), (3, -1, 5), (3, 10, 0), (3.5, 10, 5)])
def test_begin_schedule_refuses_bad_values_and_changes_nothing(values, network):
    adapter = pruned(et.wrap_for_pruning(network()))
    step, ramp_steps, frequency = values
    with pytest.raises(et.InputError):
        adapter.begin_schedule(step, ramp_steps=ramp_steps, frequency=frequency)
    assert adapter.sparsity_schedule() is None


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["graph", "xla"]
)
def test_train_and_evaluate_with_several_steps_per_execution(
    keras, network, compiled, data, examples, jit_compile
):
    model = et.wrap_for_pruning(network())
    adapter = pruned(compiled(model, steps_per_execution=2, jit_compile=jit_compile))
    adapter.prepare()
    with adapter.sandbox():
        # The last call of five steps makes one: a function built now must still make two.
        assert adapter.train(data[0], 5) == adapter.step() == 5
        assert adapter.evaluate(data[1])["loss"] > 0
        assert adapter.train(data[0].take(3), 8) == 3
    assert adapter.steps_per_call() == 2
    # The functions made in the sandbox are those of an undisturbed model.
    seen = model.evaluate(*examples, batch_size=16, verbose=0, return_dict=True)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
        examples[1], model.predict(examples[0], batch_size=16, verbose=0)
    )
    assert seen["loss"] == pytest.approx(float(expected), rel=1e-4)


def test_evaluate_agrees_with_keras(adapter, data):
    for ours, theirs in {None: data[1], 1: data[1].take(1)}.items():
        expected = adapter.model.evaluate(theirs, verbose=0, return_dict=True)
        assert adapter.evaluate(data[1], ours) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", ["known", "unknown"])
def test_an_empty_data_set_is_no_step_and_no_evaluation(adapter, data, size):
    empty = data[0].take(0) if size == "known" else data[0].filter(lambda x, y: False)
    with adapter.sandbox():
        assert adapter.train(empty, 3) == 0
    with pytest.raises(et.InputError, match="The data set is empty"):
        adapter.evaluate(empty)


def test_evaluate_leaves_out_metrics_that_are_no_numbers(keras, network, examples):
    model = et.wrap_for_pruning(network())
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(), "accuracy"])
    one_hot = np.eye(3, dtype="float32")[examples[1]]
    data = tf.data.Dataset.from_tensor_slices((examples[0], one_hot)).batch(16)
    assert set(pruned(model).evaluate(data)) == {"loss", "accuracy"}


def test_the_record_of_a_model_is_its_own(network):
    first, second = et.wrap_for_pruning(network()), et.wrap_for_pruning(network())
    pruned(first).record.start_epoch = 5
    assert pruned(first).record.start_epoch == 5
    assert pruned(second).record.start_epoch is None


def test_a_model_that_is_gone_leaves_nothing_behind(network, compiled, step):
    model = compiled(et.wrap_for_pruning(network()))
    adapter = pruned(model)
    step(adapter)
    _prune(adapter, 0.5)
    gone = weakref.ref(model)
    del model, adapter
    gc.collect()
    assert gone() is None
