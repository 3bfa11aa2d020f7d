"""When the learning rate begins anew, whatever the optimizer has counted before."""

from types import SimpleNamespace

import pytest

from tf_earlyticket.callbacks import learning_rate_restart
from tf_earlyticket.callbacks.learning_rate_restart import LearningRateRestart

STEPS, EPOCHS, RAMP_ENDS = 10, 8, 6


def rates(monkeypatch, *, before=0, skipped=0, first=0, within=0):
    """Returns the rates set in a training whose ramp ends with its sixth epoch, by epoch and batch.

    Args:
        monkeypatch: Of pytest.
        before: Steps that the optimizer has made in an earlier `fit`.
        skipped: Steps that a loss scale skips, in the epoch that comes first.
        first: Epochs done already.
        within: Steps of the next that are done.
    """
    found = {}
    adapter = SimpleNamespace(
        prepare=lambda: None,
        finish=lambda: None,
        sparsity_schedule=lambda: SimpleNamespace(end_step=before + RAMP_ENDS * STEPS),
        learning_rate=lambda: 0.1,
        step=lambda: step,
        set_learning_rate=lambda rate: found.update({(epoch, batch): rate}),
    )
    monkeypatch.setattr(learning_rate_restart, "pruned", lambda model: adapter)
    callback = LearningRateRestart()
    callback.set_params({"steps": STEPS, "epochs": EPOCHS})
    callback.on_train_begin()
    step = before + first * STEPS + within
    for epoch in range(first, EPOCHS):
        callback.on_epoch_begin(epoch)
        for batch in range(within if epoch == first else 0, STEPS):
            callback.on_train_batch_begin(batch)
            step += 1
        if epoch == 0:
            step -= skipped
    return found


def wanted(first=RAMP_ENDS, within=0):
    """Evenly down from 0.1 to zero in the last two epochs, from one of their steps on."""
    left = range(first * STEPS + within, EPOCHS * STEPS)
    return {divmod(step, STEPS): 0.1 * (80 - step) / 20 for step in left}


def test_it_begins_anew_with_the_epoch_after_the_ramp(monkeypatch):
    assert rates(monkeypatch) == pytest.approx(wanted())
    assert rates(monkeypatch, before=37) == pytest.approx(wanted())
    assert rates(monkeypatch, first=3, within=4, before=37) == pytest.approx(wanted())
    assert rates(monkeypatch, first=7, within=4) == pytest.approx(wanted(7, 4))
    assert rates(monkeypatch, first=7, within=9, before=3) == pytest.approx(wanted(7, 9))


def test_steps_that_are_skipped_count_as_they_do_for_masks(monkeypatch):
    assert rates(monkeypatch, skipped=3) == pytest.approx(wanted())


def test_in_long_epochs_the_rate_is_set_twenty_times(monkeypatch):
    monkeypatch.setattr(f"{__name__}.STEPS", 100)
    found = rates(monkeypatch)
    assert len(found) == 40 and found[6, 5] == pytest.approx(0.0975)
    assert found[7, 95] == pytest.approx(0.0025)
