"""The kinds of cells, each on one recorded run of a few digits."""

import numpy as np
import pytest
from tiny import tiny_config

from tf_earlyticket.backends import pruned
from tf_earlyticket.job.log import MetricsLog
from tf_earlyticket.job.phases import Phase
from tf_earlyticket.paper.fig4 import probe_epoch
from tf_earlyticket.paper.memorization import recorded_capacity
from tf_earlyticket.paper.reproduction import open_runs, seeded
from tf_earlyticket.paper.table1 import pruned_in_shots, shot_sparsities
from tf_earlyticket.paper.table4 import early_ticket, iterative_pruning
from tf_earlyticket.paper.tickets import (
    TicketSpec,
    keep,
    prunable,
    record_dense,
    recorded_weights,
    restore_epoch,
    ticket_cell,
    ticket_masks,
    train_rewound_ticket,
    train_ticket,
)
from tf_earlyticket.pruning.masks import layer_sparsity, mask_sparsity
from tf_earlyticket.pruning.select import global_masks, resolve_criterion


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns a run whose dense run is recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    with open_runs(tiny_config(), folder, [5], None, "auto") as runs:
        seeded(runs[5], record_dense)
        yield runs[5]


@pytest.fixture
def starts(run, monkeypatch):
    """Returns a list that gets (weights, masks) as each training begins."""
    seen = []
    original = MetricsLog.on_epoch_begin

    def look(log, epoch, logs=None):
        if epoch == 0:
            adapter = pruned(run.model)
            seen.append((adapter.all_weights(), adapter.masks()))
        original(log, epoch, logs)

    monkeypatch.setattr(MetricsLog, "on_epoch_begin", look)
    return seen


def _kept(run, cell):
    return keep(run, cell.phase, lambda: cell.make(run, cell.phase))


def test_a_dense_record_without_probes_has_every_epoch_and_the_start(run):
    record = run.result("dense")
    assert record["probes"] == [] and record["epochs"] == 4.0
    assert [row["epoch"] for row in record["rows"]] == [1, 2, 3, 4]
    for epoch in (0, 2, 4):
        restore_epoch(run, epoch)
        assert pruned(run.model).step() == 3 * epoch
        weights = pruned(run.model).all_weights()
        for name, value in recorded_weights(run, epoch).items():
            np.testing.assert_array_equal(weights[name], value)


def test_a_ticket_is_the_mask_of_s_on_the_weights_of_v_trained_in_full(run, starts):
    cell = ticket_cell(run.config, 5, TicketSpec(mask_epoch=3, rewind_epoch=1))
    result = _kept(run, cell)
    ((weights, masks),) = starts
    expected = global_masks(prunable(run, recorded_weights(run, 3)), 0.8)
    rewound = recorded_weights(run, 1)
    for name, mask in expected.items():
        np.testing.assert_array_equal(masks[name], mask)
        np.testing.assert_array_equal(weights[name], np.where(mask, rewound[name], 0))
    for name in set(weights) - set(expected):
        np.testing.assert_array_equal(weights[name], rewound[name])
    assert result["epochs"] == 4.0 and len(result["rows"]) == 4
    assert result["rows"][0]["learning_rate"] == 0.1
    assert result["rows"][-1]["sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert [path.name for path in run.paths.directory(cell.phase).iterdir()] == ["result.json"]


def test_a_finished_ticket_is_not_trained_again(run, monkeypatch):
    cell = ticket_cell(run.config, 5, TicketSpec(2, 0))
    first = _kept(run, cell)
    monkeypatch.setattr(Phase, "fit", None)
    assert _kept(run, cell) == first


def test_grouped_masks_live_and_die_in_groups(run):
    masks = ticket_masks(run, TicketSpec(4, 0, group_size=8))
    expected = resolve_criterion(group_size=8).masks(prunable(run, recorded_weights(run, 4)), 0.8)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, expected[name])
        groups = mask.reshape(*mask.shape[:2], -1, 8, mask.shape[-1]).sum(axis=3)
        assert set(np.unique(groups)) <= {0, 8}


@pytest.mark.parametrize("control", ["random", "shuffled"])
def test_controls_have_the_sparsity_of_each_layer_and_other_places(run, starts, control):
    spec = TicketSpec(4, 0, control=control)
    train_rewound_ticket(run, f"ticket-{control}", spec)
    ((weights, masks),) = starts
    own = ticket_masks(run, spec)
    assert layer_sparsity(masks) == layer_sparsity(own)
    assert any((masks[name] != own[name]).any() for name in own)
    initial = recorded_weights(run, 0)
    for name, mask in masks.items():
        np.testing.assert_array_equal(weights[name], np.where(mask, initial[name], 0))


def test_reinitialized_weights_are_under_the_ticket_s_own_mask(run, starts):
    spec = TicketSpec(4, 0, control="reinitialized")
    train_rewound_ticket(run, "ticket-other", spec)
    ((weights, masks),) = starts
    initial = recorded_weights(run, 0)
    for name, mask in ticket_masks(run, spec).items():
        np.testing.assert_array_equal(masks[name], mask)
        assert (weights[name] != np.where(mask, initial[name], 0)).any()
        assert not weights[name][~mask].any()


def test_a_gradual_ticket_takes_the_mask_at_the_end_of_a_ramp(run, starts):
    spec = TicketSpec(2, 0, mode="gradual")
    result = train_rewound_ticket(run, "ticket-gradual", spec)
    _, masks = starts[-1]
    assert mask_sparsity(masks) == pytest.approx(0.8, abs=1e-4)
    one_shot = ticket_masks(run, TicketSpec(2, 0))
    assert any((masks[name] != one_shot[name]).any() for name in masks)
    # A ramp of one epoch, then four of training.
    assert result["epochs"] == 5.0
    assert [p.name for p in run.paths.directory("gradual_masks-002").iterdir()] == [
        "masks.safetensors"
    ]


def test_a_probe_sees_the_recorded_epoch_and_undoes_itself(run):
    result = probe_epoch(run, "probe-a", 3, 0.01)
    assert result["epochs"] == 1.0
    restore_epoch(run, 3)
    data = run.data.validation(32)
    dense = run.model.evaluate(data, verbose=0, return_dict=True)["accuracy"]
    assert result["dense_accuracy"] == pytest.approx(dense)
    again = probe_epoch(run, "probe-a", 3, 0.01)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


def test_iterative_pruning_prunes_a_part_per_round_and_rewinds(run, starts):
    result = iterative_pruning(run, "iterative-a", prune_fraction=0.5, rewind_epoch=1)
    assert [done["sparsity"] for done in result["rounds"]] == [0.5, 0.75, 0.8]
    # The dense run is the first of four trainings.
    assert [done["total_epochs"] for done in result["rounds"]] == [8.0, 12.0, 16.0]
    assert result["epochs"] == 16.0
    rewound = recorded_weights(run, 1)
    earlier = None
    for (weights, masks), sparsity in zip(starts, (0.5, 0.75, 0.8), strict=True):
        assert mask_sparsity(masks) == pytest.approx(sparsity, abs=1e-4)
        for name, mask in masks.items():
            np.testing.assert_array_equal(weights[name], np.where(mask, rewound[name], 0))
            assert earlier is None or not (mask & ~earlier[name]).any()
        earlier = masks
    first = global_masks(prunable(run, recorded_weights(run, 4)), 0.5)
    assert all((starts[0][1][name] == mask).all() for name, mask in first.items())


def test_shots_prune_the_dense_run_step_by_step(run):
    assert shot_sparsities(0.8, 4) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    shots = pruned_in_shots(run, [1, 2, 4])
    names = list(pruned(run.model).masks())
    dense = prunable(run, recorded_weights(run, 1))
    for weights, sparsity in zip(shots, shot_sparsities(0.8, 3), strict=True):
        zeros = mask_sparsity([weights[name] != 0 for name in names])
        assert zeros == pytest.approx(sparsity, abs=1e-3)
    for name, mask in global_masks(dense, 0.8 / 3).items():
        np.testing.assert_array_equal(shots[0][name], np.where(mask, dense[name], 0))
    for earlier, later in zip(shots, shots[1:], strict=False):
        assert all(not later[name][earlier[name] == 0].any() for name in names)
        assert any((later[name] != earlier[name]).any() for name in names)


def test_capacity_is_measured_on_random_labels_and_counted_in_epochs(run):
    weights = recorded_weights(run, 4)
    masks = ticket_masks(run, TicketSpec(4, 4))
    result = recorded_capacity(run, weights, masks, examples=64, epochs=30)
    # Two batches of 32, in epochs of three.
    assert result["epochs"] == pytest.approx(30 * 2 / 3)
    assert 0.15 < result["capacity"] <= 1
    assert recorded_capacity(run, weights, masks, 64, 30) == result


def test_the_early_ticket_cell_is_the_main_job_and_counts_its_probes(run):
    result = early_ticket(run, "early_ticket")
    assert result["sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert result["probe_epochs"] >= 1
    assert result["epochs"] == pytest.approx(4 + result["probe_epochs"])
    assert 1 <= result["start_epoch"] <= 2 and result["start_reason"]


@pytest.mark.slow
def test_tickets_of_updates_and_scores_that_look_at_data(tmp_path):
    config = tiny_config()
    config.pruning.update, config.pruning.ranking = "swap", "global(score='taylor')"
    with open_runs(config, tmp_path, [5], None, "auto") as runs:
        seeded(runs[5], record_dense)
        result = train_ticket(runs[5], 2, "gradual")
        assert mask_sparsity(pruned(runs[5].model).masks()) == pytest.approx(0.8, abs=1e-4)
    assert result["start_epoch"] == 2
