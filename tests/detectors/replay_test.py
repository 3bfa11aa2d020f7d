from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.detectors.base import Decision, Observation, WeightSignals
from tf_earlyticket.detectors.ppr_saturation import GatedPPR
from tf_earlyticket.detectors.replay import replay
from tf_earlyticket.detectors.weight_signals import FixedEpoch

SIGNALS = WeightSignals((0.8,), (), ())


def recorded(epochs, probed=None):
    return {
        epoch: Observation(0.5, 0.1, 0.6, SIGNALS)
        if probed is None or epoch in probed
        else Observation(signals=SIGNALS)
        for epoch in range(1, epochs + 1)
    }


class ThirdProbe:
    """Saturated at the third probe that it sees."""

    name = "third_probe"

    def reset(self):
        self.seen = []

    def wants_probe(self, epoch, signals):
        return True

    def update(self, epoch, observation):
        if observation.ppr_accuracy is not None:
            self.seen.append(epoch)
        return Decision(len(self.seen) == 3, f"saw {self.seen}")


def test_the_detector_sees_one_epoch_after_the_other_and_stops_where_it_decides():
    choice = replay(ThirdProbe(), recorded(9, probed={2, 3, 5, 7}), 8)
    assert choice.start_epoch == 5 and choice.detected
    assert choice.probed_epochs == (2, 3, 5)
    assert choice.reason == "saw [2, 3, 5]"


def test_probes_that_a_gate_does_not_want_are_withheld():
    choice = replay(GatedPPR(FixedEpoch(4), ThirdProbe()), recorded(9), 8)
    assert choice.probed_epochs == (4, 5, 6) and choice.start_epoch == 6


def test_probes_between_the_planned_ones_are_withheld():
    choice = replay(ThirdProbe(), recorded(9), 8, probe_every=2)
    assert choice.probed_epochs == (2, 4, 6) and choice.start_epoch == 6


def test_without_saturation_the_latest_epoch_has_to_do():
    choice = replay(ThirdProbe(), recorded(9, probed={1, 2}), 7)
    assert (choice.start_epoch, choice.detected) == (7, False)
    assert choice.reason == "saw [1, 2]"


def test_pruning_starts_after_the_rewind_epoch():
    assert replay(FixedEpoch(2), recorded(9), 8, rewind_epoch=4).start_epoch == 5


@given(st.integers(1, 30), st.integers(1, 30))
def test_the_choice_is_always_a_possible_one(epoch, latest):
    choice = replay(FixedEpoch(epoch), recorded(latest), latest)
    assert choice.start_epoch == min(epoch, latest)
    assert choice.detected == (epoch <= latest) and choice.probed_epochs == ()


def test_signals_reach_the_detector_before_and_after_a_probe_that_was_not_made():
    class Watching(ThirdProbe):
        def wants_probe(self, epoch, signals):
            assert signals is SIGNALS
            return False

        def update(self, epoch, observation):
            assert observation == Observation(signals=SIGNALS)
            return super().update(epoch, observation)

    assert replay(Watching(), recorded(3), 3).reason == "saw []"
