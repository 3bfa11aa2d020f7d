"""A report is built from what the phases of a run left."""

from tf_earlyticket.callbacks.ppr_probe import ProbeResult
from tf_earlyticket.config import Config
from tf_earlyticket.detectors.base import Observation, WeightSignals
from tf_earlyticket.job.results import (
    Evaluation,
    ScheduleSteps,
    SearchResult,
    TrainingResult,
    build_report,
)
from tf_earlyticket.pruning.channels import Amounts, LayerCost
from tf_earlyticket.report.report import Report, Signals

ROWS = [{"seconds": 1.0}, {"seconds": 2.0}]
LAYERS = [{"name": name, "shape": [3, 3, 4, 4], "kept": 29, "sparsity": 0.8} for name in ("a", "b")]


def build(retrain=None, dense=None, costs=(), **found):
    """Returns the report of a search of 12 epochs that started at the end of epoch 2."""
    config = Config()
    config.train.epochs = 12
    search = SearchResult(
        **{"start_epoch": 2, "detected": True, "detector": "mask_distance", "rows": ROWS} | found
    )
    return build_report(
        config,
        search=search,
        retrain=retrain,
        dense=dense,
        evaluation=Evaluation(0.9, dense and 0.95, 0.8, LAYERS, 1.0, costs=list(costs)),
        environment={},
        steps_per_epoch=10,
        command="",
        notes=[],
    )


def test_signals_are_lists_over_epochs():
    signals = {
        1: WeightSignals((0.7, 0.9), (), ()),
        2: WeightSignals((0.75, 0.85), (0.12,), (0.97,)),
    }
    report = build(signals=signals)
    assert report.signals == Signals(
        [1, 2], ["a", "b"], [[0.7, 0.9], [0.75, 0.85]], [[], [0.12]], [[], [0.97]]
    )
    assert Report.from_json(report.to_json()) == report
    assert build().signals == Signals(layers=["a", "b"])


def test_where_nothing_can_be_counted_no_multiply_adds_are_told():
    parameters, unknown = Amounts(9, 3, 9), Amounts(None, None, None)
    report = build(costs=[LayerCost("a", unknown, parameters)])
    assert report.macs is None and report.parameters.ticket == 3
    report = build(costs=[LayerCost("a", Amounts(90, 30, 90), parameters)])
    assert (report.macs.ticket, report.macs.dense) == (30, 90)


def test_costs_and_times_are_those_of_all_phases():
    probes = tuple(ProbeResult(epoch, Observation(0.5, 0.3, 0.6), 0.25, 0.5) for epoch in (1, 2))
    gradual = build(probes=probes, dense=TrainingResult(ROWS))
    assert (gradual.cost.train_epochs, gradual.cost.probe_epochs) == (12, 0.5)
    assert gradual.cost.total_epochs == 12.5 and gradual.cost.baseline_epochs == 10
    assert gradual.seconds == {
        "train": 2.0,
        "probe": 1.0,
        "dense_baseline": 3.0,
        "evaluate_and_export": 1.0,
        "total": 7.0,
    }
    assert gradual.probe.epochs == [1, 2] and gradual.probe.fraction == 0.25
    rewound = build(retrain=TrainingResult(ROWS), updates=((20, 0.8),))
    assert rewound.cost.train_epochs == 14 and rewound.cost.baseline_epochs == 0
    assert rewound.schedule.updates == [(0, 0.8)] and rewound.dense is None


def test_the_schedule_is_the_one_that_was_followed():
    found = build(schedule=ScheduleSteps(20, 60, 4), updates=((20, 0.1), (60, 0.8))).schedule
    assert (found.begin_step, found.end_step, found.frequency) == (20, 60, 4)
    assert found.updates == [(20, 0.1), (60, 0.8)] and found.steps_per_epoch == 10
    assert build().schedule.frequency == 1
