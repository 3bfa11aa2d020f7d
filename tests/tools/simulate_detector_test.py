import statistics

import pytest
import simulate_detector as tool

from tf_earlyticket.detectors.base import Decision
from tf_earlyticket.detectors.weight_signals import FixedEpoch


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


def test_without_noise_a_curve_that_never_saturates_raises_no_alarm(monkeypatch):
    monkeypatch.setattr(tool, "NOISES", (0.0,))
    result = tool.simulate(1, seed=0)
    for curve in tool.NEVER:
        assert [row["false_alarm"] for row in rows_of(result, curve)] == [0, 0]


def test_a_detector_sees_noisy_probes_of_the_plan_up_to_the_latest_start(monkeypatch):
    seen = []

    class Recorder(FixedEpoch):
        def update(self, epoch, observation):
            seen.append((epoch, observation.ppr_accuracy))
            return Decision(False, "never")

    monkeypatch.setattr(tool, "NOISES", (0.02,))
    monkeypatch.setattr(tool, "PLANS", (tool.Plan(60, 42, 2),))
    monkeypatch.setattr(tool, "curves", lambda epochs: {"saturating": lambda epoch: 0.5})
    tool.simulate(100, seed=0, make=Recorder)
    epochs, accuracies = zip(*seen, strict=True)
    assert epochs == 100 * tuple(range(2, 43, 2))
    assert statistics.fmean(accuracies) == pytest.approx(0.5, abs=0.002)
    assert statistics.stdev(accuracies) == pytest.approx(0.02, rel=0.1)


def test_an_alarm_with_more_than_two_points_still_to_come_is_false():
    result = tool.simulate(1, seed=0, make=lambda latest: FixedEpoch(2 * latest // 3))
    # 60 epochs, at 28: 0.6 (exp(-2.8) - exp(-4.2)) = 2.7 points; 24, at 10: 3.5 points.
    for row in rows_of(result, "saturating, tau = E/6"):
        assert row["remaining_gain"] == pytest.approx(
            {60: 0.0275, 24: 0.0352}[row["plan"]["epochs"]], abs=1e-4
        )
        assert row["false_alarm"] == 1 and row["alarm_before_half_rise"] == 0


def test_a_drop_of_the_learning_rate_is_not_held_against_the_detector():
    result = tool.simulate(1, seed=0, make=lambda latest: FixedEpoch(2 * latest // 3))
    for row in rows_of(result, tool.DROP):
        # Both fire before the drop, which brings ten points more.
        assert row["remaining_gain"] < 0.02 and row["false_alarm"] == 0
