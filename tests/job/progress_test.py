"""What a run prints: for people on a terminal and in a log, for programs, and nothing."""

import io
import json

import pytest
from rich.console import Console

from tf_earlyticket.backends.base import TrainingRecord
from tf_earlyticket.errors import InputError
from tf_earlyticket.job import log as log_module
from tf_earlyticket.job.log import Display, LiveProgress, make_progress

NOTHING = float("nan")


class Model:
    """All that progress needs of one."""

    def __init__(self):
        self.record = TrainingRecord()


@pytest.fixture(autouse=True)
def unwrapped(monkeypatch):
    monkeypatch.setattr(log_module, "pruned", lambda model: model)


def _two_epochs(progress):
    """The fourth and fifth of six epochs: a probe, then the start of pruning."""
    model = Model()
    progress.set_model(model)
    progress.set_params({"epochs": 6, "steps": 2})
    progress.on_train_begin()
    for epoch, accuracy, ppr in ((3, 0.5, 0.4567), (4, 0.75, NOTHING)):
        progress.on_epoch_begin(epoch)
        for batch in range(2):
            progress.on_train_batch_begin(batch)
            progress.on_train_batch_end(batch)
        if epoch == 4:
            model.record.start(5, "it saturates")
        logs = {"accuracy": accuracy, "val_accuracy": accuracy / 2, "ppr_accuracy": ppr}
        progress.on_epoch_end(epoch, {**logs, "sparsity": 0.0})
    progress.on_train_end()
    progress.close()


def test_in_a_log_an_epoch_is_a_line(capsys):
    _two_epochs(make_progress(Display("plain"), "search"))
    fourth, fifth, start = capsys.readouterr().out.splitlines()
    shares = "accuracy 50.0 %  validation 25.0 %  sparsity 0.0 %  PPR 45.7 %"
    assert fourth.startswith(f"search  epoch 4/6  {shares}  ") and fourth.endswith(" s left")
    assert "epoch 5/6  accuracy 75.0 %" in fifth and "PPR" not in fifth
    assert start == "Pruning starts after epoch 5: it saturates."


def test_the_share_of_the_whole_network_stands_beside_the_sparsity(capsys):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    live = LiveProgress(Display("line"), "search", console)
    for progress in (make_progress(Display("plain"), "search"), live):
        progress.set_model(Model())
        progress.set_params({"epochs": 100, "steps": 2})
        progress.on_epoch_begin(99)
        shares = {"val_accuracy": 0.75, "sparsity": 0.8, "network_sparsity": 0.7181}
        progress.on_epoch_end(99, shares)
    assert "sparsity 80.0 % (71.8 % of all kernels)  " in capsys.readouterr().out
    text = live._line.tasks[0].fields["text"]
    live.close()
    assert text == "accuracy 75.0 %  sparsity 80.0 % (71.8 % of all)"


def test_for_programs_a_line_is_a_json_object(capsys):
    _two_epochs(make_progress(Display("json"), "search"))
    fourth, fifth, start = (
        json.loads(line, parse_constant=pytest.fail)
        for line in capsys.readouterr().out.splitlines()
    )
    assert fourth["event"] == "epoch" and fourth["phase"] == "search"
    assert (fourth["epoch"], fourth["epochs"]) == (4, 6)
    assert (fourth["val_accuracy"], fourth["ppr_accuracy"]) == (0.25, 0.4567)
    assert fifth["ppr_accuracy"] is None and fifth["seconds_left"] >= fifth["seconds"] > 0
    assert start == {"event": "start", "phase": "search", "epoch": 5, "reason": "it saturates"}


def test_quiet_is_silent(capsys):
    _two_epochs(make_progress(Display("quiet"), "search"))
    assert capsys.readouterr().out == ""


def test_on_a_terminal_one_line_of_80_columns_moves():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80, color_system=None)
    _two_epochs(LiveProgress(Display("line"), "retrain", console))
    line = [line for line in shown.getvalue().splitlines() if "retrain" in line][-1]
    for part in ("5/6", "accuracy 37.5 %", "sparsity 0.0 %", "left"):
        assert part in line, line
    assert "…" not in line
    assert "\x1b[?25h" in shown.getvalue(), "the cursor is back"
    assert "Pruning starts after epoch 5: it saturates.\n" in shown.getvalue()


def test_the_line_tells_the_latest_probe_then_since_when_it_prunes():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    live, seen = LiveProgress(Display("line"), "search", console), []
    show = live.show_epoch

    def spy(row):
        show(row)
        seen.append(live._line.tasks[0].fields["text"])

    live.show_epoch = spy
    _two_epochs(live)
    assert seen[0] == "accuracy 25.0 %  sparsity 0.0 %  PPR 45.7 % at 4"
    # The latest probe stays until it has led to something.
    assert seen[1] == "accuracy 37.5 %  sparsity 0.0 %  PPR 45.7 % at 4"
    assert live._probe == "pruning since 5"


def test_auto_is_plain_where_there_is_no_terminal():
    kind = type(make_progress(Display(), "search"))
    assert kind is type(make_progress(Display("plain"), "search"))
    assert kind is not type(make_progress(Display("line"), "search"))


def test_another_progress_is_refused():
    with pytest.raises(InputError, match="progress='loud'.*quiet"):
        Display("loud")
