"""Kills runs at random moments, continues them, and compares them with one that was left alone.

    python tools/torture.py --kills=100
    python tools/torture.py --kills=20 --shrunk --output=FILE
    python tools/torture.py --kills=20 --family --output=FILE
    python tools/torture.py --kills=10 --updates --output=FILE
    KERAS_BACKEND=jax python tools/torture.py --keras=keras --kills=100 --output=FILE
    python tools/torture.py --damage=400 [--family]

Each kill is SIGKILL (every fifth: SIGTERM, which a run may answer by saving) at a random moment of
a run's life, from its first output on: in training, probes, mask updates, while files are written,
between phases. A run is continued until it ends; then everything it wrote is compared, and the
next one is started. Prints the number of kills, how many were survived, and the differing bytes.

With --shrunk, runs prune whole channels and train on without them after the ramp; with --family,
each makes two tickets from one dense training; with --updates, runs under each mask update are
killed so many times.

With --damage, so many files of finished and unfinished runs are removed, cut or changed instead,
one at a time, under every Keras; see `damage.py`.
"""

import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import benchmarking
import numpy as np
import tensorflow as tf
from absl import app, flags
from compare_runs import SIZES, TIMES, timeless

from tf_earlyticket.files import read_npz
from tf_earlyticket.pruning.updates import UPDATES
from tf_earlyticket.tickets.ticket import Ticket

# A digits run of a quarter of a minute with probes, a ramp, a dense baseline and an export.
CONFIG = (
    "--config.model.name=resnet8",
    "--config.train.epochs=6",
    "--config.train.drop_epochs=3,5",
    "--config.train.batch_size=32",
    "--config.train.deterministic=true",
    "--config.data.train_examples=256",
    "--config.data.validation_examples=100",
    "--config.pruning.rewind_epoch=1",
)
SHRUNK = (
    "--config.pruning.structure=channels",
    "--config.pruning.target=macs:0.5",
    "--config.pruning.channel_multiple=4",
    "--config.pruning.shrink_after_ramp=true",
    "--config.pruning.hold_epochs=2",
)
FAMILY = ("--config.pruning.final_sparsity=0.5,0.8",)
PHASES = ("search", "branch", "shrunk", "dense")
# Of when TFMOT's masks were last written, which a restart does; not part of what a run is.
_IGNORED = ("save_counter", "pruning_step", "threshold", "_CHECKPOINTABLE_OBJECT_GRAPH")


def command(workdir: Path, config: tuple[str, ...] = CONFIG) -> list[str]:
    """Returns the command of a run."""
    return [sys.executable, "-m", "tf_earlyticket.train", *config, f"--workdir={workdir}"]


def live(
    workdir: Path, moment: float | None, signal_number: int, config: tuple[str, ...] = CONFIG
) -> tuple[bool, float]:
    """Starts a run, or continues it, and ends it so long after its first line of output.

    Args:
        workdir: Of the run.
        moment: Seconds from the first output; None: leave it alone.
        signal_number: How to end it.
        config: Its flags.

    Returns:
        (ended, seconds): whether the run came to its own end, and how long that took from its
        first output on.

    Raises:
        RuntimeError: If the run ends in another way than by its own end or the signal.
    """
    environment = {**os.environ, "PYTHONPATH": str(benchmarking.ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command(workdir, config),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        process.stdout.readline()
        started = time.perf_counter()
        timer = None
        if moment is not None:
            timer = threading.Timer(moment, process.send_signal, (signal_number,))
            timer.start()
        process.stdout.read()
        status = process.wait()
        took = time.perf_counter() - started
        if timer is not None:
            timer.cancel()
        errors.seek(0)
        said = errors.read()
    saved = status == 1 and "terminated, saved" in said
    if status not in (0, -signal.SIGKILL, -signal.SIGTERM) and not saved:
        raise RuntimeError(f"The run in {workdir} ended with status {status}:\n{said[-3000:]}")
    return status == 0, took


def differing_bytes(one: Path, other: Path) -> int:
    """Returns how many bytes differ in what two runs wrote, times and commands aside.

    Compared: every variable of the last checkpoint of each phase, masks and weights of the ticket,
    all numbers of `report.json` and `metrics.csv`, and the weights' statistics; of a family its
    report and dense training, and that of each ticket's run.
    """
    members = [sorted((workdir / "tickets").glob("*")) for workdir in (one, other)]
    if members[0] or members[1]:
        own = sum(
            _difference(left, right)
            for left, right in zip(_shared(one), _shared(other), strict=True)
        )
        return own + sum(itertools.starmap(differing_bytes, zip(*members, strict=True)))
    return sum(
        _difference(left, right)
        for left, right in zip(_contents(one), _contents(other), strict=True)
    )


def _difference(left: bytes, right: bytes) -> int:
    same_length = min(len(left), len(right))
    a, b = (np.frombuffer(text[:same_length], np.uint8) for text in (left, right))
    return int(np.count_nonzero(a != b)) + abs(len(left) - len(right))


def _shared(workdir: Path):
    """What the tickets of a family share."""
    yield from _checkpoints(workdir)
    report = json.loads((workdir / "report.json").read_text())
    yield json.dumps(timeless(report, TIMES + SIZES)).encode()


def _contents(workdir: Path):
    yield from _checkpoints(workdir)
    ticket = Ticket.load(workdir / "ticket")
    for arrays in (ticket.masks, ticket.rewind_weights, ticket.final_weights):
        yield from (array.tobytes() for array in arrays.values())
    for name in ("report.json", "weight_statistics.json"):
        yield json.dumps(timeless(json.loads((workdir / name).read_text()))).encode()
    with open(workdir / "metrics.csv", newline="") as file:
        yield json.dumps([timeless(row) for row in csv.DictReader(file)]).encode()


def _checkpoints(workdir: Path):
    for phase in PHASES:
        if not (workdir / "checkpoints" / phase).exists():
            continue
        directory = workdir / "checkpoints" / phase
        # Of Keras 3.
        if saved := sorted(directory.glob("ckpt-*.npz"), key=lambda path: int(path.stem[5:])):
            yield from (array.tobytes() for array in read_npz(saved[-1]).values())
            continue
        path = tf.train.latest_checkpoint(str(directory))
        reader = tf.train.load_checkpoint(path)
        for name in sorted(reader.get_variable_to_shape_map()):
            if not any(part in name for part in _IGNORED):
                yield np.asarray(reader.get_tensor(name)).tobytes()


def torture(kills: int, seed: int, folder: Path, config: tuple[str, ...] = CONFIG) -> dict:
    """Kills runs with the flags `config` so many times; compares each with one left alone.

    Returns:
        "kills", "survived" (kills of runs that ended the same), "differing_bytes", "runs", and
        "moments": the seconds at which each kill came, with its signal.
    """
    reference = folder / "reference"
    _, whole = live(reference, None, signal.SIGKILL, config)
    generator = random.Random(seed)
    moments, survived, differing, runs = [], 0, 0, 0
    while len(moments) < kills:
        runs += 1
        workdir, here, ended = folder / f"run{runs}", 0, False
        while not ended:
            if len(moments) < kills:
                number = signal.SIGTERM if len(moments) % 5 == 4 else signal.SIGKILL
                moment = generator.uniform(0, whole)
                ended, _ = live(workdir, moment, number, config)
                if not ended:
                    here += 1
                    moments.append([round(moment, 3), signal.Signals(number).name])
                    print(f"kill {len(moments)}: {moments[-1][1]} after {moment:.1f} s", flush=True)
            else:
                ended, _ = live(workdir, None, signal.SIGKILL, config)
        found = differing_bytes(reference, workdir)
        differing += found
        survived += here if not found else 0
        print(f"run {runs}: {here} kills, {found} differing bytes", flush=True)
        shutil.rmtree(workdir)
    return {
        "kills": len(moments),
        "survived": survived,
        "differing_bytes": differing,
        "runs": runs,
        "seed": seed,
        "config": list(config),
        "moments": moments,
    }


def under_every_update(kills: int, seed: int, folder: Path, config: tuple[str, ...]) -> dict:
    """Kills runs under each mask update so many times.

    Returns:
        As `torture`, of all together; "updates" has them by update, without seed.
    """
    found = {
        update: torture(
            kills, seed, folder / str(place), (*config, f"--config.pruning.update={update}")
        )
        for place, update in enumerate([*UPDATES, "regrow(threshold='feather')"])
    }
    for each in found.values():
        del each["seed"]
    names = ("kills", "survived", "differing_bytes", "runs")
    sums = {name: sum(each[name] for each in found.values()) for name in names}
    return {**sums, "seed": seed, "config": list(config), "updates": found}


# (config.model.keras, KERAS_BACKEND)
EVERY_KERAS = (("tf_keras", ""), ("keras", "tensorflow"), ("keras", "jax"))


def damaged(number: int, seed: int, modes: str) -> dict:
    """Damages files of runs of those modes, an equal number under every Keras.

    Returns:
        "same", "refused", "different", "crashed": how many continued runs came out so; with the
        seed and all that was seen under each Keras.
    """
    found = {}
    for keras, backend in EVERY_KERAS:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "found.json"
            share = -(-number // len(EVERY_KERAS))
            arguments = [f"--keras={keras}", f"--cases={share}", f"--seed={seed}"]
            arguments.append(f"--modes={modes}")
            environment = {**os.environ, "PYTHONPATH": str(benchmarking.ROOT)}
            if backend:
                environment["KERAS_BACKEND"] = backend
            command = [sys.executable, str(Path(__file__).with_name("damage.py")), *arguments]
            subprocess.run([*command, f"--output={output}"], env=environment, check=False)
            found["_".join(filter(None, (keras, backend)))] = json.loads(output.read_text())
    kinds = {kind for part in found.values() for kind in part["counts"]}
    counts = {kind: sum(part["counts"][kind] for part in found.values()) for kind in sorted(kinds)}
    return {"damages": sum(counts.values()), **counts, "seed": seed, "seen": found}


def main(argv: list[str]) -> None:
    """Kills, compares, prints the outcome, writes the JSON."""
    del argv
    if flags.FLAGS.damage:
        modes = "family" if flags.FLAGS.family else "continue,rewind"
        found = damaged(flags.FLAGS.damage, flags.FLAGS.seed, modes)
        told = ", ".join(f"{found[kind]} {kind}" for kind in found["seen"]["tf_keras"]["counts"])
        print(f"{found['damages']} damages: {told}")
        name = "damage_family.json" if flags.FLAGS.family else "damage.json"
        benchmarking.write(Path(flags.FLAGS.output).with_name(name), found)
        if found["different"] or found["crashed"]:
            sys.exit(1)
        return
    config = CONFIG + SHRUNK * flags.FLAGS.shrunk + FAMILY * flags.FLAGS.family
    if flags.FLAGS.keras != "tf_keras":
        config += (f"--keras={flags.FLAGS.keras}",)
    kill = under_every_update if flags.FLAGS.updates else torture
    with tempfile.TemporaryDirectory() as folder:
        found = kill(flags.FLAGS.kills, flags.FLAGS.seed, Path(folder), config)
    print(
        f"{found['kills']} kills, {found['survived']} survived, "
        f"{found['differing_bytes']} differing bytes"
    )
    if backend := os.environ.get("KERAS_BACKEND"):
        found["keras_backend"] = backend
    benchmarking.write(Path(flags.FLAGS.output), found)
    if found["survived"] < found["kills"]:
        sys.exit(1)


if __name__ == "__main__":
    flags.DEFINE_integer("kills", 100, "How many.", lower_bound=1)
    flags.DEFINE_enum("keras", "tf_keras", ["tf_keras", "keras"], "Of the runs that are killed.")
    flags.DEFINE_bool("shrunk", False, "Runs that go on with a small network after the ramp.")
    flags.DEFINE_bool("family", False, "Runs that make two tickets from one dense training.")
    flags.DEFINE_bool("updates", False, "So many kills under each mask update.")
    flags.DEFINE_integer("damage", 0, "So many damages of files instead.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the moments, and of the damages.")
    flags.DEFINE_string(
        "output",
        str(benchmarking.ROOT / "results" / "reliability" / "torture.json"),
        "The result file.",
    )
    app.run(main)
