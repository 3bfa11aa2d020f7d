"""When the learning rate begins anew, whatever the optimizer has counted before."""

from types import SimpleNamespace

import pytest

from tf_earlyticket.callbacks import learning_rate_restart
from tf_earlyticket.callbacks.learning_rate_restart import LearningRateRestart

STEPS, EPOCHS, RAMP_ENDS = 10, 8, 6


def rates(monkeypatch, *, before=0, skipped=0, first=0, within=0):
    """Returns the rates set in each epoch of a training whose ramp ends with its sixth epoch.

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
        set_learning_rate=lambda rate: found.update({epoch: rate}),
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


def test_it_begins_anew_with_the_epoch_after_the_ramp(monkeypatch):
    wanted = {6: 0.1, 7: 0.05}
    assert rates(monkeypatch) == pytest.approx(wanted)
    assert rates(monkeypatch, before=37) == pytest.approx(wanted)
    assert rates(monkeypatch, first=3, within=4, before=37) == pytest.approx(wanted)
    assert rates(monkeypatch, first=7, within=4) == pytest.approx({7: 0.05})
    assert rates(monkeypatch, first=7, within=9, before=3) == pytest.approx({7: 0.05})


def test_steps_that_are_skipped_count_as_they_do_for_masks(monkeypatch):
    assert rates(monkeypatch, skipped=3) == pytest.approx({6: 0.1, 7: 0.05})
