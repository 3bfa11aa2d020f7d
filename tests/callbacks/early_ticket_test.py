"""EarlyTicket: whatever the probes say, `fit` ends at exactly the final sparsity."""

import csv
import logging

import numpy as np
import pytest
from small import Interrupt, StartAt, data, masks, plain_model, wrapped_model, zeros
from small import pruned as pruned_count

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras


def _early_ticket(epoch=None, **options):
    options = {"detector": StartAt(epoch), "probe_every": 1, "verbose": 0, **options}
    return et.EarlyTicket(data(), data(3, seed=1), **options)


def _assert_same_weights(one, other):
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def _example(my_model, train, val, epochs, directory):
    """Runs the lines of the README and INTERFACE as they stand there."""
    optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = et.wrap_for_pruning(my_model, et.EarlyTicketPolynomialDecay(final_sparsity=0.8))
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(train, validation_data=val, epochs=epochs, callbacks=[et.EarlyTicket(train, val)])
    et.export_ticket(model, directory)
    return model


def test_the_example_of_the_readme_works_and_leaves_the_users_model_alone(tmp_path):
    my_model = plain_model()
    before = my_model.get_weights()
    model = _example(my_model, data(), data(3, seed=1), 6, tmp_path / "ticket")
    assert zeros(model) == pruned_count(0.8)
    for old, new in zip(before, my_model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    ticket = et.Ticket.load(tmp_path / "ticket")
    assert ticket.rewind_epoch == 0 and ticket.start_epoch is not None
    # The rewind weights are the user's: training started from a copy of the model.
    np.testing.assert_array_equal(ticket.rewind_weights["stem/kernel"], before[0])


@pytest.mark.slow
def test_the_example_of_the_readme_works_with_mobilenet(tmp_path):
    keras.utils.set_random_seed(1)
    my_model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=3)

    def colour(image, label):
        return keras.backend.repeat_elements(image, 3, axis=-1)[:, :, :, :], label

    def enlarge(image, label):
        return keras.backend.resize_images(image, 4, 4, "channels_last"), label

    train = data(2).map(colour).map(enlarge)
    model = _example(my_model, train, train, 3, tmp_path / "ticket")
    ticket = et.Ticket.load(tmp_path / "ticket")
    total = sum(mask.size for mask in ticket.masks.values())
    kept = sum(int(mask.sum()) for mask in ticket.masks.values())
    assert kept == round(total * 0.2) and len(ticket.masks) > 30
    assert model.count_params() > total


@pytest.mark.parametrize(("epochs", "steps", "known"), [(3, 1, True), (4, 3, False), (7, 2, True)])
def test_without_saturation_pruning_starts_at_the_last_epoch_and_ends_exactly(epochs, steps, known):
    model, early_ticket = wrapped_model(), _early_ticket()
    train = data(steps, known=known)
    history = model.fit(train, epochs=epochs, callbacks=[early_ticket], verbose=0)
    latest = early_ticket.plan.latest_start_epoch
    assert early_ticket.start_epoch == latest
    assert not early_ticket.detected
    assert early_ticket.start_reason.startswith(f"no saturation seen by epoch {latest}, the last")
    assert f"% at epoch {latest}, the latest probe" in early_ticket.start_reason
    assert zeros(model) == pruned_count()
    assert history.history["sparsity"][-1] == 0.75
    assert history.history["sparsity"][latest - 1] == 0
    schedule = early_ticket.adapter.sparsity_schedule()
    # Where Keras finds the end of the data by running into it, it may count one step too many.
    assert schedule.begin_step == latest * steps or not known
    assert schedule.end_step == schedule.begin_step + early_ticket.plan.ramp_epochs * steps
    updates = [step for step, _ in early_ticket.mask_update.updates]
    assert schedule.begin_step < updates[0] and updates[-1] == schedule.end_step


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_pruning_starts_where_the_detector_says_and_no_probe_follows(epoch):
    detector = StartAt(epoch)
    model, early_ticket = wrapped_model(), _early_ticket(detector=detector)
    history = model.fit(data(), epochs=7, callbacks=[early_ticket], verbose=0).history
    assert (early_ticket.start_epoch, early_ticket.detected) == (epoch, True)
    assert early_ticket.start_reason == f"saturated: looked at epoch {epoch}"
    assert detector.seen == list(range(1, epoch + 1))
    assert np.isfinite(history["ppr_accuracy"]).tolist() == [e <= epoch for e in range(1, 8)]
    assert zeros(model) == pruned_count()
    assert early_ticket.statistics.history["epochs"] == list(range(1, 8))


def test_the_default_plan_keeps_to_its_budget_and_detects_with_ppr():
    model = wrapped_model()
    early_ticket = et.EarlyTicket(data(), data(3, seed=1), verbose=0)
    model.fit(data(), epochs=8, callbacks=[early_ticket], verbose=0)
    assert isinstance(early_ticket.detector, et.PPRSaturation)
    assert early_ticket.detector.lead_epochs == 2
    assert early_ticket.plan.ramp_epochs == 2 and early_ticket.plan.hold_epochs == 1
    assert early_ticket.probe.epochs == (1, 2, 3, 4, 5)
    assert early_ticket.probe.fraction == pytest.approx(0.05 * 8 / 5)


def test_where_training_ends_at_the_start_no_ramp_is_weighed():
    early_ticket = et.EarlyTicket(data(), data(3, seed=1), stop_at_start=True, verbose=0)
    early_ticket.set_model(wrapped_model())
    early_ticket.set_params({"epochs": 8, "steps": 3})
    early_ticket.on_train_begin()
    assert early_ticket.plan.ramp_epochs == 2 and early_ticket.detector.lead_epochs == 0


@pytest.mark.parametrize(
    ("epochs", "options", "schedule", "message"),
    [
        (2, {}, {}, "epochs=2: expected an integer of at least 3, "),
        (5, {"ramp_epochs": 5}, {}, "epochs=5: expected an integer of at least 7, "),
        (5, {"rewind_epoch": 3}, {}, "rewind_epoch=3: expected an integer from 0 to 2"),
        (5, {"rewind_epoch": -1}, {}, "rewind_epoch=-1"),
        (5, {"probe_first": 4}, {}, "probe_first=4: expected an integer from 1 to 3"),
        (5, {}, {"ramp_steps": 21}, "epochs=5: expected an integer of at least 7"),
    ],
)
def test_what_cannot_work_is_refused_before_training(epochs, options, schedule, message):
    model = wrapped_model(et.EarlyTicketPolynomialDecay(0.75, **schedule))
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(et.InputError, match=message):
        model.fit(data(), epochs=epochs, callbacks=[_early_ticket(**options)], verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_frequency_between_two_calls_of_keras_is_refused_before_training():
    schedule = et.EarlyTicketPolynomialDecay(0.75, frequency=3)
    model = wrapped_model(schedule, steps_per_execution=2)
    with pytest.raises(et.InputError, match=r"frequency=3: .*steps_per_execution=2"):
        model.fit(data(), epochs=5, callbacks=[_early_ticket()], verbose=0)
    assert int(model.optimizer.iterations) == 0


def test_a_late_initial_epoch_is_refused_and_the_last_possible_one_ends_exactly():
    with pytest.raises(et.InputError, match="initial_epoch=4: .*expected at most 3"):
        wrapped_model().fit(
            data(),
            epochs=6,
            initial_epoch=4,
            callbacks=[_early_ticket(ramp_epochs=2, hold_epochs=0)],
            verbose=0,
        )
    model = wrapped_model()
    early_ticket = _early_ticket(ramp_epochs=2, hold_epochs=0)
    model.fit(data(), epochs=6, initial_epoch=3, callbacks=[early_ticket], verbose=0)
    assert zeros(model) == pruned_count() and early_ticket.start_epoch == 4


def test_the_users_ramp_and_frequency_are_kept():
    schedule = et.EarlyTicketPolynomialDecay(0.75, ramp_steps=7, frequency=2)
    model, early_ticket = wrapped_model(schedule), _early_ticket(1)
    model.fit(data(), epochs=5, callbacks=[early_ticket], verbose=0)
    assert [step for step, _ in early_ticket.mask_update.updates] == [7, 9, 11, 12]
    assert zeros(model) == pruned_count()


def test_ramp_epochs_zero_is_one_shot():
    model, early_ticket = wrapped_model(), _early_ticket(2, ramp_epochs=0)
    model.fit(data(), epochs=4, callbacks=[early_ticket], verbose=0)
    assert early_ticket.mask_update.updates == [(10, 0.75)]
    assert zeros(model) == pruned_count()


def test_several_steps_per_execution_end_exactly():
    model, early_ticket = wrapped_model(steps_per_execution=2), _early_ticket(2)
    model.fit(data(), epochs=5, callbacks=[early_ticket], verbose=0)
    assert zeros(model) == pruned_count()


def test_stop_at_start_calls_before_start_and_leaves_the_network_dense(caplog):
    started = []
    model = wrapped_model()
    early_ticket = _early_ticket(2, stop_at_start=True, before_start=started.append)
    history = model.fit(data(), epochs=6, callbacks=[early_ticket], verbose=0)
    assert started == [2] and len(history.epoch) == 2 and zeros(model) == 0
    assert not caplog.records


def test_the_rewind_weights_are_those_after_the_rewind_epoch():
    one = wrapped_model()
    one.fit(data(), epochs=2, verbose=0)
    two = wrapped_model()
    two.fit(data(), epochs=5, callbacks=[_early_ticket(1, rewind_epoch=2)], verbose=0)
    record = pruned(two).record
    assert record.rewind_epoch == 2
    # Saturation at epoch 1 came too early for these weights.
    assert record.start_epoch == 3
    np.testing.assert_allclose(
        record.rewind_weights["stem/kernel"], one.get_weights()[0], atol=1e-6
    )


def test_a_second_fit_goes_on_sparse_and_keeps_the_tickets_weights():
    model, early_ticket = wrapped_model(), _early_ticket(1)
    model.fit(data(), epochs=4, callbacks=[early_ticket], verbose=0)
    weights = pruned(model).record.rewind_weights
    kept = masks(model)
    history = model.fit(data(), epochs=2, callbacks=[early_ticket], verbose=0)
    assert history.history["sparsity"] == [0.75, 0.75]
    assert pruned(model).record.rewind_weights is weights
    assert pruned(model).record.start_epoch == 1
    assert early_ticket.probe.results == [] and early_ticket.start_epoch is None
    for name, mask in masks(model).items():
        np.testing.assert_array_equal(mask, kept[name])


def test_a_fit_that_would_end_within_the_ramp_is_refused():
    model = wrapped_model(et.EarlyTicketPolynomialDecay(0.75, begin_step=0, ramp_steps=20))
    with pytest.raises(et.InputError, match="epochs=3: .*end at step 15, before .*step 20"):
        model.fit(data(), epochs=3, callbacks=[_early_ticket()], verbose=0)


def test_stopping_early_is_said(caplog):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    with caplog.at_level(logging.WARNING):
        wrapped_model().fit(data(), epochs=6, callbacks=[_early_ticket(3), Stop()], verbose=0)
    assert "at sparsity 0.0 % (0.0 % of all kernels), before the final one." in caplog.text


def test_callbacks_behind_it_see_its_logs_and_save_sparse_weights(tmp_path):
    model = wrapped_model()
    callbacks = [
        _early_ticket(2),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.EarlyStopping("val_loss", patience=100),
    ]
    model.fit(data(), validation_data=data(3, seed=1), epochs=5, callbacks=callbacks, verbose=0)
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["sparsity"]) for row in rows][-1] == 0.75
    assert [row["ppr_accuracy"] != "nan" for row in rows] == [True, True, False, False, False]
    restored = wrapped_model(seed=2)
    restored.load_weights(tmp_path / "5.weights.h5")
    assert zeros(restored) == pruned_count()


@pytest.mark.parametrize(
    ("epoch", "batch"), [(2, None), (3, 2), (4, None), (4, 1)], ids=["before", "at", "in", "mid"]
)
def test_a_fit_interrupted_and_restored_by_keras_ends_exactly(tmp_path, epoch, batch):
    def fit(*callbacks):
        # Last, so that it saves what the callbacks before it did.
        backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
        early_ticket = _early_ticket(3)
        model = wrapped_model()
        try:
            model.fit(data(), epochs=7, callbacks=[early_ticket, *callbacks, backup], verbose=0)
        except KeyboardInterrupt:
            return None, None
        return model, early_ticket

    fit(Interrupt(epoch, batch))
    model, early_ticket = fit()
    assert zeros(model) == pruned_count()
    schedule = early_ticket.adapter.sparsity_schedule()
    assert schedule.begin_step == 15 and schedule.end_step == 20


def test_its_state_continues_an_interrupted_search(tmp_path):
    whole, uninterrupted = wrapped_model(), _early_ticket(3)
    whole.fit(data(), epochs=6, callbacks=[uninterrupted], verbose=0)

    model, first = wrapped_model(), _early_ticket(3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data(), epochs=6, callbacks=[first, Interrupt(2)], verbose=0)
    state = first.get_state()
    detector = StartAt(3)
    second = _early_ticket(detector=detector)
    second.set_state(state)
    model.fit(data(), epochs=6, initial_epoch=2, callbacks=[second], verbose=0)
    assert detector.seen == [1, 2, 3]
    assert second.start_epoch == 3 and second.start_reason == uninterrupted.start_reason
    seen = [result.observation for result in second.probe.results]
    assert seen == [result.observation for result in uninterrupted.probe.results]
    assert second.statistics.history["epochs"] == [1, 2, 3, 4, 5, 6]
    assert second.mask_update.updates == uninterrupted.mask_update.updates


def test_its_state_continues_a_ramp_and_the_tickets_record():
    model, first = wrapped_model(), _early_ticket(2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(data(), epochs=6, callbacks=[first, Interrupt(3)], verbose=0)
    state = first.get_state()
    pruned(model).record.start_epoch = None
    second = _early_ticket(2)
    second.set_state(state)
    model.fit(data(), epochs=6, initial_epoch=3, callbacks=[second], verbose=0)
    assert zeros(model) == pruned_count()
    assert pruned(model).record.start_epoch == 2
    assert second.get_state().probes == state.probes
    assert second.get_state().probe_fraction == state.probe_fraction


def test_other_schedules_and_plain_models_are_refused():
    from tf_earlyticket.backends.tf_keras.compat import tfmot

    model = wrapped_model(tfmot.sparsity.keras.ConstantSparsity(0.5, 0))
    with pytest.raises(et.InputError, match="ConstantSparsity.*EarlyTicketPolynomialDecay"):
        model.fit(data(), epochs=4, callbacks=[_early_ticket()], verbose=0)
    model = plain_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(et.InputError, match="wrap_for_pruning"):
        model.fit(data(), epochs=4, callbacks=[_early_ticket()], verbose=0)
