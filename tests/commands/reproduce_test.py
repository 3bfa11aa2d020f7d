"""The command that reproduces figures and tables: flags, mistakes, configs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import QUICK_XLA

import tf_earlyticket as et
from tf_earlyticket.job.preflight import check_config
from tf_earlyticket.paper.item import ITEMS
from tf_earlyticket.paper.recipes import get_config

ROOT = Path(et.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def _command(*arguments):
    return [sys.executable, "-m", "tf_earlyticket.reproduce", *map(str, arguments)]


def _process(*arguments):
    return subprocess.run(_command(*arguments), env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--item is missing: expected one of fig1"),
        (("--item=fig7",), "item='fig7': expected one of fig1"),
        (("--item=fig1", "--scale=tiny"), "scale='tiny': expected one of paper, small, smoke"),
        (("--item=fig1", "--shard=2/2"), "shard='2/2': expected i/n"),
        (
            ("--item=fig1", "--scale=smoke", "--mask_epochs=9"),
            "mask_epochs=9: expected an integer from 1 to 4",
        ),
        (("--item=fig1", "--scale=smoke", "--seeds=a"), "--seeds=a: expected integers"),
        (("--item=fig4", "--scale=smoke", "--learning_rates=x"), "expected numbers, such as"),
        (("--item=fig1", "--scale=smoke", "--config.trian.epochs=3"), "is not a field"),
        (("--item=fig1", "--scale=smoke", "extra"), "unexpected argument 'extra'"),
        (("--item=fig1", "--data_dir=/nowhere"), "/nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, arguments, message):
    done = _process(*arguments, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_dry_run_lists_the_cells_and_writes_nothing(tmp_path):
    workdir = tmp_path / "run"
    done = _process(
        "--item=table2", "--scale=smoke", "--seeds=3", f"--workdir={workdir}", "--dry_run"
    )
    assert done.returncode == 0, done.stderr
    assert "table2: 5 cells" in done.stdout and "seed 3: dense" in done.stdout
    assert "mode=gradual" in done.stdout and not workdir.exists()


@pytest.mark.parametrize("scale", ["paper", "small", "smoke"])
def test_the_config_of_every_item_can_be_used(scale):
    configs = {item: get_config(f"{item}.{scale}") for item in ITEMS}
    for config in configs.values():
        check_config(config)
        assert config.train.deterministic
    assert configs["fig1"] == configs["fig8"] == configs["table2"] == configs["fig5"]
    assert configs["fig2"] == configs["fig4"] == configs["table4"]
    if scale == "paper":
        assert configs["table3"].data.name == "imagenet2012"
        assert configs["fig6"].model.name == "resnet56"
        assert configs["fig1"].train.epochs == 200
    if scale == "small":
        train = configs["fig2"].train
        assert 16 <= train.epochs <= 40 and train.dtype_policy == "mixed_bfloat16"
        assert configs["fig2"].model.name == "resnet20" and configs["fig2"].data.name == "cifar10"


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_an_item_under_keras_3(tmp_path, backend):
    command = _command("--item=fig5", "--scale=smoke", "--seeds=0", "--keras=keras")
    command += ["--config.train.epochs=3", "--mask_epochs=2", f"--workdir={tmp_path}"]
    environment = {**ENVIRONMENT, "KERAS_BACKEND": backend, "XLA_FLAGS": QUICK_XLA}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((tmp_path / "items/fig5/results.json").read_text())
    assert results["finished"] == results["cells"] > 1 and results["summary"]
    assert results["config"]["model"]["keras"] == "keras"
    assert results["command"].startswith(f"KERAS_BACKEND={backend} python -m")
