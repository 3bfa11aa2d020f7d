import pytest

from tf_earlyticket.detectors.choice import DETECTORS, make_detector
from tf_earlyticket.detectors.ppr_saturation import PPRSaturation


@pytest.mark.parametrize("name", DETECTORS)
def test_every_name_makes_a_detector_of_the_interface(name):
    detector = make_detector(name, 20)
    detector.reset()
    assert detector.name.startswith("gated" if name == "gated_ppr" else name)
    assert callable(detector.update) and callable(detector.wants_probe)


def test_settings_reach_the_detector_they_belong_to():
    assert make_detector("ppr_saturation", 20, tolerance=0.03).tolerance == 0.03
    assert make_detector("mask_distance", 20, threshold=0.05).threshold == 0.05
    assert make_detector("layer_rate_convergence", 20, threshold=0.05).tolerance == 0.05
    assert make_detector("ppr_saturation", 20, lead_epochs=4).lead_epochs == 4
    assert make_detector("gated_ppr", 20, lead_epochs=4).ppr.lead_epochs == 4
    gated = make_detector("gated_ppr", 20, tolerance=0.03, threshold=0.05)
    assert isinstance(gated.ppr, PPRSaturation)
    assert (gated.ppr.tolerance, gated.gate.tolerance) == (0.03, 0.05)
    assert make_detector("fixed_epoch", 20).epoch == 20
    assert make_detector("fixed_epoch", 20, start_epoch=3).epoch == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mask_distanc"}, "detector='mask_distanc'.*Did you mean 'mask_distance'"),
        ({"name": "mask_distance", "threshold": 2.0}, "threshold"),
        ({"name": "ppr_saturation", "tolerance": 0.0}, "tolerance=0.0"),
        ({"name": "fixed_epoch", "start_epoch": 0}, "epoch"),
    ],
)
def test_what_cannot_be_used_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_detector(latest_start_epoch=20, **arguments)
