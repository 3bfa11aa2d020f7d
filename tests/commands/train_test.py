"""The command line: what is wrong is said in one line, with status 2, and nothing is written."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from reports import made_up_report
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tf_earlyticket as et
from tf_earlyticket import train
from tf_earlyticket.commands.train import summary
from tf_earlyticket.job import default_config
from tf_earlyticket.job import job as run_module
from tf_earlyticket.job.log import Display
from tf_earlyticket.job.workdir import RunPaths

ROOT = Path(et.__file__).parents[1]
TINY = (
    "--config.model.name=resnet8",
    "--config.train.epochs=3",
    "--config.train.batch_size=32",
    "--config.data.train_examples=64",
    "--config.data.validation_examples=32",
    "--config.train.dense_baseline=false",
)


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def command(call_program):
    """Runs the program in this process; returns (exit status, stdout, stderr)."""
    return functools.partial(call_program, train)


def _config_file(folder, text):
    path = folder / "config.py"
    path.write_text("from tf_earlyticket.config import Config\n" + text)
    return path


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--nonsense=1"], ["'nonsense'"]),
        (["--worksdir=x"], ["'worksdir'", "workdir"]),
        (["--config.pruning.final_sparcity=0.9"], ["final_sparcity", "'pruning.final_sparsity'"]),
        (["--config.pruning.final_sparsity=1.0"], ["final_sparsity=1.0", ">= 0 and < 1"]),
        (["--config.pruning.final_sparsity=-0.1"], ["final_sparsity=-0.1", ">= 0 and < 1"]),
        (["--config.train.epochs=abc"], ["--config.train.epochs=abc", "an integer"]),
        (["--config.train.momentum=abc"], ["--config.train.momentum=abc", "a number"]),
        (["--config.train.jit_compile=maybe"], ["jit_compile=maybe", "true or false"]),
        (["--config.train.drop_epochs=abc"], ["drop_epochs", "int"]),
        (["--config.train.epochs=2"], ["epochs=2: expected an integer of at least 3"]),
        (["--progress=loud"], ["--progress=loud", "quiet"]),
        (["--config=missing.py"], ["--config=missing.py", "get_config()"]),
        (["--config=DEFAULT:nope"], ["variant 'nope'", "smoke"]),
        (["--config.data.name=cifar11"], ["name='cifar11'", "cifar10"]),
        (["--config.model.name=resnet21"], ["config.model.name='resnet21'", "resnet20"]),
        (["--strategy=miror"], ["--strategy='miror'", "'mirrored'"]),
        (["--config.data.name=cifar10", "--data_dir=none"], ["--data_dir=none", "cifar10"]),
        (["extra"], ["'extra'", "flags only"]),
        (["--config.train.batch_size=9999"], ["batch_size=9999", "at most"]),
        (["--config.pruning.rewind_epoch=50"], ["rewind_epoch=50", "before"]),
        (["--config.data.validation_examples=0"], ["validation_examples=0", "at least 1"]),
        (["--seed=-1"], ["seed=-1", "from 0 to"]),
        (["--seed=abc"], ["--seed=abc", "an integer"]),
        (["--flagfile=missing.txt"], ["missing.txt"]),
    ],
    ids=lambda value: value[-1] if "--" in value[0] or value == ["extra"] else "",
)
def test_wrong_input_is_one_line_status_2_and_no_file(command, tmp_path, arguments, parts):
    default = str(ROOT / "tf_earlyticket" / "job" / "default_config.py")
    arguments = [argument.replace("DEFAULT", default) for argument in arguments]
    for more in (["--workdir=run"], ["--workdir=run", "--dry_run"]):
        if "--data_dir=none" in arguments and "--dry_run" in more:
            continue
        status, out, err = command(*arguments, *more)
        assert status == 2, out + err
        assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
        for part in parts:
            assert part in err
    assert not list(Path.cwd().iterdir())


def test_a_colon_in_the_path_of_a_config_is_told(command, tmp_path):
    (tmp_path / "a:b").mkdir()
    path = tmp_path / "a:b" / "c.py"
    path.write_text("def get_config(): pass")
    status, out, err = command(f"--config={path}")
    assert status == 2, out + err
    assert err.count("\n") == 1 and "what follows a colon is the name of a variant" in err


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("raise RuntimeError('broken at import')", "RuntimeError: broken at import"),
        ("def get_config():\n    return {}['gone']", "KeyError: gone"),
        ("def get_config():\n    return 1", "returns a int"),
        ("def get_config(", "never closed"),
        ("def other(): pass", "get_config"),
        ("def get_config():\n c = Config()\n c.train.epohcs = 3\n return c", "'epochs'"),
        ("def get_config():\n c = Config()\n c.train.epochs = '3'\n return c", "epochs='3'"),
        ("def get_config():\n c = Config()\n c.train = 3\n return c", "config.train=3"),
    ],
)
def test_a_config_file_that_cannot_be_used_is_named(command, tmp_path, text, part):
    path = _config_file(tmp_path, text)
    status, out, err = command(f"--config={path}")
    assert status == 2, out + err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert part in err
    assert not list(Path.cwd().iterdir())


def test_a_directory_that_cannot_be_written_or_holds_another_run_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = command(f"--workdir={tmp_path / 'file' / 'run'}")
    assert status == 2 and "--workdir=" in err and "cannot be written" in err
    (tmp_path / "run").mkdir()
    other = default_config.get_config()
    other.seed = 7
    (tmp_path / "run" / "config.json").write_text(json.dumps(other.to_dict()))
    status, _, err = command(f"--workdir={tmp_path / 'run'}")
    assert status == 2 and "another config (seed is 7 there, 0 here)" in err
    (tmp_path / "run" / "config.json").write_text("{")
    status, _, err = command(f"--workdir={tmp_path / 'run'}")
    assert status == 2 and "config.json cannot be read" in err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_dry_run_prints_the_plan_and_writes_nothing(command):
    status, out, _ = command("--dry_run", "--seed=3", "--config.pruning.final_sparsity=0.9", *TINY)
    assert status == 0
    for part in (
        '"final_sparsity": 0.9',
        '"seed": 3',
        "data: 64 training, 32 held-out",
        "prunable layers: ",
        "[3, 3, 16, 16]",
        "the first convolution\n",
        "feeds the output\n",
        "steps: 2 per epoch, 6 in 3 epochs",
        "retraining for 2 of 2 steps",
        "schedule: mode continue; sparsity 0.0 to 0.9 over 2 steps",
        "at the end: sparsity 90.0 % (89.1 % of all kernels), as the initial weights rank",
    ):
        assert part in out
    assert not list(Path.cwd().iterdir())


@pytest.fixture
def started(monkeypatch):
    """Replaces the job by one that only notes what it was asked to do."""
    calls = []
    report = {
        "start_epoch": 1,
        "start_reason": "a reason",
        "ticket": {"sparsity": 0.8, "network_sparsity": 0.99951, "test_accuracy": 0.9},
        "macs": {"dense": 300, "ticket": 198},
        "dense": None,
        "cost": {"total_epochs": 3.0, "probe_epochs": 1.0, "iterative_pruning_epochs": 27},
    }

    def note(config, workdir, **options):
        calls.append({"config": config.to_dict(), "workdir": Path(workdir), **options})
        paths = RunPaths(workdir)
        paths.claim(config)
        paths.flags.write_text(options["flags"])
        return report

    monkeypatch.setattr(run_module, "train_and_evaluate", note)
    return calls


def test_the_flag_file_repeats_the_run_however_often_it_is_used(command, started):
    text = "--config.train.drop_epochs=(1,2)"
    assert command("--workdir=run", "--seed=5", "--data_dir=d", text, *TINY)[0] == 0
    for _ in range(2):
        status, _, err = command("--flagfile=run/flags.txt")
        assert status == 0, err
    assert command("--flagfile=run/flags.txt", "--strategy=one_device")[0] == 0
    assert command("--flagfile=run/flags.txt")[0] == 0
    first, *others = started
    assert first["config"]["seed"] == 5 and first["config"]["train"]["drop_epochs"] == [1, 2]
    for call in others:
        assert call["config"] == first["config"]
        assert call["workdir"] == first["workdir"] and call["data_dir"] == "d"
    assert [call["strategy"] for call in started] == ["auto"] * 3 + ["one_device"] * 2


def test_without_workdir_each_config_gets_its_own(command, started):
    for arguments in ([], ["--seed=1"], ["--config.seed=1"], ["--config.train.epochs=61"]):
        status, out, err = command(*arguments)
        assert status == 0, err
        assert f"Run directory: {started[-1]['workdir']}" in out
    names = [call["workdir"] for call in started]
    assert names[1] == names[2] and len(set(names)) == 3
    assert all(name.parent == Path("runs") for name in names)
    assert names[0].name == default_config.get_config().run_name()
    assert names[0].name.startswith("digits_resnet20-")
    assert f"--workdir={names[0]}" in (names[0] / "flags.txt").read_text()
    assert f"--workdir={names[1]}" in started[1]["command"] and "--seed=1" in started[1]["command"]


def test_the_outcome_is_printed_in_a_few_lines(command, started):
    _, out, _ = command("--workdir=run")
    assert "Pruning started after epoch 1: a reason." in out
    # Not 100.0 %: something is left.
    assert (
        "Ticket: 80.0 % (99.9 % of all kernels) sparse, 66 % of the multiply-adds, test accuracy "
        "90.00 %; the dense network was not trained." in out
    )
    assert "report.html" in out and "saved_model" in out


def test_the_outcome_of_a_run_of_before_is_printed(tmp_path):
    report = made_up_report().to_json()
    assert "macs" not in report and "network_sparsity" not in report["ticket"]
    text = summary(report, RunPaths(tmp_path))
    assert "Ticket: 80.0 % sparse, test accuracy 91.36 % (dense 91.74 %)." in text


@pytest.mark.parametrize("progress", ["json", "quiet"])
def test_programs_read_json_lines_and_quiet_is_silent(command, started, progress):
    status, out, err = command("--workdir=run", f"--progress={progress}", "--histograms")
    assert (status, err) == (0, "")
    first, last = map(json.loads, out.splitlines()) if progress == "json" else ({}, {})
    assert not out or first == {"event": "run", "workdir": "run"}
    assert not out or (last["event"], last["ticket"]["sparsity"]) == ("finished", 0.8)
    assert bool(out) == (progress == "json")
    assert started[0]["display"] == Display(progress, histograms=True)


def _process(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tf_earlyticket.train", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_help_names_the_flags_and_is_no_failure():
    # absl shows the flags of the main module, so this needs a process of its own.
    done = _process("--help")
    assert done.returncode == 0
    for flag in ("--config", "--workdir", "--[no]dry_run", "--seed", "--data_dir", "--strategy"):
        assert flag in done.stdout


def test_the_program_itself_ends_with_status_2_and_one_line():
    done = _process("--config.pruning.final_sparsity=1.5", "--workdir=run")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: config.pruning.final_sparsity=1.5")
    assert done.stderr.count("\n") == 1
    assert not Path("run").exists()


def test_the_program_itself_trains_and_shows_a_finished_run_again():
    done = _process("--workdir=run", "--histograms", *TINY)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("search  epoch 3/3") for line in lines)
    assert not any("\x1b" in line for line in lines), "control characters in a log"
    report = json.loads(Path("run/report.json").read_text())
    assert report["start_epoch"] == 1 and report["command"].endswith(" ".join(TINY))
    (events,) = Path("run/tensorboard/search").glob("events.*")
    histograms = EventAccumulator(str(events), size_guidance={"tensors": 0}).Reload()
    for name in et.Ticket.load("run/ticket").masks:
        assert [event.step for event in histograms.Tensors(name)] == [1, 2, 3], name
    again = _process("--flagfile=run/flags.txt")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-4:] == lines[-4:]
    assert not any("epoch 1/3" in line for line in again.stdout.splitlines())


def test_a_run_that_diverges_ends_with_one_line_and_status_1(command):
    status, _, err = command(
        "--workdir=run", "--config.train.learning_rate=1e25", "--config.probe.fraction=0.01", *TINY
    )
    assert status == 1
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "training diverged. The last good state is " in line
    assert "at step 2 of epoch 1" in line and "the beginning" in line
    assert not Path("run/report.json").exists()
