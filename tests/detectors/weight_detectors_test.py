import pytest

from tf_earlyticket.detectors.ppr_saturation import Decision, Observation
from tf_earlyticket.detectors.weight_detectors import (
    FixedEpoch,
    GatedPPR,
    LayerRateConvergence,
    MaskDistance,
    SubnetSimilarity,
)
from tf_earlyticket.detectors.weight_signals import WeightSignals


def seen(rates=(0.8, 0.8), distances=(), similarities=()):
    return Observation(signals=WeightSignals(rates, distances, similarities))


def feed(detector, observations):
    return [detector.update(n + 1, o).saturated for n, o in enumerate(observations)]


def test_fixed_epoch_is_saturated_from_its_epoch_on():
    assert feed(FixedEpoch(3), [Observation()] * 4) == [False, False, True, True]


def test_mask_distance_compares_every_pair_of_the_window():
    close = [seen(), seen(distances=(0.01,)), seen(distances=(0.01, 0.02))]
    assert feed(MaskDistance(0.1, window=3), close) == [False, False, True]
    # Neighbours are close, the ends of the window are not.
    drifting = [seen(), seen(distances=(0.06,)), seen(distances=(0.06, 0.12))]
    assert feed(MaskDistance(0.1, window=3), drifting) == [False, False, False]


def test_layer_rate_convergence_looks_at_the_layer_that_moves_most():
    still = [seen((0.5, 0.9)), seen((0.505, 0.9)), seen((0.51, 0.9))]
    assert feed(LayerRateConvergence(0.02, window=3), still) == [False, False, True]
    moving = [seen((0.5, 0.9)), seen((0.5, 0.92)), seen((0.5, 0.95))]
    assert feed(LayerRateConvergence(0.02, window=3), moving) == [False, False, False]


def test_subnet_similarity_averages_over_the_window():
    observations = [seen(), seen(similarities=(0.99,)), seen(similarities=(0.99, 0.98))]
    assert feed(SubnetSimilarity(0.98, window=3), observations) == [False, False, True]
    assert feed(SubnetSimilarity(0.99, window=3), observations) == [False, False, False]


class Recorder:
    name = "recorder"

    def __init__(self):
        self.epochs = []

    def reset(self):
        self.epochs = []

    def wants_probe(self, epoch, signals):
        return True

    def update(self, epoch, observation):
        self.epochs.append(epoch)
        return Decision(True, "seen")


def test_gated_ppr_asks_for_probes_only_once_the_gate_is_open():
    ppr = Recorder()
    detector = GatedPPR(FixedEpoch(3), ppr)
    signals = seen().signals
    for epoch in range(1, 6):
        wanted = detector.wants_probe(epoch, signals)
        assert wanted == (epoch >= 3)
        observation = (
            Observation(0.5, 0.1, 0.6, signals) if wanted else Observation(signals=signals)
        )
        assert detector.update(epoch, observation).saturated == wanted
    assert ppr.epochs == [3, 4, 5]


def test_gated_ppr_feeds_its_gate_each_epoch_once():
    gate = Recorder()
    gate.update = lambda epoch, observation: (gate.epochs.append(epoch), Decision(False, "no"))[1]
    detector = GatedPPR(gate, Recorder())
    signals = seen().signals
    for epoch in (1, 2, 3):
        detector.wants_probe(epoch, signals)
        detector.update(epoch, Observation(signals=signals))
    assert gate.epochs == [1, 2, 3]


def test_reset_forgets_the_window():
    detector = SubnetSimilarity(0.9, window=2)
    feed(detector, [seen(), seen(similarities=(1.0,))])
    detector.reset()
    assert not detector.update(1, seen(similarities=(1.0,))).saturated


def test_missing_signals_are_an_error():
    with pytest.raises(ValueError, match="signals"):
        MaskDistance().update(1, Observation(0.5, 0.1, 0.6))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FixedEpoch(0), "epoch"),
        (lambda: MaskDistance(0.0), "threshold"),
        (lambda: LayerRateConvergence(1.5), "tolerance"),
        (lambda: SubnetSimilarity(window=1), "window"),
    ],
)
def test_arguments_out_of_range_are_named(make, name):
    with pytest.raises(ValueError, match=name):
        make()
