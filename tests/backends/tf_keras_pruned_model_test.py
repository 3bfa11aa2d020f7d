"""`PrunedModel` of tf_keras: the variables of TFMOT's wrappers, and TFMOT's schedules."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_model_optimization.sparsity.keras import (
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
)

from tf_earlyticket.backends import pruned, wrap_for_pruning
from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.select import global_masks

NAMES = ["conv2/kernel", "dense1/kernel"]


@pytest.fixture
def adapter(make_cnn, compiled):
    return compiled(wrap_for_pruning(make_cnn()))


def test_set_masks_sets_tfmots_variables(adapter, images):
    adapter.model.fit(*images, batch_size=4, verbose=0)
    before = adapter.weights()
    masks = global_masks(before, 0.6)
    adapter.set_masks(masks)
    for name in NAMES:
        wrapper = adapter.model.get_layer(f"masked_prune_low_magnitude_{name.split('/')[0]}")
        ((weight, mask, threshold),) = wrapper.pruning_vars
        assert weight is wrapper.layer.kernel
        np.testing.assert_array_equal(mask.numpy().astype(bool), masks[name])
        assert float(threshold) == np.abs(before[name][masks[name]]).min()
        assert int(wrapper.pruning_step) == adapter.step() == 4


def test_the_function_that_writes_masks_is_compiled_once_for_all_callbacks(adapter, prune):
    traced = []
    original = adapter._masked_variables
    adapter._masked_variables = lambda *arguments: (traced.append(1), original(*arguments))[1]
    for sparsity in (0.2, 0.4, 0.6):
        prune(pruned(adapter.model), sparsity)
    assert len(traced) == 1 and adapter.violations() == 0


def test_begin_schedule_sets_every_wrapper(adapter):
    adapter.begin_schedule(6, ramp_steps=10, frequency=5)
    steps = [layer.schedule_steps for layer in adapter.model.layers if hasattr(layer, "layer")]
    np.testing.assert_array_equal(steps, [[6, 10, 5]] * 2)


def due_steps(adapter, last):
    due = {step: adapter.due_sparsity(step - 1, step) for step in range(last + 1)}
    return {step: sparsity for step, sparsity in due.items() if sparsity is not None}


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


def test_the_final_sparsity_is_asked_of_known_schedules_only(make_cnn):
    class Own(PruningSchedule):
        def __call__(self, step):
            return tf.constant(False), tf.constant(0.0)

        def get_config(self):
            return {"class_name": "Own", "config": {}}

    with pytest.raises(InputError, match="Own"):
        pruned(wrap_for_pruning(make_cnn(), Own())).final_sparsity()
