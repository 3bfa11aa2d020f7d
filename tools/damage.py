"""Damages files of runs one at a time, continues the runs, and looks at what comes out.

    python tools/damage.py --keras=tf_keras --cases=100

What `python tools/torture.py --damage=N` and the tests start: a process of its own, since it
switches on op determinism. A damaged run must end with the result of one that was left alone, or
refuse in one line and leave all other files as they were.
"""

import csv
import gc
import importlib
import json
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from absl import app, flags
from compare_runs import SIZES, TIMES, timeless

from tf_earlyticket.backends import backend_named
from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.files import sha256
from tf_earlyticket.job import phases
from tf_earlyticket.job.family import train_family
from tf_earlyticket.job.job import train_and_evaluate
from tf_earlyticket.job.log import Display, Progress
from tf_earlyticket.models import register_model
from tf_earlyticket.tickets.ticket import Ticket

WAYS = ("removed", "cut", "flipped")
# Of pruning; a family is of two tickets from one dense training.
MODES = ("continue", "rewind", "family")
# How far a run has come: to its end, or stopped in the search, or in the training after it.
STATES = ("finished", "searching", "training")
KINDS = ("same", "refused", "different", "crashed")
# Runs by their directory: the config, and the outcome of one that was left alone.
Bases = dict[Path, tuple[Config, list]]


@dataclass(frozen=True)
class Case:
    """One damage: which file of which run, and how."""

    base: Path
    file: str
    way: str

    def __str__(self) -> str:
        return f"{self.base.parent.name}/{self.base.name}: {self.file} {self.way}"


@dataclass(frozen=True)
class Seen:
    """What came of a case: "same", "refused", "different" or "crashed", and the line that told."""

    case: Case
    kind: str
    line: str = ""


class _Stopped(Exception):
    pass


def small_network(input_shape, num_classes, weight_decay, framework="tf_keras"):
    """Returns three convolutions and a classifier: most of a case's time is tracing."""
    layers = importlib.import_module(framework).layers
    kinds = [layers.Input(input_shape)]
    for width in (4, 8, 8):
        kinds += [layers.Conv2D(width, 3, use_bias=False), layers.BatchNormalization()]
        kinds += [layers.ReLU()]
    kinds += [layers.GlobalAveragePooling2D(), layers.Dense(num_classes)]
    del weight_decay
    return importlib.import_module(framework).Sequential(kinds)


def config_of(keras: str, mode: str) -> Config:
    """Returns a deterministic run of a few seconds: 4 epochs of 2 steps, the start after 2."""
    config = Config()
    config.data.train_examples, config.data.validation_examples = 64, 32
    config.model.name, config.model.keras = "small_network", keras
    config.train.epochs, config.train.batch_size, config.train.drop_epochs = 4, 32, (3,)
    config.train.deterministic = True
    config.pruning.rewind_epoch = 1
    if mode == "family":
        config.pruning.family = (0.5, 0.8)
    else:
        config.pruning.mode = mode
    config.train.dense_baseline = mode != "rewind"
    return config


def make_base(folder: Path, config: Config, state: str) -> Path:
    """Returns the directory of a run that has come to a state; it is made in `folder`."""
    stops = {"searching": ("search", 3), "training": ("dense", 4)}
    if config.pruning.mode == "rewind":
        stops = {"searching": ("search", 2), "training": ("retrain", 4)}
    if config.pruning.family:
        # In the dense training that all share, and in that of the first ticket.
        stops = {"searching": ("dense", 3), "training": ("search", 4)}

    class Stopping(Progress):
        """Stops before the checkpoint of an epoch."""

        def on_epoch_end(self, epoch, logs=None):
            if (self._phase, epoch + 1) == stops.get(state):
                raise _Stopped

    original = phases.make_progress
    phases.make_progress = Stopping
    try:
        run(config, folder / state)
    except _Stopped:
        pass
    finally:
        phases.make_progress = original
    return folder / state


def run(config: Config, workdir: Path) -> None:
    """Starts a run, or continues it, as in a process of its own."""
    tf.keras.backend.clear_session()
    backend_named(config.model.keras).keras.backend.clear_session()
    train = train_family if config.pruning.family else train_and_evaluate
    train(config, workdir, display=Display("quiet"), flags="--none\n")
    gc.collect()


def files_of(workdir: Path) -> list[str]:
    """Returns the files of a run, named from its directory; hidden ones aside."""
    paths = (path.relative_to(workdir) for path in sorted(workdir.rglob("*")) if path.is_file())
    return [path.as_posix() for path in paths if not path.name.startswith(".")]


def damage(path: Path, way: str, generator: random.Random) -> None:
    """Removes a file, cuts it off somewhere, or flips one bit of it."""
    content = bytearray(path.read_bytes())
    if way == "removed" or not content:
        path.unlink()
        return
    place = generator.randrange(len(content))
    if way == "cut":
        content = content[:place]
    else:
        content[place] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def outcome(workdir: Path) -> list:
    """Returns all that a run is for, times aside, to compare: report, rows, statistics, ticket.

    Of a family: its report and figure, and that of each of its runs.
    """
    if members := sorted((workdir / "tickets").glob("*")):
        report = json.loads((workdir / "report.json").read_text())
        shown = [(workdir / name).exists() for name in ("report.html", "figures/family.png")]
        return [timeless(report, TIMES + SIZES), shown, *map(outcome, members)]
    ticket = Ticket.load(workdir / "ticket")
    arrays = (ticket.masks, ticket.rewind_weights, ticket.final_weights)
    with open(workdir / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    figures = sorted(path.name for path in workdir.glob("figures/*.png"))
    html = (workdir / "report.html").read_text()
    return [
        *(timeless(json.loads((workdir / "report.json").read_text())), timeless(rows), figures),
        json.loads((workdir / "weight_statistics.json").read_text()),
        timeless(ticket.provenance),
        *([(name, array.tobytes()) for name, array in group.items()] for group in arrays),
        html.rstrip().endswith("</html>"),
    ]


def try_case(case: Case, config: Config, whole: list, folder: Path, seed: int) -> Seen:
    """Damages a copy of a run and continues it.

    Args:
        case: What to damage.
        config: Of the run.
        whole: The outcome of one that was left alone.
        folder: Where the copy goes, for the time being.
        seed: Of the place of the damage in the file.
    """
    workdir = folder / "damaged"
    shutil.copytree(case.base, workdir)
    try:
        damage(workdir / case.file, case.way, random.Random(f"{seed} {case}"))
        before = _hashes(workdir)
        try:
            run(config, workdir)
        except (InputError, RunError, OSError) as error:
            lost = [f for f, digest in _hashes(workdir).items() if before.get(f, digest) != digest]
            lost += [file for file in before if not (workdir / file).exists()]
            if (workdir / "tickets").exists():
                lost = _lost_of_family(workdir, case.file, lost, whole)
            if "\n" in str(error) or lost:
                return Seen(case, "crashed", f"lost {lost}: {error}")
            return Seen(case, "refused", str(error).replace(str(workdir), "WORKDIR"))
        except Exception as error:
            return Seen(case, "crashed", f"{type(error).__name__}: {error}")
        try:
            same = outcome(workdir) == whole
        except (OSError, ValueError) as error:
            return Seen(case, "different", str(error))
        return Seen(case, "same" if same else "different")
    finally:
        shutil.rmtree(workdir)


def _lost_of_family(workdir: Path, file: str, lost: list[str], whole: list) -> list[str]:
    """Returns what is lost of a family that was refused.

    Where a ticket's run was damaged, the dense training and the other tickets go on, and have to
    come out as in a family that was left alone; then what was changed of them is no loss.

    Args:
        workdir: Of the family.
        file: Which was damaged, from there.
        lost: Files that were changed or are gone.
        whole: The outcome of one that was left alone.
    """
    members = sorted((workdir / "tickets").glob("*"))
    (damaged,) = [each for each in members if (workdir / file).is_relative_to(each)] or [None]
    if damaged is None:
        return lost
    others = [
        member.name
        for member, expected in zip(members, whole[-len(members) :], strict=True)
        if member != damaged and outcome(member) != expected
    ]
    return [name for name in lost if (workdir / name).is_relative_to(damaged)] + others


def _hashes(workdir: Path) -> dict[str, str]:
    # TensorBoard's files grow with every start.
    names = (name for name in files_of(workdir) if not name.startswith("tensorboard/"))
    return {name: sha256(workdir / name) for name in names}


def bases(folder: Path, keras: str, modes: Iterable[str], states: Iterable[str]) -> Bases:
    """Makes runs in every state; with each its config and the outcome of the one left alone."""
    made = {}
    for mode in modes:
        config, place = config_of(keras, mode), folder / f"{keras}_{mode}"
        whole = outcome(make_base(place, config, "finished"))
        for state in states:
            base = place / state
            made[base if base.exists() else make_base(place, config, state)] = config, whole
    return made


def cases_of(made: Bases, number: int, seed: int) -> list[Case]:
    """Returns so many damages in random order; 0: every one of every file."""
    cases = [Case(base, file, way) for base in made for file in files_of(base) for way in WAYS]
    return random.Random(seed).sample(cases, min(number or len(cases), len(cases)))


def main(argv: list[str]) -> None:
    """Makes the runs, damages them, prints a line for each damage and writes all as JSON."""
    del argv
    values, found = flags.FLAGS, []
    for name in ("tf_earlyticket", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = bases(folder, values.keras, values.modes, values.states)
        # What is loaded by now stays: looking through it would be half the time of a case.
        gc.freeze()
        started = time.monotonic()
        for case in cases_of(made, values.cases, values.seed):
            if values.minutes and time.monotonic() - started > 60 * values.minutes:
                break
            found.append(try_case(case, *made[case.base], folder, values.seed))
            print(f"{found[-1].kind}: {case} {found[-1].line}".rstrip(), flush=True)
    counted = Counter(seen.kind for seen in found)
    counts = {kind: counted[kind] for kind in KINDS}
    print(f"{len(found)} damages: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    if values.output:
        said = [{"case": str(seen.case), "kind": seen.kind, "line": seen.line} for seen in found]
        Path(values.output).write_text(json.dumps({"counts": counts, "cases": said}, indent=1))
    if counts["different"] or counts["crashed"]:
        sys.exit(1)


register_model("small_network", small_network)


if __name__ == "__main__":
    flags.DEFINE_string("keras", "tf_keras", "tf_keras, or keras on the backend of KERAS_BACKEND.")
    flags.DEFINE_list("modes", list(MODES), "Of pruning.")
    flags.DEFINE_list("states", list(STATES), "How far runs have come.")
    flags.DEFINE_integer("cases", 0, "So many, drawn at random; 0: every file in every way.")
    flags.DEFINE_float("minutes", 0, "No further damage after so many; 0: no limit.")
    flags.DEFINE_integer("seed", 0, "Of the draw and of the places in the files.")
    flags.DEFINE_string("output", None, "A JSON file of what was seen.")
    app.run(main)
