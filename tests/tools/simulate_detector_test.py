import importlib.util
from pathlib import Path

import pytest

from tf_earlyticket.core.detector import Decision
from tf_earlyticket.core.free_detectors import FixedEpoch

SCRIPT = Path(__file__).parents[2] / "tools" / "simulate_detector.py"
spec = importlib.util.spec_from_file_location("simulate_detector", SCRIPT)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def rows_of(result, curve):
    return [row for row in result["rows"] if row["curve"] == curve]


def test_the_same_seed_gives_the_same_rates_and_all_are_shares():
    one, again = tool.simulate(2, seed=1), tool.simulate(2, seed=1)
    assert one == again
    assert len(one["rows"]) == len(tool.PLANS) * 9 * len(tool.NOISES)
    for row in one["rows"]:
        for rate in ("detected", "alarm_before_half_rise", "false_alarm"):
            assert 0 <= row[rate] <= 1


def test_a_detector_that_fires_at_once_is_wrong_every_time():
    result = tool.simulate(2, seed=0, make=lambda latest: FixedEpoch(1))
    for row in rows_of(result, "saturating, tau = E/6") + rows_of(result, "falling"):
        assert row["alarm_before_half_rise"] == row["false_alarm"] == row["detected"] == 1


def test_a_detector_that_fires_at_the_deadline_is_late_but_never_wrong():
    result = tool.simulate(2, seed=0, make=FixedEpoch)
    for row in rows_of(result, "saturating, tau = E/12"):
        assert row["detected"] == 1 and row["false_alarm"] == 0
        assert row["remaining_gain"] == 0
        # tau ln(60) epochs until one point is left: 20.5 of 60, 8.1 of 24.
        late = {60: (42 - 21) / 60, 24: (15 - 9) / 24}[row["plan"]["epochs"]]
        assert row["median_delay_share"] == pytest.approx(late)


def test_a_detector_that_never_fires_has_no_delay():
    class Never(FixedEpoch):
        def update(self, epoch, observation):
            return Decision(False, "never")

    for row in tool.simulate(1, seed=0, make=Never)["rows"]:
        assert row["detected"] == row["false_alarm"] == 0
        assert row["median_delay_share"] is None and row["remaining_gain"] is None
