"""A ticket's artefacts for deployment: made, checked, measured against the dense network, kept."""

import dataclasses
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tf_earlyticket import checks, files
from tf_earlyticket.deploy import formats as forms
from tf_earlyticket.deploy import onnx_files, openvino_files, tflite, timing
from tf_earlyticket.deploy.saved_model import Network, filled_copy
from tf_earlyticket.deploy.weight_tables import totals, weight_table
from tf_earlyticket.errors import InputError, RunError
from tf_earlyticket.tickets.storage import RECORD_FILE, SAVED_MODEL
from tf_earlyticket.tickets.ticket import Ticket

# The modules that make them, by the name of a format.
_MAKERS = {name: maker for maker in (tflite, onnx_files, openvino_files) for name in maker.FORMATS}
FORMATS = (SAVED_MODEL, *_MAKERS)
RESULT_FILE = "artefacts.json"
# The directory in a ticket that is made for them.
EXPORTED = "exported"
# Inputs on which every artefact is compared with the SavedModel.
COMPARED = 64
# Their greatest relative error where TensorFlow runs the same SavedModel again.
_ROUNDING = 1e-4
_CALLS = 5

# From inputs [batch, ...] to outputs [batch, ...].
Function = Callable[[np.ndarray], np.ndarray]


def check_formats(formats: Sequence[str]) -> None:
    """Checks names of formats.

    Raises:
        InputError: If one is unknown, or known not to work.
    """
    if not formats:
        raise checks.refuse("format", formats, f"at least one of {', '.join(FORMATS)}")
    for name in formats:
        if name in tflite.REFUSED:
            raise InputError(f"format={name}: not made, since {tflite.REFUSED[name]}.")
        checks.choice("format", name, FORMATS)
        if name in _MAKERS and (missing := forms.missing(_MAKERS[name].NEEDED)):
            raise InputError(
                f"format={name}: {', '.join(missing)} not installed; expected an environment with "
                f"it: {forms.INSTALL}."
            )


def check_output(ticket_directory: Path, output: Path) -> None:
    """Checks that artefacts can go to a directory without a change of the ticket itself.

    Raises:
        InputError: If it is the ticket or within it, its own `exported/` aside, or a file, or
            TensorFlow takes it for a pattern.
    """
    checks.plain_path("output", output)
    ticket, place = ticket_directory.resolve(), output.resolve()
    within = place.is_relative_to(ticket) and not place.is_relative_to(ticket / EXPORTED)
    if within or ticket.is_relative_to(place / SAVED_MODEL):
        expected = f"a directory outside of the ticket, or {EXPORTED}/ in it"
        raise checks.refuse("output", str(output), expected)
    if output.exists() and not output.is_dir():
        raise checks.refuse("output", str(output), "a directory, got a file")


def make_artefacts(
    ticket_directory: Path,
    formats: Sequence[str],
    output: Path,
    *,
    calibration: np.ndarray | None = None,
    accuracy: Callable[[Function], float] | None = None,
    rounds: int = 20,
    about: Mapping | None = None,
) -> dict:
    """Makes a ticket's artefacts and writes them, with a record of what was measured.

    Sizes and latencies are compared with the dense network in the same number type: the same
    graph with every pruned weight filled by a random one. Latencies are those of single inputs on
    one thread, measured in turn.

    Args:
        ticket_directory: A ticket with a SavedModel.
        formats: Of `FORMATS`.
        output: Directory for the artefacts and `artefacts.json`, see `check_output`. Existing ones
            of the same formats are replaced after all new ones were found good; those of other
            formats stay, and stay in the record if they are of the same ticket.
        calibration: Float array [examples, ...] of typical inputs: for int8, and to compare on.
        accuracy: Takes a function from inputs [batch, ...] to outputs and returns its accuracy on
            the test set; None: not measured.
        rounds: Of the latency measurement.
        about: JSON values to keep with the results, such as the command.

    Returns:
        {"about", "ticket": the hash of its `ticket.json`, "sparsity": float, "artefacts": [...]},
        all artefacts that are there, with the fields of a report's `Artefact`; those made earlier
        have their own "about". A size is of the file, or of all files of a SavedModel; compressed
        means by zlib, level 9.

    Raises:
        InputError: If the ticket is damaged or has no SavedModel, a format cannot be had, or
            `output` will not do.
        RunError: If an artefact does not load or differs too much; nothing is then written.
    """
    check_formats(formats)
    check_output(ticket_directory, output)
    ticket = Ticket.load(ticket_directory)
    source = ticket_directory / SAVED_MODEL
    if not source.is_dir():
        raise InputError(
            f"ticket={str(ticket_directory)!r} has no {SAVED_MODEL}/: expected one that "
            "et.export_ticket or a run wrote."
        )
    network = Network(source)
    inputs = network.example_inputs(COMPARED) if calibration is None else calibration[:COMPARED]
    network.check_inputs(inputs)
    reference = network(inputs)
    about_input = (
        None if ticket.input is None else files.json_text(dataclasses.asdict(ticket.input))
    )
    with files.replacing_directory(output) as folder:
        new, whole = folder / "new", folder / "dense"
        new.mkdir()
        filled_copy(source, ticket, whole / SAVED_MODEL)
        found = []
        for name in dict.fromkeys(formats):
            form, file = form_of(name), file_of(name)
            run = made(source, new / file, form, calibration, about_input)
            plain = form and dataclasses.replace(form, sparse=False)
            dense_run = made(whole / SAVED_MODEL, whole / file, plain, calibration, about_input)
            own, dense = sizes(new / file), sizes(whole / file)
            record = {
                "format": name,
                "file": file,
                **own,
                **{f"dense_{what}": size for what, size in dense.items()},
                "bytes_ratio": own["bytes"] / dense["bytes"],
                "compressed_ratio": own["compressed_bytes"] / dense["compressed_bytes"],
                **_zeros(new / file),
                **agreement(name, run(inputs), reference, form),
                "latency": _latency(run, dense_run, inputs[:1], rounds),
                "accuracy": None if accuracy is None else accuracy(run),
            }
            found.append(record)
        identity = files.sha256(ticket_directory / RECORD_FILE)
        kept = kept_artefacts(output, ticket_directory, formats)
        every = sorted([*kept, *found], key=lambda record: FORMATS.index(record["format"]))
        result = {"about": dict(about or {}), "ticket": identity, "sparsity": ticket.sparsity}
        files.make_directory(output)
        # Meanwhile it does not tell of those that are being replaced.
        files.write_json(output / RESULT_FILE, {**result, "artefacts": kept})
        for record in found:
            files.move(new / record["file"], output / record["file"])
        files.write_json(output / RESULT_FILE, result | {"artefacts": every})
    return result | {"artefacts": every}


def kept_artefacts(
    output: Path, ticket_directory: Path, replaced: Sequence[str] = ()
) -> list[dict]:
    """Returns the records of the ticket's artefacts that were made before and stay."""
    try:
        identity = files.sha256(ticket_directory / RECORD_FILE)
        earlier = files.read_json(output / RESULT_FILE)
        return [
            {"about": earlier["about"], **record}
            for record in earlier["artefacts"]
            if earlier["ticket"] == identity
            and record["format"] in FORMATS
            and record["format"] not in replaced
            and (output / record["file"]).exists()
        ]
    except (InputError, KeyError, TypeError):
        # There is none, or none of this kind: then it does not say of which ticket it is.
        return []


def form_of(name: str) -> forms.Form | None:
    """Returns how a format stores numbers; None for a SavedModel, which stores them as they are."""
    return _MAKERS[name].FORMATS[name] if name in _MAKERS else None


def file_of(name: str) -> str:
    """Returns what the file or directory of a format is called."""
    return f"{name}{_MAKERS[name].ENDING}" if name in _MAKERS else SAVED_MODEL


def made(
    source: Path,
    target: Path,
    form: forms.Form | None,
    calibration: np.ndarray | None,
    about: str | None = None,
) -> Function:
    """Writes a SavedModel in a format, None for its own, and returns what was written, running."""
    if form is not None:
        _MAKERS[form.name].write(source, target, form, calibration, about)
    elif target != source:
        shutil.copytree(source, target)
    return opened(form.name if form else SAVED_MODEL, target)


def opened(name: str, path: Path, threads: int | None = 1) -> Function:
    """Returns what a file of a format does; TensorFlow has its own number of threads."""
    if name in _MAKERS:
        return _MAKERS[name].run_file(path, threads, name)
    return Network(path)


def _zeros(path: Path) -> dict[str, int]:
    """Returns how many numbers the tensors of an artefact have, and how many of them are zero."""
    _, rows = weight_table(path)
    found = totals([row for row in rows if len(row["shape"]) > 1])
    return {"weights": found["weights"], "zeros": found["weights"] - found["kept"]}


def sizes(path: Path) -> dict[str, int]:
    """Returns the bytes of a file or of all in a directory, and compressed one by one (zlib, 9)."""
    paths = path.rglob("*") if path.is_dir() else [path]
    contents = [file.read_bytes() for file in paths if file.is_file()]
    compressed = sum(len(zlib.compress(content, 9)) for content in contents)
    return {"bytes": sum(map(len, contents)), "compressed_bytes": compressed}


def relative_error(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Returns the root mean square of the difference over that of the reference."""
    scale = np.sqrt(np.mean(np.square(reference, dtype=np.float64)))
    difference = np.sqrt(np.mean(np.square(outputs - reference, dtype=np.float64)))
    return float(difference / max(scale, np.finfo(np.float32).tiny))


def agreement(
    name: str, outputs: np.ndarray, reference: np.ndarray, form: forms.Form | None
) -> dict[str, float]:
    """Returns the relative error, and the fraction of inputs with the same greatest output.

    Raises:
        InputError: If the reference is not finite.
        RunError: If the error is greater than the form tolerates.
    """
    if not np.isfinite(reference).all():
        expected = "inputs for which the network's outputs are finite; made-up ones may be none"
        raise checks.refuse("calibration", "NaN or infinity", expected)
    tolerance = form.tolerance if form else _ROUNDING
    error = relative_error(outputs, reference)
    if not error <= tolerance:
        raise RunError(
            f"{name}: outputs differ from the SavedModel's by {error:.2g} (relative, root "
            f"mean square); accepted is {tolerance:g}. Nothing was written."
        )
    same = np.argmax(outputs, axis=-1) == np.argmax(reference, axis=-1)
    return {"relative_error": error, "same_class": float(np.mean(same))}


def _latency(run: Function, dense_run: Function, inputs: np.ndarray, rounds: int) -> dict:
    def timed(function: Function) -> Callable[[], float]:
        return lambda: timing.seconds(lambda: [function(inputs) for _ in range(_CALLS)]) / _CALLS

    times = timing.alternate({"own": timed(run), "dense": timed(dense_run)}, rounds, warmup=2)
    return {
        "seconds": float(np.median(times["own"])),
        "dense_seconds": float(np.median(times["dense"])),
        **timing.ratio(times["own"], times["dense"]),
    }
