"""Networks timed in several runtimes beside a dense one, and that beside itself: the control.

For processors that are not at hand there are estimates (`ESTIMATORS`).

Each runtime runs in fresh processes, one after the other: the interval of one process understates
what another one shows. As a program this module is such a process.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.deploy import artefacts, onnx_files, openvino_files, timing, vela
from tf_earlyticket.deploy import formats as forms
from tf_earlyticket.deploy.artefacts import Function
from tf_earlyticket.deploy.saved_model import limit_threads
from tf_earlyticket.errors import RunError
from tf_earlyticket.tickets.storage import SAVED_MODEL

PRECISIONS = ("float32", "int8")
CONTROLS = DENSE, AGAIN = "dense", "dense again"
_PROCESS_SECONDS = 3600
# A measurement is the fastest of as many calls as fit in, from 1 to 20.
_SAMPLE_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Something that runs networks, or says what running them would cost.

    Attributes:
        needed: Packages by the names they are imported by, also to write its files.
        distributions: Those that are shown with their versions.
        formats: Of its files, by precision.
        install: How to get what is needed.
    """

    needed: tuple[str, ...]
    distributions: tuple[str, ...]
    formats: Mapping[str, str]
    install: str = forms.INSTALL


RUNTIMES = {
    "tensorflow": Runtime((), ("tensorflow",), {"float32": SAVED_MODEL}),
    "litert": Runtime(
        ("ai_edge_litert",), ("ai-edge-litert",), {"float32": "tflite", "int8": "tflite_int8"}
    ),
    "onnxruntime": Runtime(
        onnx_files.NEEDED, ("onnxruntime", "tf2onnx"), {"float32": "onnx", "int8": "onnx_int8"}
    ),
    "openvino": Runtime(
        openvino_files.NEEDED, ("openvino",), {"float32": "openvino", "int8": "openvino_int8"}
    ),
}
ESTIMATORS = {
    "vela": Runtime(vela.NEEDED, ("ethos-u-vela",), {"int8": "tflite_int8"}, vela.INSTALL),
}
EVERY_RUNTIME = {**RUNTIMES, **ESTIMATORS}


@dataclasses.dataclass(frozen=True)
class Options:
    """What is measured, and how often.

    Attributes:
        runtimes: Of `EVERY_RUNTIME`.
        precisions: Of `PRECISIONS`.
        batches: Examples a call.
        threads: Of the runtime.
        processes: Fresh ones for each runtime, precision and number of threads.
        rounds: In each process, for each batch; each measures all networks, in random order.
        accelerator: Of `vela.ACCELERATORS`, for estimates.
        int8_tolerance: Greatest relative error of 8 bits that is accepted; None: the format's own.
            Of random weights, which lose more, only speed and size are asked.
    """

    runtimes: Sequence[str] = tuple(RUNTIMES)
    precisions: Sequence[str] = PRECISIONS
    batches: Sequence[int] = (1, 32)
    threads: Sequence[int] = (1,)
    processes: int = 5
    rounds: int = 10
    accelerator: str = "ethos-u55-128"
    int8_tolerance: float | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be measured; raises InputError."""
        for field, known in (("runtime", EVERY_RUNTIME), ("precision", PRECISIONS)):
            for value in (chosen := getattr(self, f"{field}s")):
                checks.choice(field, value, known)
            if not chosen:
                raise checks.refuse(field, chosen, f"at least one of {', '.join(known)}")
        for field, counts in (("batch", self.batches), ("threads", self.threads)):
            if not counts:
                raise checks.refuse(field, counts, "at least one number")
            for value in counts:
                checks.integer(field, value, 1)
        for field in ("processes", "rounds"):
            checks.integer(field, getattr(self, field), 1)
        checks.choice("accelerator", self.accelerator, vela.ACCELERATORS)


def with_runtimes(options: Options, tell: Callable[[str], object]) -> Options:
    """Returns options with the runtimes that are installed; of others it tells how to get them.

    Raises:
        InputError: If none is.
    """
    found, ways = [], []
    for name in dict.fromkeys(options.runtimes):
        about = EVERY_RUNTIME[name]
        if missing := forms.missing(about.needed):
            tell(f"{name} is left out, {', '.join(missing)} not installed: {about.install}")
            ways.append(about.install)
        else:
            found.append(name)
    if not found:
        given = ",".join(options.runtimes)
        raise checks.refuse(
            "runtime", given, f"an installed one: {' or '.join(dict.fromkeys(ways))}"
        )
    return dataclasses.replace(options, runtimes=found)


def measure(
    networks: Mapping[str, Path],
    dense: Path,
    inputs: np.ndarray,
    options: Options,
    *,
    accuracy: Callable[[Function], float] | None = None,
    tell: Callable[[str], object] = print,
    failures: list[str] | None = None,
) -> list[dict]:
    """Returns what was measured of networks beside the dense one.

    Args:
        networks: SavedModels by name, none of `CONTROLS`, without whatever is pruned.
        dense: The SavedModel that they are compared with.
        inputs: Float array [examples, ...], typical ones: to calibrate int8, to compare on, to run.
        options: What to measure, and how often.
        accuracy: From a function of inputs [batch, ...] to outputs to its accuracy on test data.
        tell: Is told what goes on, and of each runtime that cannot take a network.
        failures: Gets a line for each process that failed, and the others are measured; None: the
            first is raised.

    Returns:
        For each network, runtime, precision, number of threads and batch a dict with the fields of
        a report's `Timing`; the dense network's accuracy is not known here.
    """
    rows = []
    for runtime, precision, name in _chosen(RUNTIMES, options):
        with _files(
            networks, dense, name, inputs, options, f"{runtime}, {precision}", tell
        ) as written:
            if not written:
                continue
            known = {key: accuracy and accuracy(written[key][1]) for key in networks}
            sizes = {key: artefacts.sizes(file) for key, (file, _) in written.items()}
            files = {key: file for key, (file, _) in written.items()}
            for threads in options.threads:
                tell(f"{runtime}, {precision}, {threads} threads")
                try:
                    found = _processes(name, files, inputs, threads, options)
                except RunError as error:
                    if failures is None:
                        raise
                    failures.append(f"{runtime}, {precision}, {threads} threads: {error}")
                    continue
                for key, batch in itertools.product(networks, options.batches):
                    rows.append(
                        {"path": key, "runtime": runtime, "precision": precision}
                        | {"batch": batch, "threads": threads, **summary(found, key, batch)}
                        | {**sizes[key], "accuracy": known[key], "dense_accuracy": None}
                        | {f"dense_{what}": size for what, size in sizes[DENSE].items()}
                    )
    return rows


def estimates(
    networks: Mapping[str, Path],
    dense: Path,
    inputs: np.ndarray,
    options: Options,
    *,
    tell: Callable[[str], object] = print,
) -> list[dict]:
    """Returns what Vela estimates for networks and the dense one, if it is among the runtimes.

    Args:
        networks: As for `measure`.
        dense: As for `measure`.
        inputs: As for `measure`.
        options: Its runtimes, precisions and accelerator count.
        tell: Is told why, if Vela cannot take a network.

    Returns:
        For each network a dict of what it is, the "accelerator", and what `vela.estimate` returns;
        with "dense_" in front the numbers of the dense network.
    """
    rows = []
    for runtime, precision, name in _chosen(ESTIMATORS, options):
        label = f"{runtime}, {precision}"
        with _files(networks, dense, name, inputs, options, label, tell) as written:
            try:
                found = {
                    key: vela.estimate(file, options.accelerator)
                    for key, (file, _) in written.items()
                }
            except RunError as error:
                tell(f"{label} is left out: {error}")
                continue
            for key in networks if found else ():
                whole = {k: v for k, v in found[DENSE].items() if isinstance(v, int)}
                rows.append(
                    {"path": key, "runtime": runtime, "precision": precision}
                    | {"accelerator": options.accelerator, **found[key]}
                    | {f"dense_{what}": number for what, number in whole.items()}
                )
    return rows


def _chosen(known: Mapping[str, Runtime], options: Options) -> Iterator[tuple[str, str, str]]:
    """Yields the runtimes of `known` and precisions that are asked for, each with its format."""
    for runtime, precision in itertools.product(options.runtimes, options.precisions):
        if runtime in known and precision in known[runtime].formats:
            yield runtime, precision, known[runtime].formats[precision]


@contextlib.contextmanager
def _files(
    networks: Mapping[str, Path],
    dense: Path,
    name: str,
    inputs: np.ndarray,
    options: Options,
    label: str,
    tell: Callable[[str], object],
) -> Iterator[dict[str, tuple[Path, Function]]]:
    """Yields what `_written` returns of each network and the dense one; none if one cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = {
                key: _written(
                    source, Path(folder) / str(number), name, inputs, options, key == DENSE
                )
                for number, (key, source) in enumerate({DENSE: dense, **networks}.items())
            }
        except RunError as error:
            tell(f"{label} is left out: {error}")
            written = {}
        yield written


def _written(
    source: Path, folder: Path, name: str, inputs: np.ndarray, options: Options, dense: bool
) -> tuple[Path, Function]:
    """Writes a SavedModel in a format and returns the file and what runs it, once it agrees."""
    folder.mkdir()
    form = artefacts.form_of(name)
    if form is not None and dense:
        form = dataclasses.replace(form, sparse=False)
    file = folder / artefacts.file_of(name)
    run = artefacts.made(source, file, form, inputs)
    compared = inputs[: artefacts.COMPARED]
    reference = artefacts.opened(SAVED_MODEL, source)(compared)
    if form is not None and form.weights == "int8" and options.int8_tolerance is not None:
        form = dataclasses.replace(form, tolerance=options.int8_tolerance)
    artefacts.agreement(name, run(compared), reference, form)
    return file, run


def _processes(
    name: str, files: Mapping[str, Path], inputs: np.ndarray, threads: int, options: Options
) -> list[dict]:
    """Returns what each of the processes measured."""
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "inputs.npy"
        np.save(taken, np.resize(inputs, (max(options.batches), *inputs.shape[1:])))
        order = {"format": name, "threads": threads, "inputs": str(taken)}
        order |= {"batches": list(options.batches), "rounds": options.rounds}
        order |= {"files": {key: str(file) for key, file in files.items()}}
        found = []
        for seed in range(options.processes):
            try:
                done = subprocess.run(
                    [sys.executable, "-m", __spec__.name, json.dumps(order | {"seed": seed})],
                    env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
                    capture_output=True,
                    text=True,
                    timeout=_PROCESS_SECONDS,
                )
            except subprocess.TimeoutExpired:
                raise RunError(f"{name}: a process took over {_PROCESS_SECONDS} s") from None
            if done.returncode:
                raise RunError(f"{name}: a process failed: {done.stderr.strip()[-500:]}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def summary(processes: Sequence[dict], network: str, batch: int) -> dict[str, float | None]:
    """Returns what the processes say of a network and of the dense one.

    Args:
        processes: What `timed` returned in each.
        network: Its name.
        batch: Examples a call.

    Returns:
        Medians over all rounds of all processes; "ratio" and "control" with 95 % intervals.
    """
    times = {
        key: [process["seconds"][str(batch)][key] for process in processes]
        for key in (network, DENSE, AGAIN)
    }
    ratio = timing.ratio_over_processes(times[network], times[DENSE])
    control = timing.ratio_over_processes(times[AGAIN], times[DENSE])
    seconds = {key: float(np.median(times[key])) for key in (network, DENSE)}

    def median(what: str, key: str) -> float | None:
        values = [process[what][key] for process in processes]
        return None if None in values else float(np.median(values))

    return {
        "ms": 1e3 * seconds[network],
        "dense_ms": 1e3 * seconds[DENSE],
        "ratio": ratio["ratio"],
        "ratio_low": ratio["low"],
        "ratio_high": ratio["high"],
        "control": control["ratio"],
        "control_low": control["low"],
        "control_high": control["high"],
        "examples_per_second": batch / seconds[network],
        "load_ms": median("load_ms", network),
        "dense_load_ms": median("load_ms", DENSE),
        "memory_bytes": median("memory_bytes", network),
        "dense_memory_bytes": median("memory_bytes", DENSE),
    }


def timed(order: Mapping) -> dict:
    """Times the networks of an order in this process.

    Args:
        order: "format", "files" (by name, with `DENSE`), "threads", "inputs" (.npy), "batches",
            "rounds", "seed".

    Returns:
        "load_ms" and "memory_bytes" by network, of loading it and its first call (memory: what the
        process grew by; None where that is not known), and "seconds" by batch and network a list
        over the rounds. `AGAIN` is the dense network a second time.
    """
    if order["format"] == SAVED_MODEL:
        limit_threads(order["threads"])
    random = np.random.default_rng(order["seed"])
    files = {**order["files"], AGAIN: order["files"][DENSE]}
    inputs = np.load(order["inputs"])

    def opened(key: str) -> Function:
        return artefacts.opened(order["format"], Path(files[key]), order["threads"])

    # What the runtime sets up once is no network's own.
    first = opened(DENSE)
    first(inputs[:1])
    functions, load_ms, memory = {}, {}, {}
    for key in random.permutation(list(files)):
        before = _resident_bytes()

        def load(key=key):
            functions[key] = opened(key)
            functions[key](inputs[:1])

        load_ms[key] = 1e3 * timing.seconds(load)
        grown = _resident_bytes()
        memory[key] = None if grown is None or before is None else grown - before
    seconds = {}
    for batch in order["batches"]:
        given, values = inputs[:batch], {key: [] for key in files}
        # Of a new shape the first call takes longer.
        for run in functions.values():
            run(given)
        needed = [timing.seconds(lambda f=f, x=given: f(x)) for f in functions.values()]
        calls = min(20, max(1, math.floor(_SAMPLE_SECONDS / np.median(needed))))
        for _ in range(order["rounds"]):
            for key in random.permutation(list(files)):
                run = functions[key]
                # What else the machine does disturbs the fastest least.
                fastest = min(timing.seconds(lambda f=run, x=given: f(x)) for _ in range(calls))
                values[key].append(fastest)
        seconds[str(batch)] = values
    return {"load_ms": load_ms, "memory_bytes": memory, "seconds": seconds}


def _resident_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(timed(json.loads(sys.argv[1]))))
