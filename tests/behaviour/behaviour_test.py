"""What holds under every Keras: exact sparsity, probes without a trace, restart, tickets."""

import dataclasses

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.deploy.artefacts import make_artefacts
from tf_earlyticket.deploy.weight_tables import weight_table
from tf_earlyticket.detectors.base import Decision
from tf_earlyticket.paper.memorization import random_labels
from tf_earlyticket.pruning.masks import kept_count

KERNELS = {"middle/kernel": (3, 3, 4, 8), "last_conv/kernel": (3, 3, 8, 8)}
SIZE = sum(int(np.prod(shape)) for shape in KERNELS.values())


class Never:
    """A detector that never sees saturation."""

    name = "Never"

    def reset(self):
        """Has no state."""

    def wants_probe(self, epoch, signals):
        return True

    def update(self, epoch, observation):
        return Decision(False, "never")


def _kept(model):
    return sum(int(mask.sum()) for mask in pruned(model).masks().values())


def _equal(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def _masks(sparsity):
    random = np.random.RandomState(7)
    return {name: random.uniform(size=shape) > sparsity for name, shape in KERNELS.items()}


def test_wrapping_copies_and_chooses_what_the_paper_prunes(network):
    plain = network()
    before = [np.asarray(w) for w in plain.get_weights()]
    model = et.wrap_for_pruning(plain)
    adapter = pruned(model)
    assert {name: mask.shape for name, mask in adapter.masks().items()} == KERNELS
    adapter.set_masks(_masks(0.5))
    for old, new in zip(before, plain.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    chosen = et.wrap_for_pruning(plain, prunable=["classifier"])
    assert list(pruned(chosen).masks()) == ["classifier/kernel"]
    with pytest.raises(et.InputError, match="prunable='midle'.*'middle'"):
        et.wrap_for_pruning(plain, prunable=["midle"])
    with pytest.raises(et.InputError, match="wrapped for pruning already"):
        et.wrap_for_pruning(model)


def test_gradients_of_pruned_weights_do_not_count_in_their_norm(keras, network, compiled, examples):
    limit = 1e-3
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=limit)
    model = compiled(et.wrap_for_pruning(network()), optimizer)
    adapter = pruned(model)
    adapter.prepare()
    adapter.set_masks(_masks(0.7))
    before = [np.array(weight) for weight in model.trainable_variables]
    model.train_on_batch(*examples)
    after = [np.array(weight) for weight in model.trainable_variables]
    change = [new - old for new, old in zip(after, before, strict=True)]
    # All of the allowed norm reaches weights that are kept, but for rounding.
    norm = np.sqrt(sum(np.sum(np.square(part, dtype=np.float64)) for part in change))
    assert norm == pytest.approx(limit, rel=1e-3)


@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_a_schedule_prunes_to_exact_counts(network, compiled, data, steps_per_execution):
    schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=2, ramp_steps=8, frequency=4)
    model = et.wrap_for_pruning(network(), schedule)
    compiled(model, steps_per_execution=steps_per_execution)
    update = et.MaskUpdate()
    model.fit(data[0], epochs=3, callbacks=[update], verbose=0)
    assert [step for step, _ in update.updates] == [6, 10]
    assert _kept(model) == kept_count(SIZE, 0.75)
    adapter = pruned(model)
    assert adapter.violations() == 0 and adapter.step() == 18


def _train(network, compiled, data, callbacks, epochs=4, optimizer=None):
    model = compiled(et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.75)), optimizer)
    history = model.fit(
        data[0], validation_data=data[1], epochs=epochs, callbacks=callbacks, verbose=0
    )
    return model, history


@pytest.mark.parametrize("rate", ["constant", "schedule"])
def test_a_probe_leaves_no_trace(keras, network, compiled, make_data, rate):
    def optimizer():
        rates = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.9)
        return keras.optimizers.SGD(0.05 if rate == "constant" else rates, momentum=0.9)

    # A data set of each: a shuffle goes on where its last iteration ended.
    data = make_data()
    probe = et.PPRProbe(*data)
    probed, one = _train(network, compiled, data, [probe], optimizer=optimizer())
    plain, other = _train(network, compiled, make_data(), [], optimizer=optimizer())
    _equal(pruned(probed).all_weights(), pruned(plain).all_weights())
    for name, values in other.history.items():
        assert one.history[name] == values, name
    assert [result.epoch for result in probe.results] == [1, 2, 3, 4]
    assert all(result.cost_epochs == 1 for result in probe.results)
    accuracies = [result.observation.ppr_accuracy for result in probe.results]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies)
    assert pruned(probed).step() == pruned(plain).step() == 24
    assert pruned(probed).learning_rate() == pruned(plain).learning_rate()


def test_a_metric_that_is_never_reset_sees_no_probe(keras, network, compiled, data):
    class Batches(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="batches")
            self.seen = self.add_weight(name="seen", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.seen.assign_add(1.0)

        def result(self):
            return self.seen + 0.0

        def reset_state(self):
            pass

    model = et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.75))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy", Batches()])
    history = model.fit(data[0], epochs=4, verbose=0, callbacks=[et.PPRProbe(*data)]).history
    assert history["batches"] == [6, 12, 18, 24]


def test_the_six_lines_end_at_the_final_sparsity(network, compiled, data):
    callback = et.EarlyTicket(*data, detector=Never(), verbose=0)
    model, history = _train(network, compiled, data, [callback], epochs=8)
    assert callback.start_epoch == callback.plan.latest_start_epoch and not callback.detected
    assert _kept(model) == kept_count(SIZE, 0.75)
    assert history.history["sparsity"][-1] == pytest.approx(0.75, abs=0.01)
    assert history.history["sparsity"][callback.start_epoch - 1] < 0.75


def test_the_retrained_probe_really_trains(network, compiled, data):
    model = compiled(et.wrap_for_pruning(network()))
    adapter = pruned(model)
    adapter.prepare()
    before = adapter.all_weights()
    with pytest.raises(KeyError), adapter.sandbox():
        adapter.set_masks(_masks(0.5))
        adapter.set_learning_rate(0.01)
        assert adapter.learning_rate() == pytest.approx(0.01)
        assert adapter.train(data[0], 4) == 4 and adapter.step() == 4
        assert adapter.train(data[0], 99) == 6
        assert np.any(adapter.weights()["middle/kernel"] != before["middle/kernel"])
        assert set(adapter.evaluate(data[1])) == {"loss", "accuracy"}
        raise KeyError
    _equal(adapter.all_weights(), before)
    assert all(mask.all() for mask in adapter.masks().values())
    assert adapter.step() == 0 and adapter.learning_rate() == pytest.approx(0.05)


def test_masks_survive_another_compile(keras, network, compiled, data):
    model, _ = _train(network, compiled, data, [et.MaskUpdate()], epochs=1)
    pruned(model).set_masks(_masks(0.6))
    compiled(model, keras.optimizers.Adam(0.01))
    model.fit(data[0], epochs=1, callbacks=[et.MaskUpdate()], verbose=0)
    _equal(pruned(model).masks(), _masks(0.6))
    assert pruned(model).violations() == 0


def test_an_interrupted_fit_continues(network, compiled, data):
    def begin():
        schedule = et.EarlyTicketPolynomialDecay(0.75, begin_step=2, ramp_steps=8, frequency=4)
        return compiled(et.wrap_for_pruning(network(), schedule))

    whole, parts = begin(), begin()
    # The same examples in every epoch: the order is not what is tested.
    fixed = data[1].cache()
    whole.fit(fixed, epochs=4, callbacks=[et.MaskUpdate()], verbose=0)
    for first in (0, 2):
        update = et.MaskUpdate()
        parts.fit(fixed, epochs=first + 2, initial_epoch=first, callbacks=[update], verbose=0)
    _equal(pruned(whole).all_weights(), pruned(parts).all_weights())
    _equal(pruned(whole).masks(), pruned(parts).masks())


def test_a_ticket_comes_back_and_trains(network, compiled, data, examples, tmp_path):
    callback = et.EarlyTicket(*data, detector=Never(), verbose=0)
    model, _ = _train(network, compiled, data, [callback], epochs=8)
    ticket = et.export_ticket(model, tmp_path / "ticket")
    loaded = et.Ticket.load(tmp_path / "ticket")
    assert loaded.sparsity == ticket.sparsity == pytest.approx(0.75, abs=0.01)
    _equal(loaded.masks, pruned(model).masks())
    # The initial weights, from before its first step.
    fresh = pruned(et.wrap_for_pruning(network())).all_weights()
    _equal(loaded.rewind_weights, fresh)

    import tensorflow as tf

    saved_model = tf.saved_model.load(str(tmp_path / "ticket/saved_model"))
    served = saved_model.serve(examples[0][:4])
    plain = et.strip_pruning(model)
    expected = np.asarray(plain(examples[0][:4], training=False))
    np.testing.assert_allclose(np.asarray(served), expected, rtol=1e-4, atol=1e-5)

    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "ticket/saved_model"))
    assert converter.convert()

    again = compiled(et.wrap_for_pruning(network(seed=2), et.EarlyTicketPolynomialDecay(0.75)))
    et.rewind(again, loaded)
    _equal(pruned(again).masks(), loaded.masks)
    for name, mask in loaded.masks.items():
        np.testing.assert_array_equal(pruned(again).weights()[name], fresh[name] * mask)
    again.fit(data[0], epochs=2, callbacks=[et.MaskUpdate()], verbose=0)
    _equal(pruned(again).masks(), loaded.masks)
    assert pruned(again).violations() == 0


def test_the_saved_model_holds_each_weight_once(network, tmp_path):
    model = et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.5))
    pruned(model).set_masks(pruned(model).ranked_masks(0.5))
    ticket = et.export_ticket(model, tmp_path / "ticket")
    _, rows = weight_table(tmp_path / "ticket" / "saved_model")
    shapes = [list(weight.shape) for weight in ticket.final_weights.values()]
    # What random numbers come from is no weight.
    assert sorted(r["shape"] for r in rows if r["dtype"] == "float32") == sorted(shapes)


def test_a_ticket_serves_pictures_as_they_are(network, compiled, data, tmp_path):
    import tensorflow as tf

    model, _ = _train(network, compiled, data, [et.MaskUpdate()], epochs=1)
    pruned(model).set_masks(_masks(0.6))
    pictures = et.Pictures([8, 8, 1], [100], [50], ["one", "two", "three"])
    et.export_ticket(model, tmp_path / "ticket", pictures=pictures)
    assert et.Ticket.load(tmp_path / "ticket").input == pictures
    given = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    loaded = tf.saved_model.load(str(tmp_path / "ticket/saved_model"))
    served = loaded.serve_pictures(given)
    assert [name.decode() for name in served["classes"].numpy()] == pictures.classes
    inputs = ((given - 100.0) / 50.0).astype(np.float32)
    logits = np.asarray(et.strip_pruning(model)(inputs, training=False))
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(served["probabilities"], expected, rtol=1e-4, atol=1e-5)
    signature = loaded.signatures["serve_pictures"](pictures=tf.constant(given))
    np.testing.assert_array_equal(signature["probabilities"], served["probabilities"])
    np.testing.assert_allclose(loaded.serve(inputs), logits, rtol=1e-4, atol=1e-5)
    for wrong, match in (
        ({"shape": [9, 8, 1]}, r"pictures.shape=.*expected \[8, 8, 1\]"),
        ({"classes": ["one"]}, r"pictures.classes=.*expected \[3\]"),
    ):
        with pytest.raises(et.InputError, match=match):
            changed = dataclasses.replace(pictures, **wrong)
            et.export_ticket(model, tmp_path / "ticket", pictures=changed)
    assert et.Ticket.load(tmp_path / "ticket").input == pictures


def test_a_ticket_becomes_files_of_other_runtimes(network, compiled, data, examples, tmp_path):
    for package in ("tf2onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    model, _ = _train(network, compiled, data, [et.MaskUpdate()], epochs=1)
    pruned(model).set_masks(_masks(0.6))
    et.export_ticket(model, tmp_path / "ticket")
    result = make_artefacts(
        tmp_path / "ticket",
        ["onnx", "onnx_int8", "openvino", "openvino_int8"],
        tmp_path / "out",
        calibration=examples[0],
        rounds=1,
    )
    for item in result["artefacts"]:
        assert item["relative_error"] < (0.3 if "int8" in item["format"] else 1e-4)
        assert item["zeros"] >= SIZE - kept_count(SIZE, 0.6)


def test_a_ticket_of_another_network_is_refused(keras, network, compiled, data, tmp_path):
    model, _ = _train(network, compiled, data, [et.MaskUpdate()], epochs=1)
    pruned(model).set_masks(_masks(0.6))
    ticket = et.export_ticket(model, tmp_path / "ticket")
    layers = keras.layers
    other = keras.Sequential(
        [layers.Input((8, 8, 1)), *(layers.Conv2D(4, 3, name=name) for name in "abc")]
    )
    wrapped = et.wrap_for_pruning(other)
    before = pruned(wrapped).all_weights()
    with pytest.raises(et.InputError, match="do not have the same prunable weights"):
        et.rewind(wrapped, ticket)
    _equal(pruned(wrapped).all_weights(), before)


def test_wrong_input_is_said_before_training(network, compiled, data):
    plain = compiled(network())
    with pytest.raises(et.InputError, match="expected a model returned by wrap_for_pruning"):
        plain.fit(data[0], epochs=6, callbacks=[et.EarlyTicket(*data)], verbose=0)
    model = compiled(et.wrap_for_pruning(network()))
    with pytest.raises(et.InputError, match="epochs"):
        model.fit(data[0], epochs=2, callbacks=[et.EarlyTicket(*data)], verbose=0)
    with pytest.raises(et.InputError, match="shape"):
        wrong = data[0].map(lambda x, y: (x[:, 1:], y))
        model.fit(data[0], epochs=6, callbacks=[et.EarlyTicket(wrong, data[1])], verbose=0)


def test_mixed_precision_keeps_pruned_weights_at_zero(bfloat16, network, compiled, data, tmp_path):
    model, _ = _train(network, compiled, data, [et.PPRProbe(*data)], epochs=2)
    pruned(model).set_masks(_masks(0.6))
    model.fit(data[0], epochs=1, callbacks=[et.MaskUpdate()], verbose=0)
    adapter = pruned(model)
    assert adapter.violations() == 0
    assert all(weight.dtype == np.float32 for weight in adapter.weights().values())
    et.export_ticket(model, tmp_path / "ticket")


def test_memorization_is_measured_on_a_sparse_copy(network, examples):
    images, _ = examples
    model = et.wrap_for_pruning(network())
    before = [np.array(weight) for weight in model.get_weights()]
    options = {"num_classes": 2, "epochs": 40, "batch_size": 16}
    dense = et.memorization_capacity(model, images[:32], **options)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    # Blind, it can learn no more than the most frequent label.
    pruned(model).set_masks({name: np.zeros(shape, bool) for name, shape in KERNELS.items()})
    blind = et.memorization_capacity(model, images[:32], **options)
    assert blind == np.bincount(random_labels(32, 2, 0)).max() / 32 < 0.7
    assert dense > 0.85
