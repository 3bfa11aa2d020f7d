"""Every mask update: exact sparsity at the end, zeros in between, probes and restarts unseen."""

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.callbacks.callback import Callback

UPDATES = [
    pytest.param("shrink", marks=pytest.mark.slow),
    pytest.param("alternate(turns=2)", marks=pytest.mark.slow),
    pytest.param("swap", marks=pytest.mark.slow),
    pytest.param("regrow", marks=pytest.mark.slow),
    "regrow(threshold='feather')",
]
EPOCHS, STEPS = 3, 4


class _Watch(Callback):
    """Notes masks after every step; probes after one of them; stops after another epoch."""

    def __init__(self, probe_at=None, data=None):
        super().__init__()
        self.masks, self.probe_at, self.data = [], probe_at, data

    def on_train_batch_end(self, batch, logs=None):
        adapter = pruned(self.model)
        self.masks.append(np.concatenate([m.ravel() for m in adapter.masks().values()]))
        assert adapter.violations() == 0
        if adapter.step() == self.probe_at:
            with adapter.sandbox():
                adapter.set_masks(adapter.ranked_masks(0.75))
                adapter.train(self.data, 2)
                assert adapter.violations() == 0


@pytest.fixture
def batches(examples):
    """Four batches in one order."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(tuple(e[:64] for e in examples)).batch(16)


@pytest.fixture
def make(compiled, keras):
    """Returns a function that makes a wrapped network: steps 1 to 9 are its ramp."""

    def make_model(update):
        keras.utils.set_random_seed(1)
        layers = keras.layers
        sizes = {"first": 12, "second": 8, "logits": 3}
        dense = [layers.Dense(size, "relu", name=name) for name, size in sizes.items()]
        plain = keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), *dense])
        schedule = et.EarlyTicketPolynomialDecay(
            0.7, initial_sparsity=0.3, begin_step=1, ramp_steps=8, frequency=1
        )
        model = et.wrap_for_pruning(plain, schedule, update=update)
        return compiled(model, keras.optimizers.Adam(0.01))

    return make_model


def _fit(model, batches, watch=None, first=0, epochs=EPOCHS):
    callbacks = [et.MaskUpdate(batches), *([watch] if watch else [])]
    model.fit(batches, initial_epoch=first, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def _state(model):
    adapter = pruned(model)
    return [*adapter.all_weights().values(), *adapter.masks().values()]


@pytest.mark.parametrize("update", UPDATES)
def test_zeros_hold_probes_and_restarts_leave_no_trace(update, make, batches, tmp_path):
    watch = _Watch()
    model = _fit(make(update), batches, watch)
    adapter = pruned(model)
    kept = [int(mask.sum()) for mask in watch.masks]
    total = watch.masks[0].size
    assert kept[-1] == round(0.3 * total) and adapter.violations() == 0
    grown = any(np.any(b > a) for a, b in zip(watch.masks, watch.masks[1:], strict=False))
    assert grown == (update != "shrink")
    assert (total in kept[1:9]) == update.startswith("alternate")
    assert len({mask.tobytes() for mask in watch.masks[8:]}) == 1
    exported = et.strip_pruning(model)
    zeros = [np.count_nonzero(np.array(w) == 0) for w in exported.trainable_weights]
    assert sum(zeros) >= total - kept[-1]

    begun = _fit(make(update), batches, _Watch(3, batches), epochs=1)
    backend_of(begun).write_state(begun, tmp_path / "state")
    went_on = make(update)
    pruned(went_on).prepare()
    backend_of(went_on).read_state(went_on, tmp_path / "state")
    _fit(went_on, batches, first=1)
    for one, other in zip(_state(model), _state(went_on), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("update", UPDATES)
def test_weights_are_sparse_under_mixed_precision_and_what_is_hidden_is_exact(
    update, bfloat16, make, batches
):
    adapter = pruned(_fit(make(update), batches, _Watch(3, batches)))
    # Four bytes a weight, also of what a mask hides.
    assert all(value.dtype.itemsize >= 4 for value in adapter.all_weights().values())
    assert sum(map(np.count_nonzero, adapter.weights().values())) <= 0.3 * 9624


def test_what_an_update_needs_is_asked_for(network, compiled, make, batches):
    with pytest.raises(et.InputError, match="update='alternate': expected 'shrink' with whole"):
        et.wrap_for_pruning(network(), structure="channels", update="alternate")
    with pytest.raises(et.InputError, match=r"update=Swap.*expected et.MaskUpdate\(train_data"):
        make("swap").fit(batches, verbose=0, callbacks=[et.MaskUpdate()])
    # Long before an update is due.
    schedule = et.EarlyTicketPolynomialDecay(0.7, begin_step=99, ramp_steps=0)
    model = compiled(et.wrap_for_pruning(network(), schedule, ranking="global(score='taylor')"))
    with pytest.raises(et.InputError, match=r"score asks for gradients: expected a model in tra"):
        model.fit(batches, verbose=0, callbacks=[et.MaskUpdate()])
    assert pruned(model).step() == 0


@pytest.mark.parametrize("clip", [None, 1e9], ids=["plain", "clipped"])
def test_regrow_is_a_straight_through_estimate(keras, clip):
    random = np.random.RandomState(0)
    inputs, targets = random.normal(size=(8, 3)), random.normal(size=(8, 1))
    layers = keras.layers
    dense = [layers.Dense(n, use_bias=False, name=k) for k, n in (("one", 2), ("out", 1))]
    plain = keras.Sequential([layers.Input((3,)), *dense])
    model = et.wrap_for_pruning(plain, prunable=["one"], update="regrow")
    model.compile(keras.optimizers.SGD(0.1, global_clipnorm=clip), "mse")
    adapter = pruned(model)
    adapter.prepare()
    adapter.begin_schedule(0, ramp_steps=9, frequency=1)
    mask = np.array([[True, False], [False, True], [True, False]])
    latent = adapter.weights()["one/kernel"]
    adapter.write_update({"one/kernel": mask}, 0)
    for _ in range(2):
        out = adapter.all_weights()["out/kernel"]
        error = inputs @ (latent * mask) @ out - targets
        latent = latent - 0.1 * inputs.T @ (2 / 8 * error) @ out.T
        model.train_on_batch(inputs.astype(np.float32), targets.astype(np.float32))
        found = adapter.score_context().weights["one/kernel"]
        np.testing.assert_allclose(found, latent, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(adapter.weights()["one/kernel"], found * mask)
    # The end of the ramp.
    adapter.write_update({"one/kernel": mask}, 9)
    model.train_on_batch(inputs.astype(np.float32), targets.astype(np.float32))
    found = adapter.score_context().weights["one/kernel"]
    assert not found[~mask].any() and adapter.violations() == 0


def test_what_regrow_hides_is_gone_after_steps_that_nobody_attended(keras, make, batches):
    model = make("regrow")
    adapter = pruned(model)
    # As sparse as it will be, with eight steps to go, of which a bare `fit` makes the last.
    _fit(model, batches, epochs=1)
    adapter.write_update(adapter.ranked_masks(0.7), adapter.step())
    model.fit(batches, epochs=2, verbose=0)
    assert adapter._is_open()
    _fit(model, batches, epochs=1)
    assert not adapter._is_open()
    assert et.mask_sparsity(adapter.masks()) == pytest.approx(0.7, abs=1e-3)


def test_regrow_refuses_averages_of_weights(keras, make):
    model = make("regrow")
    model.compile(keras.optimizers.SGD(use_ema=True), "mse")
    with pytest.raises(et.InputError, match="use_ema=True: expected False with Regrow"):
        pruned(model).prepare()
