"""In `fit` beside pruning: other callbacks, steps of an execution, schedules that are too long."""

import re

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.layers import named_weights
from tf_earlyticket.detectors.weight_signals import FixedEpoch
from tf_earlyticket.errors import InputError, RunError
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


@pytest.mark.parametrize(
    ("patience", "place"),
    [
        (1, "before"),
        (100, "after"),
        pytest.param(1, "after", marks=pytest.mark.slow),
        pytest.param(100, "before", marks=pytest.mark.slow),
    ],
)
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


@pytest.fixture
def worse(keras):
    """A callback whose metric "badness" grows from epoch to epoch; keeps the weights of each."""

    class Worse(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.weights = []

        def on_epoch_end(self, epoch, logs=None):
            logs["badness"] = float(epoch)
            self.weights.append(pruned(self.model).weights())

    return Worse()


@pytest.mark.parametrize(
    ("place", "ramp"),
    [
        ("before", 0),
        ("after", 2),
        pytest.param("before", 2, marks=pytest.mark.slow),
        pytest.param("after", 0, marks=pytest.mark.slow),
    ],
)
def test_the_best_epoch_in_a_file_is_one_at_the_final_sparsity(
    keras, network, compiled, data, worse, place, ramp, tmp_path
):
    model = _wrapped(network, compiled)
    file = str(tmp_path / "best.weights.h5")
    best = keras.callbacks.ModelCheckpoint(
        file, "badness", mode="min", save_best_only=True, save_weights_only=True
    )
    plateau = keras.callbacks.ReduceLROnPlateau("badness", factor=0.5, patience=1, mode="min")
    ours = et.EarlyTicket(*data, detector=FixedEpoch(2), ramp_epochs=ramp, verbose=0)
    others = [worse, best, plateau]
    callbacks = [ours, *others] if place == "after" else [*others, ours]
    model.fit(data[0], validation_data=data[1], epochs=8, verbose=0, callbacks=callbacks)
    # A crash while it was dense would have left a file too.
    first = 3 + ramp
    assert best.best == first - 1
    # At the end of 2 unless it was pruned just then, and of all but the first of those that count.
    reductions = 8 - first + (ramp > 0 or place == "before")
    assert pruned(model).learning_rate() == pytest.approx(0.05 * 0.5**reductions)
    model.load_weights(file)
    _assert_final(model)
    for name, weight in pruned(model).weights().items():
        np.testing.assert_array_equal(weight, worse.weights[first - 1][name])


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
        ({"begin_step": 20, "ramp_steps": 4}, "ends at step 12, at sparsity 0.0000 .* step 24"),
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
    assert "Training stopped at sparsity 4" in caplog.text


def test_a_fit_that_reaches_its_end_says_nothing(network, compiled, data, caplog):
    model = _wrapped(network, compiled, begin_step=0, ramp_steps=6)
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.MaskUpdate()])
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.MaskUpdate()])
    assert mask_sparsity(pruned(model).masks()) == 0.75
    assert not _said(caplog)


def test_what_a_schedule_asked_for_before_the_fit_is_made_up_for(network, compiled, data, caplog):
    model = _wrapped(network, compiled, begin_step=0, ramp_steps=6)
    # Dense, past the end of the ramp.
    model.fit(data[0], epochs=2, verbose=0)
    update = et.MaskUpdate()
    model.fit(data[0], epochs=1, verbose=0, callbacks=[update])
    assert [step for step, _ in update.updates] == [12]
    _assert_final(model)
    assert not _said(caplog)


@pytest.mark.parametrize(("ranking", "size"), [("global", 1), ("layerwise", 1), ("global", 2)])
def test_each_layer_keeps_a_weight_and_thin_ones_are_named(
    keras, network, compiled, data, caplog, ranking, size
):
    schedule = et.EarlyTicketPolynomialDecay(0.999, begin_step=2, ramp_steps=0)
    wrapped = et.wrap_for_pruning(network(), schedule, ranking=ranking, group_size=size)
    model = compiled(wrapped)
    stopping = keras.callbacks.EarlyStopping("sparsity", patience=1, mode="max")
    update = et.MaskUpdate()
    callbacks = [update, stopping]
    history = model.fit(data[0], epochs=5, verbose=0, callbacks=callbacks)
    kept = [int(mask.sum()) for mask in pruned(model).masks().values()]
    assert kept == [size, size]
    (said,) = _said(caplog)
    assert said.startswith("Layers that keep less than 1 % of their weights: middle/kernel ")
    # That is the end of the schedule, whatever its number says.
    assert stopping.best_epoch == 1 and len(history.epoch) == 3
    assert len(update.updates) == 1


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("EarlyTicket", "before"),
        ("EarlyTicket", "alone"),
        ("MaskUpdate", "after"),
        ("MaskUpdate", "alone"),
        ("PPRProbe", "before"),
        pytest.param("EarlyTicket", "after", marks=pytest.mark.slow),
        pytest.param("MaskUpdate", "before", marks=pytest.mark.slow),
        pytest.param("PPRProbe", "after", marks=pytest.mark.slow),
        pytest.param("PPRProbe", "alone", marks=pytest.mark.slow),
    ],
)
def test_training_that_diverges_ends_as_others_say_or_in_an_error_of_the_run(
    keras, network, compiled, data, kind, place, caplog
):
    schedule = {"begin_step": 3, "ramp_steps": 6} if kind == "MaskUpdate" else {}
    optimizer = keras.optimizers.SGD(1e38)
    model = _wrapped(network, compiled, optimizer=optimizer, **schedule)
    ours = et.MaskUpdate() if kind == "MaskUpdate" else getattr(et, kind)(*data)
    stop = keras.callbacks.TerminateOnNaN()
    callbacks = {"before": [ours, stop], "after": [stop, ours], "alone": [ours]}[place]
    options = {"epochs": 6, "verbose": 0, "callbacks": callbacks}
    if place == "alone":
        with pytest.raises(RunError, match="Training diverged: after epoch 1 weights"):
            model.fit(data[0], **options)
        return
    assert len(model.fit(data[0], **options).epoch) == 1


@pytest.mark.parametrize("kind", ["EarlyTicket", "PPRProbe"])
def test_a_wrong_metric_is_refused_before_training(network, compiled, data, kind):
    make = getattr(et, kind)
    for monitor, words in {
        "acuracy": "monitor='acuracy': expected a metric of the model, accuracy or loss. Did you "
        "mean 'accuracy'",
        "mae": "monitor='mae': expected a metric of the model, accuracy or loss",
    }.items():
        model = _wrapped(network, compiled)
        with pytest.raises(et.InputError, match=words):
            model.fit(data[0], epochs=6, verbose=0, callbacks=[make(*data, monitor=monitor)])
        assert pruned(model).step() == 0
    with pytest.raises(et.InputError, match="mode='smallest': expected one of auto, min, max"):
        make(*data, mode="smallest")


def test_a_detector_that_never_probes_needs_no_metric(keras, network, data):
    model = et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.75))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ours = et.EarlyTicket(*data, detector=FixedEpoch(2), verbose=0)
    model.fit(data[0], epochs=6, verbose=0, callbacks=[ours])
    assert ours.start_epoch == 2
    _assert_final(model)


class Seeing(FixedEpoch):
    """Wants every probe and keeps what it is shown."""

    def reset(self):
        self.seen = []

    def wants_probe(self, epoch, signals):
        return True

    def update(self, epoch, observation):
        self.seen.append(observation)
        return super().update(epoch, observation)


@pytest.mark.parametrize("monitor", ["loss", "val_loss", "spread", "spread:max", "accuracy"])
def test_any_metric_is_read_in_its_own_direction(keras, network, data, monitor):
    model = et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.75))

    def spread(y_true, y_pred):
        return 40.0 + 0.0 * y_pred[:, 0]

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, metrics=["accuracy", spread])
    monitor, _, mode = monitor.partition(":")
    if monitor == "spread" and not mode:
        with pytest.raises(et.InputError, match="mode='auto': expected 'min' or 'max' with mon"):
            ours = et.EarlyTicket(*data, monitor=monitor)
            model.fit(data[0], epochs=6, verbose=0, callbacks=[ours])
        assert pruned(model).step() == 0
        return
    detector = Seeing(3)
    ours = et.EarlyTicket(*data, detector=detector, monitor=monitor, mode=mode or "auto", verbose=0)
    history = model.fit(data[0], epochs=6, verbose=0, callbacks=[ours]).history
    _assert_final(model)
    values = [result.observation for result in ours.probe.results]
    assert history["ppr_accuracy"][:3] == [value.ppr_accuracy for value in values]
    if monitor.endswith("loss"):
        first = values[0].dense_accuracy
        # The loss falls, and what the detector sees rises from nothing.
        assert detector.seen[0].dense_accuracy == 0 < detector.seen[2].dense_accuracy < 1
        for seen, value in zip(detector.seen, values, strict=True):
            assert seen.ppr_accuracy == pytest.approx(1 - value.ppr_accuracy / first)
        assert ours.start_reason.endswith(f"is the part of the first {monitor}, {first:.4g}, gone")
    else:
        assert [seen.ppr_accuracy for seen in detector.seen] == [v.ppr_accuracy for v in values]
        assert "gone" not in ours.start_reason


@pytest.mark.parametrize("kind", ["EarlyTicket", "PPRProbe"])
def test_masks_sparser_than_the_schedule_are_refused_before_training(network, compiled, data, kind):
    model = _wrapped(network, compiled, 0.5)
    adapter = pruned(model)
    adapter.set_masks(adapter.ranked_masks(0.8))
    with pytest.raises(et.InputError, match=r"sparsity=0.5: expected at least the present one"):
        model.fit(data[0], epochs=6, verbose=0, callbacks=[getattr(et, kind)(*data)])
    assert adapter.step() == 0


def test_a_sparsity_that_a_pattern_does_not_have_is_refused_before_training(
    network, compiled, data
):
    schedule = et.EarlyTicketPolynomialDecay(0.5)
    model = compiled(et.wrap_for_pruning(network(), schedule, structure="2:4"))
    with pytest.raises(et.InputError, match=r"sparsity=0.8: expected at most 0.5"):
        ours = et.EarlyTicket(*data, sparsity=0.8, verbose=0)
        model.fit(data[0], epochs=6, verbose=0, callbacks=[ours])
    assert pruned(model).step() == 0


@pytest.mark.parametrize(("part", "evaluations"), [(None, 2), (1.0, 2), (0.5, 3)])
def test_what_fit_has_just_evaluated_is_not_evaluated_again(
    network, compiled, make_data, monkeypatch, part, evaluations
):
    seen, results = [], []
    for known in (True, False):
        model, data = _wrapped(network, compiled), make_data()
        options = {"validation_fraction": part, "fit_validates": known}
        probe = et.PPRProbe(*data, epochs=[2], learning_rate=0.01, **options)
        kind = type(pruned(model))

        def evaluate(adapter, *given, own=kind.evaluate):
            seen.append(known)  # noqa: B023
            return own(adapter, *given)

        with monkeypatch.context() as patched:
            patched.setattr(kind, "evaluate", evaluate)
            model.fit(data[0], validation_data=data[1], epochs=2, verbose=0, callbacks=[probe])
        results.append(probe.results[0].observation)
    # One more is made before training.
    assert (seen.count(True), seen.count(False)) == (evaluations + 1, 4)
    assert results[0] == results[1]


def test_a_schedule_over_the_whole_training_needs_no_start(network, compiled, data):
    schedule = et.EarlyTicketPolynomialDecay(0.75, shape="one_cycle")
    model = compiled(et.wrap_for_pruning(network(), schedule))
    early_ticket = et.EarlyTicket(*data, verbose=0)
    history = model.fit(
        data[0], epochs=6, steps_per_epoch=6, shuffle=False, verbose=0, callbacks=[early_ticket]
    ).history
    adapter = pruned(model)
    assert et.mask_sparsity(adapter.masks()) == 0.75 and adapter.violations() == 0
    assert early_ticket.start_epoch == 0 and early_ticket.probe.results == []
    assert early_ticket.plan.hold_epochs == 1 and adapter.sparsity_schedule().end_step == 30
    sparsities = history["sparsity"]
    assert sparsities == sorted(sparsities) and 0 < sparsities[0] < 0.2 < sparsities[2] < 0.75
    assert sparsities[-2:] == [0.75, 0.75]
    # The initial weights, whole.
    kernel = adapter.record.rewind_weights["middle/kernel"]
    assert adapter.record.rewind_epoch == 0 and np.count_nonzero(kernel) == kernel.size


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_learning_rate_begins_anew_after_the_ramp(keras, network, compiled, data, scheduled):
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 1000, 0.5) if scheduled else 0.05
    schedule = et.EarlyTicketPolynomialDecay(0.5, begin_step=2, ramp_steps=8)
    model = compiled(et.wrap_for_pruning(network(), schedule), keras.optimizers.SGD(rate))
    adapter, rates, within = pruned(model), [], []

    def note_rate(batch, logs):
        (within if batch else rates).append(adapter.learning_rate())

    note = keras.callbacks.LambdaCallback(on_train_batch_begin=note_rate)
    options = {"steps_per_epoch": 6, "shuffle": False, "verbose": 0}
    restart = [et.MaskUpdate(), et.LearningRateRestart(0.04), note]
    train = data[0].repeat()
    history = model.fit(train, epochs=6, callbacks=restart, **options).history
    np.testing.assert_allclose(history["learning_rate"], rates, rtol=1e-6)
    np.testing.assert_allclose(rates[2:], [0.04, 0.03, 0.02, 0.01], rtol=1e-5)
    np.testing.assert_allclose(rates[:2], [0.05, 0.05], rtol=0.01)
    np.testing.assert_allclose(within[:10], 0.05, rtol=0.01)
    # Of the last epoch, in parts of a twentieth.
    parts = np.array([3, 6, 10, 13, 16]) / 20
    np.testing.assert_allclose(within[-5:], 0.01 * (1 - parts), rtol=1e-5)
    assert et.mask_sparsity(adapter.masks()) == 0.5 and adapter.violations() == 0
    if scheduled:
        adapter.prepare()
        assert adapter.learning_rate() == pytest.approx(0.05 * 0.5 ** (36 / 1000), rel=1e-4)
        adapter.finish()
    # A dense network with the same rates.
    rates.clear()
    model = compiled(et.wrap_for_pruning(network(), schedule), keras.optimizers.SGD(0.05))
    adapter = pruned(model)
    model.fit(train, epochs=4, callbacks=[et.LearningRateRestart(end_step=6), note], **options)
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.05 * 2 / 3, 0.05 / 3], rtol=1e-5)


def test_a_final_ticket_that_is_compiled_anew_trains_on(network, compiled, data):
    schedule = et.EarlyTicketPolynomialDecay(0.5, begin_step=6, ramp_steps=12)
    model = compiled(et.wrap_for_pruning(network(), schedule))
    model.fit(data[0], epochs=4, verbose=0, callbacks=[et.MaskUpdate()])
    compiled(model)
    model.fit(data[0], epochs=1, verbose=0, callbacks=[et.EarlyTicket(*data, verbose=0)])
    assert et.mask_sparsity(pruned(model).masks()) == 0.5 and pruned(model).violations() == 0


def test_rates_of_zero_and_epochs_of_unknown_length_are_told_in_a_line(
    keras, network, compiled, data
):
    warm_up = keras.optimizers.schedules.PolynomialDecay(0.0, 10, 0.1)
    model = compiled(et.wrap_for_pruning(network()), keras.optimizers.SGD(warm_up))
    for callback, words in (
        (et.PPRProbe(*data), "learning_rate=None: expected one above 0, in et.EarlyTicket"),
        (et.LearningRateRestart(), "learning_rate=None: expected one above 0"),
    ):
        with pytest.raises(InputError, match=words):
            model.fit(data[0], epochs=2, verbose=0, callbacks=[et.MaskUpdate(), callback])
    model = compiled(et.wrap_for_pruning(network()))
    unknown = data[0].filter(lambda inputs, labels: True)
    with pytest.raises(InputError, match="steps_per_epoch=None: expected it in fit"):
        callbacks = [et.MaskUpdate(), et.LearningRateRestart()]
        model.fit(unknown, epochs=2, verbose=0, callbacks=callbacks)


def test_detectors_may_look_back_farther_than_usual(network, compiled, data):
    schedule = et.EarlyTicketPolynomialDecay(0.5, ramp_steps=2)
    model = compiled(et.wrap_for_pruning(network(), schedule))
    detector = et.MaskDistance(0.99, window=7)
    ticket = et.EarlyTicket(*data, detector=detector, hold_epochs=1, verbose=0)
    model.fit(data[0], epochs=11, verbose=0, callbacks=[ticket])
    assert ticket.start_epoch == 7 and ticket.detected
