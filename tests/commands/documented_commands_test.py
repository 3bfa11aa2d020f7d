"""Every command of the pages: those of docs/commands.md are run in little, the others' flags tried.

The two that install are what CI does.
"""

import importlib
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import tf_earlyticket as et
from tf_earlyticket.paper.item import ITEMS

ROOT = Path(et.__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# The last of two equal flags counts.
LITTLE = (
    "--config.data.name=digits",
    "--config.model.name=resnet8",
    "--config.train.epochs=3",
    "--config.train.batch_size=32",
    "--config.train.drop_epochs=(2,)",
    "--config.data.train_examples=64",
    "--config.data.validation_examples=32",
)
ADDED = {
    "train": (*LITTLE, "--config.train.dense_baseline=true"),
    "study_detectors": (*LITTLE, "--seeds=0", "--start_epochs=1"),
    "study_updates": (*LITTLE, "--seeds=0", "--variants=shrink", "--sparsities=0.8"),
    "bench": ("--runtime=tensorflow", "--batch=1", "--threads=1", "--processes=1", "--rounds=1"),
    "sensitivity": ("--sparsities=0.9", "--batches=1"),
}
# They take what a run has made.
OF_A_RUN = ("export", "bench", "inspect", "compare", "sensitivity")


def _commands(page: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Returns (program, arguments) of every command of the package on a page."""
    found = re.findall(r"python -m tf_earlyticket\.(\w+)([^\n`]*)", page.read_text())
    # A sentence's full stop, the dots that stand for flags, a placeholder's ellipsis.
    return [
        (program, tuple(argument for argument in shlex.split(arguments) if "..." not in argument))
        for program, arguments in found
        if "FILE" not in arguments
    ]


def _call(call_program, program, *arguments):
    module = importlib.import_module(f"tf_earlyticket.{program}")
    status, out, err = call_program(module, *arguments)
    assert status == 0, (program, arguments, err)
    return out


def test_the_commands_run_one_after_the_other(call_program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = [
        (program, arguments)
        for program, arguments in _commands(ROOT / "docs" / "commands.md")
        # Its loop over all items is a test of its own, a slow one; the default job is CI's.
        if program != "reproduce" and arguments
    ]
    assert [program for program, _ in commands] == [
        *("train", "export", "bench", "inspect", "compare", "sensitivity", "study_detectors"),
        "study_updates",
    ]
    out = {}
    for program, arguments in commands:
        if program == "compare":
            # What its reader has besides.
            other = ("--workdir=runs/other", "--config.train.dense_baseline=false")
            _call(call_program, "train", *LITTLE, *other)
        out[program] = _call(call_program, program, *arguments, *ADDED.get(program, ()))
    report = json.loads((tmp_path / "runs/mine/report.json").read_text())
    assert len(report["artefacts"]) >= 3
    (timing,) = report["bench"]
    assert timing["path"] == "runs/mine"
    assert timing["dense_accuracy"] == report["dense"]["test_accuracy"]
    assert json.loads((tmp_path / "runs/mine.json").read_text())["rows"] == [timing]
    assert json.loads((tmp_path / "sensitivity.json").read_text())["layers"]
    for name in ("runs/mine/figures/timings.png", "bench.png", "sensitivity.png"):
        assert (tmp_path / name).stat().st_size > 5000
    assert "Where it runs" in (tmp_path / "runs/mine/report.html").read_text()
    assert "stage3_block1_conv2" in out["inspect"]
    assert "runs/mine" in out["compare"] and "runs/other" in out["compare"]
    for study in ("study", "updates"):
        assert json.loads((tmp_path / f"runs/{study}/study.json").read_text())["summary"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """What the pages' commands find where their reader is: configs, pictures, a prepared set."""
    place = tmp_path_factory.mktemp("reader")
    (place / "configs").symlink_to(ROOT / "configs")
    pictures = np.random.RandomState(0).randint(0, 256, (60, 32, 32, 3), np.uint8)
    labels = np.arange(60) % 2
    np.savez(place / "pictures.npz", images=pictures, labels=labels)
    for number, picture in enumerate(pictures):
        folder = place / "pictures" / f"class_{labels[number]}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    examples = [
        {"image": picture, "label": label} for picture, label in zip(pictures, labels, strict=True)
    ]
    features = {
        "image": tfds.features.Image(shape=(32, 32, 3)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="cifar100",
        version="3.0.2",
        features=tfds.features.FeaturesDict(features),
        split_datasets={part: iter(enumerate(examples)) for part in ("train", "test")},
        data_dir=place / "DIR",
    )
    return place


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_flags_of_every_command_are_accepted(page, place, call_program, monkeypatch):
    monkeypatch.chdir(place)
    worker = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(worker))
    # One of those that give the same flags; docs/commands.md names each item.
    tried = {
        (program, *(argument.partition("=")[0] for argument in arguments)): (program, arguments)
        for program, arguments in _commands(page)
    }
    for program, arguments in tried.values():
        ticket = any(argument.startswith("--config.ticket=") for argument in arguments)
        if program in OF_A_RUN or ticket:
            continue  # Those of docs/commands.md run above.
        if program == "reproduce":
            # docs/commands.md goes through all of them.
            every = "--item=$item" in arguments
            items = ITEMS if every else [None if "--item=" in str(arguments) else "fig1"]
            for item in items:
                chosen = [f"--item={item}"] if item else []
                _call(call_program, program, *arguments, *chosen, "--dry_run")
        else:
            _call(call_program, program, *arguments, "--dry_run")
