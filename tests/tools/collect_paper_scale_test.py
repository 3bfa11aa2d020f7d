"""The page of runs at the paper's scale: made of the kept runs, and says what is met."""

import copy
from pathlib import Path

import collect_paper_scale as tool
import pytest
from collect_results import reports_in

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_of_the_kept_runs():
    assert tool.PAGE.read_text() == tool.page(reports_in(tool.RESULTS))


def test_a_mean_over_seeds_has_an_interval_and_meets_its_goal_or_not():
    kept = reports_in(ROOT / "results" / "paper_scale")["seed0"]
    reports = {}
    for seed, lost in enumerate((0.001, 0.002, 0.003)):
        report = reports[f"seed{seed}"] = copy.deepcopy(kept)
        report["config"]["seed"] = seed
        report["dense"]["test_accuracy"], report["ticket"]["test_accuracy"] = 0.87, 0.87 - lost
    (found,) = tool.differences(tool.lines(reports))
    assert found["mean"] == pytest.approx(-0.2)
    assert found["interval"] == pytest.approx((-0.3, -0.1), abs=0.05)
    assert "3 seeds: " in tool.page(reports) and "met by this mean" in tool.page(reports)
    assert "| seed2 | 2 | 80 | shrink | 87.00 | 86.70 | -0.30 | 70 | 110 |" in tool.page(reports)
    reports["seed0"]["ticket"]["test_accuracy"] = 0.85
    assert "**not met**" in tool.page(reports)
