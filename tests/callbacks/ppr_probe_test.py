"""PPRProbe: what it measures, what it costs, and that it leaves no trace."""

import math

import numpy as np
import pytest
from small import data, masks, wrapped_model

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras


def _values(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


def _assert_same(before, after):
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_results_and_logs_hold_the_probed_epochs():
    model, probe = wrapped_model(), et.PPRProbe(data(), data(3, seed=1), epochs=[1, 3])
    history = model.fit(data(), epochs=3, callbacks=[probe], verbose=0).history
    assert [result.epoch for result in probe.results] == [1, 3]
    logged = history["ppr_accuracy"]
    assert math.isnan(logged[1])
    assert logged[0::2] == [result.observation.ppr_accuracy for result in probe.results]
    for result in probe.results:
        assert result.cost_epochs == 1.0 and result.seconds > 0


def test_the_probed_accuracies_are_those_of_doing_it_by_hand():
    model = wrapped_model(optimizer=keras.optimizers.SGD(0.05))
    validation = data(3, seed=1)
    probe = et.PPRProbe(data(), validation, epochs=[2], learning_rate=0.02)
    model.fit(data(), epochs=2, callbacks=[probe], verbose=0)
    observation = probe.results[0].observation

    def accuracy():
        return model.evaluate(validation, verbose=0, return_dict=True)["accuracy"]

    assert observation.dense_accuracy == pytest.approx(accuracy())
    wrappers = [layer for layer in model.layers if hasattr(layer, "pruning_vars")]
    kernels = {wrapper.name: wrapper.layer.kernel for wrapper in wrappers}
    kept = et.global_masks({name: kernel.numpy() for name, kernel in kernels.items()}, 0.75)
    for wrapper in wrappers:
        kernel, mask, _ = wrapper.pruning_vars[0]
        kernel.assign(kernel * kept[wrapper.name])
        mask.assign(kept[wrapper.name])
    assert observation.pruned_accuracy == pytest.approx(accuracy())
    model.optimizer.learning_rate = 0.02
    model.fit(data(), epochs=1, verbose=0)
    assert observation.ppr_accuracy == pytest.approx(accuracy())


def test_a_probe_that_diverges_is_recorded_as_such_and_starts_nothing(caplog):
    model, validation = wrapped_model(), data(3, seed=1)
    early_ticket = et.EarlyTicket(data(), validation, probe_learning_rate=1e30, verbose=0)
    history = model.fit(data(), epochs=10, callbacks=[early_ticket], verbose=0).history
    results = early_ticket.probe.results
    assert results and all(result.diverged for result in results)
    assert all(result.observation.ppr_accuracy is None for result in results)
    assert all(0 <= result.observation.pruned_accuracy <= 1 for result in results)
    assert np.isnan(history["ppr_accuracy"]).all() and np.isfinite(history["loss"]).all()
    # Nothing was seen, so pruning starts when it has to, and ends as it should.
    assert not early_ticket.detected and "diverged" in early_ticket.start_reason
    assert early_ticket.start_epoch == early_ticket.plan.latest_start_epoch
    assert history["sparsity"][-1] == pytest.approx(0.75, abs=0.01)
    assert "probe at epoch 1 diverged" in caplog.text


def test_a_probe_changes_nothing_and_neither_does_one_that_fails():
    model = wrapped_model(optimizer=keras.optimizers.Adam(0.01))
    probe = et.PPRProbe(data(), data(3, seed=1), epochs=[])
    model.fit(data(), epochs=1, callbacks=[probe], verbose=0)
    before = _values(model)
    probe.probe(1)
    _assert_same(before, _values(model))

    class Failing(Exception):
        pass

    calls = []

    def fails_after_retraining():
        calls.append(None)
        if len(calls) == 3:
            raise Failing
        return data(3, seed=1)

    probe._validation_data = fails_after_retraining
    with pytest.raises(Failing):
        probe.probe(2)
    _assert_same(before, _values(model))
    assert [result.epoch for result in probe.results] == [1]


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_learning_rate_is_a_tenth_of_the_first_one(scheduled):
    rate = 0.05
    if scheduled:
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([7], [0.05, 0.001])
    model = wrapped_model(optimizer=keras.optimizers.SGD(rate))
    probe = et.PPRProbe(data(), data(3, seed=1), epochs=[2])
    model.fit(data(), epochs=2, callbacks=[probe], verbose=0)
    assert probe.learning_rate == pytest.approx(0.005)
    used = float(model.optimizer.learning_rate)
    assert used == pytest.approx(0.001 if scheduled else 0.05)


def test_settings_left_unset_are_found_anew_for_the_next_model():
    probe = et.PPRProbe(data(), data(3, seed=1), epochs=[1])
    wrapped_model().fit(data(), epochs=1, callbacks=[probe], verbose=0)
    schedule = et.EarlyTicketPolynomialDecay(0.5)
    model = wrapped_model(schedule, optimizer=keras.optimizers.SGD(0.2))
    model.fit(data(), epochs=1, callbacks=[probe], verbose=0)
    assert probe.sparsity == 0.5
    assert probe.learning_rate == pytest.approx(0.02)
    assert len(probe.results) == 1


def test_cost_counts_the_steps_really_made():
    model = wrapped_model()
    probe = et.PPRProbe(data(6), data(3, seed=1), epochs=[1])
    model.fit(data(24), epochs=1, callbacks=[probe], verbose=0)
    assert probe.results[0].cost_epochs == 6 / 24
    probe = et.PPRProbe(data(24), data(3, seed=1), epochs=[1], fraction=0.1)
    model.fit(data(24), epochs=1, callbacks=[probe], verbose=0)
    assert probe.results[0].cost_epochs == 20 / 24


def test_a_metric_that_the_model_has_not_is_refused_with_those_it_has():
    model = wrapped_model()
    probe = et.PPRProbe(data(), data(3, seed=1), monitor="top_5")
    with pytest.raises(et.InputError, match="monitor='top_5': expected a metric of the model, acc"):
        model.fit(data(), epochs=1, callbacks=[probe], verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "fraction=0.0"),
        ({"fraction": 1.5}, "fraction=1.5"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"sparsity": 1.0}, "sparsity=1.0"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(et.InputError, match=message):
        et.PPRProbe(data(), data(), **options)


def test_endless_validation_data_is_refused_and_arrays_without_labels_too():
    with pytest.raises(et.InputError, match="never ends"):
        et.PPRProbe(data(), data().repeat())
    with pytest.raises(et.InputError, match="train_data=array.*expected what fit takes"):
        et.PPRProbe(np.ones(3), data())


def test_probes_work_while_fit_has_an_unknown_number_of_steps():
    model = wrapped_model()
    probe = et.PPRProbe(data(known=False), data(3, seed=1, known=False), epochs=[1])
    model.fit(data(known=False), epochs=2, callbacks=[probe], verbose=0)
    assert probe.steps_per_epoch == 5 and probe.results[0].cost_epochs == 1.0


def test_the_mask_of_a_probe_does_not_stay():
    model, probe = wrapped_model(), et.PPRProbe(data(), data(3, seed=1))
    model.fit(data(), epochs=1, callbacks=[probe], verbose=0)
    assert all(mask.all() for mask in masks(model).values())
