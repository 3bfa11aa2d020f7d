"""Detectors by name: parameters, what the program gives, what users register."""

import pytest

from tf_earlyticket.detectors import base
from tf_earlyticket.detectors.base import (
    DETECTORS,
    Decision,
    Detector,
    Observation,
    WeightSignals,
    make_detector,
    register_detector,
)
from tf_earlyticket.detectors.ppr_saturation import GatedPPR, PPRSaturation
from tf_earlyticket.detectors.weight_signals import (
    FixedEpoch,
    LayerRateConvergence,
    MaskDistance,
    SubnetSimilarity,
)
from tf_earlyticket.errors import InputError


@pytest.fixture
def registry():
    """Forgets what a test registers."""
    before = dict(DETECTORS._entries)
    yield
    DETECTORS._entries.clear()
    DETECTORS._entries.update(before)


def fields(detector):
    return {name: value for name, value in vars(detector).items() if not name.startswith("_")}


PPR = {
    "latest_start_epoch": 20,
    "lead_epochs": 4,
    "tolerance": 0.01,
    "minimum_rise": 0.05,
    "minimum_probes": 5,
    "confirmations": 1,
}


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("ppr_saturation", PPRSaturation, PPR),
        ("ppr_saturation(tolerance=0.02)", PPRSaturation, PPR | {"tolerance": 0.02}),
        (
            "ppr_saturation(minimum_rise=0, minimum_probes=6, confirmations=2)",
            PPRSaturation,
            PPR | {"minimum_rise": 0.0, "minimum_probes": 6, "confirmations": 2},
        ),
        ("mask_distance", MaskDistance, {"threshold": 0.1, "window": 5}),
        (
            "mask_distance(threshold=0.05, window=3)",
            MaskDistance,
            {"threshold": 0.05, "window": 3},
        ),
        ("layer_rate_convergence", LayerRateConvergence, {"tolerance": 0.02, "window": 5}),
        (
            "layer_rate_convergence(tolerance=0.05)",
            LayerRateConvergence,
            {"tolerance": 0.05, "window": 5},
        ),
        ("subnet_similarity", SubnetSimilarity, {"threshold": 0.98, "window": 5}),
        (
            "subnet_similarity(threshold=0.9)",
            SubnetSimilarity,
            {"threshold": 0.9, "window": 5},
        ),
        ("fixed_epoch", FixedEpoch, {"epoch": 20}),
        ("fixed_epoch(epoch=12)", FixedEpoch, {"epoch": 12}),
        ("fixed_epoch(epoch=1)", FixedEpoch, {"epoch": 1}),
        ("fixed_epoch(epoch=20)", FixedEpoch, {"epoch": 20}),
    ],
)
def test_a_name_makes_a_detector_with_its_parameters(text, kind, expected):
    detector = make_detector(text, 20, lead_epochs=4)
    assert type(detector) is kind and fields(detector) == expected
    assert detector.name == text.partition("(")[0]


def test_names_say_what_gates_the_probes():
    gated = make_detector("gated_ppr", 20, lead_epochs=4)
    assert type(gated) is GatedPPR and gated.name == "gated_ppr_saturation"
    assert fields(gated.ppr) == PPR | {"minimum_rise": 0.0}
    assert type(gated.gate) is LayerRateConvergence and gated.gate.tolerance == 0.02
    gated = make_detector("gated_ppr(gate='mask_distance(threshold=0.05)', tolerance=0.02)", 20)
    assert type(gated.gate) is MaskDistance and gated.gate.threshold == 0.05
    wanted = {"minimum_rise": 0.0, "lead_epochs": 0, "tolerance": 0.02}
    assert fields(gated.ppr) == PPR | wanted
    assert make_detector("gated_ppr(gate='fixed_epoch')", 20).gate.epoch == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mask_distanc",
            "probe.detector='mask_distanc': expected one of ppr_saturation, gated_ppr, "
            "mask_distance, layer_rate_convergence, subnet_similarity, fixed_epoch. "
            "Did you mean 'mask_distance'?",
        ),
        ("mask_distance(threshold=2.0)", "threshold=2.0: expected a number > 0 and < 1."),
        ("mask_distance(tolerance=0.1)", "expected parameters of mask_distance among threshold, w"),
        ("ppr_saturation(tolerance=0)", "tolerance=0: expected a number > 0 and < 1."),
        ("ppr_saturation(lead_epochs=0)", "among tolerance, minimum_rise, minimum_probes, confir"),
        ("fixed_epoch(epoch=0)", "epoch=0: expected an integer from 1 to 20."),
        ("fixed_epoch(epoch=21)", "epoch=21: expected an integer from 1 to 20."),
        ("gated_ppr(gate='nothing')", "probe.detector='nothing': expected one of ppr_saturation"),
        ("gated_ppr(gate='ppr_saturation')", "gate='ppr_saturation': expected a detector that"),
    ],
)
def test_what_cannot_be_used_is_named(text, message):
    with pytest.raises(InputError) as refused:
        make_detector(text, 20)
    assert message in str(refused.value)


class Patience(Detector):
    name = "patience"

    def __init__(self, epochs=10):
        self.epochs = epochs

    def update(self, epoch, observation):
        return Decision(epoch >= self.epochs, f"waited {self.epochs} epochs")


class Last:
    """Has what a detector has, and does not derive from it."""

    name = "last"

    def __init__(self, latest_start_epoch, lead_epochs, share=1.0):
        self.seen = (latest_start_epoch, lead_epochs, share)


def test_detectors_of_the_users_own(registry):
    register_detector("patience", Patience)
    register_detector("last", Last)
    detector = make_detector("patience(epochs=3)", 20)
    assert detector.update(2, Observation()) == Decision(False, "waited 3 epochs")
    assert detector.update(3, Observation()).saturated
    # What most detectors do, they need not say.
    assert detector.wants_probe(1, None) is False and detector.reset() is None
    assert make_detector("last(share=0.5)", 20, lead_epochs=2).seen == (20, 2, 0.5)
    assert make_detector("last", 20).seen == (20, 0, 1.0)


def test_what_cannot_be_registered_is_refused(registry):
    with pytest.raises(InputError, match="^make=3: expected a function.$"):
        register_detector("own", 3)
    for name in list(DETECTORS):
        with pytest.raises(InputError, match=f"^name='{name}': expected another name than"):
            register_detector(name, Patience)


def test_a_detector_has_to_decide():
    with pytest.raises(TypeError, match="abstract"):
        base.Detector()
    assert Detector.name == ""


def test_an_observation_may_be_of_anything_or_nothing():
    assert Observation() == Observation(None, None, None, None)
    signals = WeightSignals((0.5,), (), ())
    assert Observation(signals=signals).signals.pruning_rates == (0.5,)
