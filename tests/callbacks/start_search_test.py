"""The search for the start epoch within `fit`: signals, detectors that gate probes, restarts."""

import numpy as np
import pytest
from small import Interrupt, StartAt, data, pruned, wrapped_model, zeros

import tf_earlyticket as et
from tf_earlyticket.detectors.base import Decision
from tf_earlyticket.detectors.weight_signals import SignalTracker


class Weights(et.WeightStatistics):
    """Copies the prunable weights at the end of each epoch."""

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.copies = []

    def on_epoch_end(self, epoch, logs=None):
        self.copies.append(self.adapter.weights())


class Remember(StartAt):
    """Remembers the observations, and wants probes at some epochs only."""

    def __init__(self, epoch=None, probes=()):
        super().__init__(epoch)
        self.probes = probes

    def wants_probe(self, epoch, signals):
        return epoch in self.probes

    def update(self, epoch, observation):
        self.observations[epoch] = observation
        return super().update(epoch, observation)

    def reset(self):
        super().reset()
        self.observations = {}


def _early_ticket(detector, **options):
    return et.EarlyTicket(
        data(), data(3, seed=1), detector=detector, probe_every=1, verbose=0, **options
    )


def test_the_detector_sees_the_signals_of_every_epoch_and_the_probes_that_it_wants():
    detector, weights = Remember(4, probes={2, 3}), Weights()
    early_ticket = _early_ticket(detector)
    # In front: at the end of epoch 4 pruning starts.
    wrapped_model().fit(data(), epochs=7, callbacks=[weights, early_ticket], verbose=0)
    assert [result.epoch for result in early_ticket.probe.results] == [2, 3]
    tracker = SignalTracker(0.75)
    for epoch, copy in enumerate(weights.copies[:4], 1):
        assert detector.observations[epoch].signals == tracker.update(copy)
        assert (detector.observations[epoch].ppr_accuracy is not None) == (epoch in (2, 3))
    assert list(early_ticket.signals) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("detector", "start"),
    [
        (et.FixedEpoch(2), 2),
        (et.MaskDistance(threshold=0.9999, window=2), 2),
        (et.LayerRateConvergence(tolerance=0.9999, window=3), 3),
        (et.SubnetSimilarity(threshold=0.0001, window=2), 2),
    ],
)
def test_free_detectors_start_pruning_without_a_probe(detector, start):
    model, early_ticket = wrapped_model(), _early_ticket(detector)
    model.fit(data(), epochs=6, callbacks=[early_ticket], verbose=0)
    assert (early_ticket.start_epoch, early_ticket.detected) == (start, True)
    assert early_ticket.probe.results == [] and zeros(model) == pruned()


def test_a_gate_that_never_opens_ends_in_the_fallback_and_says_so():
    class Never(et.FixedEpoch):
        def update(self, epoch, observation):
            return Decision(False, "never")

    early_ticket = _early_ticket(et.GatedPPR(Never(1), et.PPRSaturation(4)))
    model = wrapped_model()
    model.fit(data(), epochs=6, callbacks=[early_ticket], verbose=0)
    assert not early_ticket.detected and zeros(model) == pruned()
    assert "not worth probing yet: never; no probe was made" in early_ticket.start_reason


def test_a_restart_shows_the_detector_what_the_first_one_saw():
    whole = Remember(5, probes={1, 3, 5})
    wrapped_model().fit(data(), epochs=8, callbacks=[_early_ticket(whole)], verbose=0)

    model, first = wrapped_model(), _early_ticket(Remember(5, probes={1, 3, 5}))
    with pytest.raises(KeyboardInterrupt):
        model.fit(data(), epochs=8, callbacks=[first, Interrupt(3)], verbose=0)
    state = first.get_state()
    again = Remember(5, probes={1, 3, 5})
    second = _early_ticket(again)
    second.set_state(state)
    model.fit(data(), epochs=8, initial_epoch=3, callbacks=[second], verbose=0)
    assert again.observations == whole.observations
    assert second.start_epoch == 5


def test_a_probe_reads_no_more_held_out_batches_than_asked():
    model = wrapped_model()
    model.fit(data(), epochs=1, callbacks=[et.MaskUpdate()], verbose=0)
    validation = data(6, seed=3)
    accuracies = [
        model.evaluate(validation.take(batches), verbose=0, return_dict=True)["accuracy"]
        for batches in (2, 5, 6)
    ]
    assert len(set(accuracies)) == 3, "the test could not tell them apart"
    # 5 steps of retraining make 5 batches the default.
    for fraction, accuracy in zip((1 / 3, None, 1.0), accuracies, strict=True):
        probe = et.PPRProbe(data(), validation, validation_fraction=fraction)
        probe.set_model(model)
        probe.on_train_begin()
        probe.on_train_batch_end(4)
        assert probe.probe(1).observation.dense_accuracy == pytest.approx(accuracy)


def test_a_fraction_of_data_of_unknown_length_is_refused():
    probe = et.PPRProbe(data(), data(3, known=False), validation_fraction=0.5)
    with pytest.raises(et.InputError, match=r"validation_fraction=0.5: expected validation_data"):
        wrapped_model().fit(data(), epochs=1, callbacks=[probe], verbose=0)
    for value in (0, 1.5):
        with pytest.raises(et.InputError, match=f"validation_fraction={value}"):
            et.PPRProbe(data(), data(3), validation_fraction=value)


def test_signals_are_of_the_dense_network_only():
    early_ticket = _early_ticket(Remember(2))
    wrapped_model().fit(data(), epochs=6, callbacks=[early_ticket], verbose=0)
    assert list(early_ticket.signals) == [1, 2]
    rates = np.array(early_ticket.signals[2].pruning_rates)
    assert np.average(rates, weights=[4 * 8 * 9, 8 * 8 * 9]) == pytest.approx(0.75)
