"""Damaged and hostile tickets: each is refused with one line, runs nothing, reserves little."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from old_ticket import write_old_arrays, write_old_ticket

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import sha256, write_arrays
from tf_earlyticket.tickets.ticket import Ticket

MASKS, REWIND, FINAL = "masks", "rewind_weights", "final_weights"
RECORD = "ticket.json"
OLD, NEW = ".npz", ".safetensors"
GIGABYTE = 1 << 30


@pytest.fixture
def make(tmp_path):
    """Returns a function that makes a good ticket with a SavedModel, in files of an ending.

    It stands next to a file that is none of its business.
    """

    def made(ending):
        (tmp_path / "secret").write_text("outside")
        saved_model = tmp_path / "made"
        (saved_model / "variables").mkdir(parents=True)
        (saved_model / "saved_model.pb").write_bytes(b"graph")
        (saved_model / "variables" / "data").write_bytes(b"numbers")
        weights = {"a/kernel": np.arange(1.0, 7.0).reshape(2, 3), "a/bias": np.ones(3)}
        mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
        final = {**weights, "a/kernel": np.where(mask, weights["a/kernel"], 0)}
        ticket = Ticket({"a/kernel": mask}, weights, 1, 2, {"note": "x"}, final)
        save = write_old_ticket if ending == OLD else Ticket.save
        save(ticket, tmp_path / "ticket", saved_model=saved_model)
        return tmp_path / "ticket"

    return made


def _in_directory(directory, name):
    """Returns the path of a file of the ticket; arrays may be named without the ending."""
    (found,) = [p for end in ("", OLD, NEW) if (p := directory / f"{name}{end}").is_file()]
    return found


def _change(change):
    """Returns a damage: a change of the record."""

    def damage(directory):
        record = json.loads((directory / RECORD).read_text())
        change(record)
        (directory / RECORD).write_text(json.dumps(record))

    return damage


def _rehash(path):
    """Makes the record vouch for a file, as whoever forges a ticket would."""
    _change(lambda record: record["sha256"].update({path.name: sha256(path)}))(path.parent)


def _file(name, content):
    """Returns a damage: a file of other content that the record vouches for."""

    def damage(directory):
        path = _in_directory(directory, name)
        path.write_bytes(content() if callable(content) else content)
        if name != RECORD:
            _rehash(path)

    return damage


def _arrays(name, **arrays):
    """Returns a damage: other arrays, by names that have no "/"."""
    arrays = {key.replace("_", "/"): array for key, array in arrays.items()}

    def damage(directory):
        path = _in_directory(directory, name)
        if path.suffix == OLD:
            write_old_arrays(path, *arrays.values())
        else:
            write_arrays(path, arrays)
        _rehash(path)

    return damage


def _truncated(name):
    def damage(directory):
        path = _in_directory(directory, name)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return damage


def _link(name):
    def damage(directory):
        path = _in_directory(directory, name)
        path.rename(directory.parent / "elsewhere")
        path.symlink_to(directory.parent / "elsewhere")

    return damage


def _header(text, data=b""):
    """Returns the bytes of a safetensors file."""
    header = text.encode() if isinstance(text, str) else json.dumps(text).encode()
    return len(header).to_bytes(8, "little") + header + data


def _tensor(dtype="U8", shape=(1,), end=1, **others):
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end], **others}


def _zip(*members, compression=zipfile.ZIP_STORED):
    def content():
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as archive:
            for name, data in members:
                archive.writestr(name, data)
        return stream.getvalue()

    return content


def _npy(array, **replaced):
    """Returns the bytes of a .npy file; `replaced` are fields of its header."""
    stream = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array) | replaced
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + array.tobytes()


def _pickled():
    stream = io.BytesIO()
    np.save(stream, np.array([_Bomb()], dtype=object), allow_pickle=True)
    return stream.getvalue()


class _Bomb:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return open, ("executed", "w")


def _lying_sizes():
    """Returns an archive whose directory declares a terabyte that is not there."""
    content = bytearray(_zip(("0.npy", _npy(np.zeros(1, np.uint8))))())
    place = content.rindex(b"PK\x01\x02")
    content[place + 20 : place + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    return bytes(content)


def _sparse_file(directory):
    with open(directory / RECORD, "r+b") as file:
        file.truncate(GIGABYTE)


def _fifo(directory):
    path = _in_directory(directory, REWIND)
    path.unlink()
    os.mkfifo(path)


def _linked_saved_model(directory):
    (directory / "saved_model").rename(directory.parent / "elsewhere")
    (directory / "saved_model").symlink_to(directory.parent / "elsewhere")


def _linked_asset(directory):
    (directory / "saved_model" / "asset").symlink_to(directory.parent / "secret")


def _layer(**fields):
    return _change(lambda record: record["layers"][0].update(fields))


def _channels(**fields):
    """Returns a damage: a map of channels with something wrong."""
    entry = {"weight": "a/kernel", "axis": 1, "places": [0, 2], **fields}
    return _change(lambda record: record.update(channels=[entry]))


def _named(name):
    """Returns a damage: another name of the mask, in the record and in its file."""

    def damage(directory):
        _layer(name=name)(directory)
        path = _in_directory(directory, MASKS)
        if path.suffix == NEW:
            write_arrays(path, {name: np.array([0b10101000], np.uint8)})
            _rehash(path)

    return damage


def _without_hash(directory):
    _change(lambda record: record["sha256"].pop(_in_directory(directory, MASKS).name))(directory)


def _hashed(name, value="0" * 64):
    return _change(lambda record: record["sha256"].update({name: value}))


BOMB = _zip(("0.npy", b"\0" * (64 << 20)), compression=zipfile.ZIP_DEFLATED)
KERNEL = np.arange(1.0, 7.0).reshape(2, 3)
FLAT = np.zeros(1, np.uint8)

# Of both formats: what to do to a ticket, and what is said of it.
HOSTILE = {
    "masks cut off": (_truncated(MASKS), r"masks\S+ must have the sha256"),
    "rewind weights cut off": (_truncated(REWIND), r"rewind_weights\S+ must have the sha256"),
    "final weights cut off": (_truncated(FINAL), r"final_weights\S+ must have the sha256"),
    "record cut off": (_truncated(RECORD), "ticket.json must be JSON"),
    "graph cut off": (_truncated("saved_model/saved_model.pb"), "saved_model.pb must have the sha"),
    "record empty": (_file(RECORD, b""), "ticket.json must be JSON"),
    "record a list": (_file(RECORD, b"[1]"), "ticket.json is damaged: Expected `object`"),
    "record of NaN": (_file(RECORD, b'{"schema_version": NaN}'), "NaN is no JSON value"),
    "record not text": (_file(RECORD, b"\xff\xfe\x00"), "ticket.json must be JSON"),
    "record nested deep": (_file(RECORD, b"[" * 200_000), "ticket.json must be JSON"),
    "record of long numbers": (
        _file(RECORD, b'{"schema_version": ' + b"9" * 5000 + b"}"),
        "ticket.json must be JSON",
    ),
    "record of a gigabyte": (_sparse_file, "ticket.json must have at most"),
    "record a link": (_link(RECORD), "ticket.json must be a regular file, got a link"),
    "version of another type": (
        _change(lambda r: r.update(schema_version=True)),
        "damaged: Expected `int`, got `bool` - at `.*schema_version",
    ),
    "later version": (
        _change(lambda r: r.update(schema_version=9)),
        "ticket.json: schema_version=9: expected one of 2, 3",
    ),
    "no hashes": (_change(lambda r: r.pop("sha256")), "missing required field `sha256`"),
    "hashes of another type": (_change(lambda r: r.update(sha256=[])), "Expected `object`"),
    "a hash left out": (_without_hash, r"an entry for masks\S+, got none"),
    "a hash of another type": (_hashed("saved_model/x", 7), "Expected `str`, got `int`"),
    "a file above": (_hashed("../secret"), "sha256='../secret': expected names of files of the"),
    "an absolute file": (_hashed("/etc/passwd"), "expected names of files of the ticket"),
    "a file by a detour": (_hashed("saved_model/../../secret"), "expected names of files"),
    "a file of Windows": (_hashed("saved_model/..\\secret"), "expected names of files"),
    "a file of no name": (_hashed("saved_model/\0"), "is the name of no file"),
    "a file that is not there": (_hashed("saved_model/none"), "none cannot be read"),
    "a file too many": (
        lambda d: (d / "saved_model" / "more").write_bytes(b"x"),
        "saved_model/more must be in sha256",
    ),
    "masks a link": (_link(MASKS), r"masks\S+ must be a regular file, got a link"),
    "SavedModel a link": (_linked_saved_model, "saved_model must be a directory, got a link"),
    "asset a link": (_linked_asset, "asset must be in sha256"),
    "weights a pipe": (_fifo, r"rewind_weights\S+ must be a regular file, got no regular file"),
    "layer above": (_named("../a"), "a name in masks='../a': expected that of a weight"),
    "layer absolute": (_named("/a"), "expected that of a weight"),
    "layer of two lines": (_named("a\nb"), "expected that of a weight"),
    "layer of no name": (_named(""), "expected that of a weight"),
    "layer of a long name": (_named("a" * 5000), "expected that of a weight"),
    "layer not a weight": (_named("b/kernel"), "a name in masks='b/kernel': expected one of"),
    "layers twice": (
        _change(lambda r: r["layers"].append(r["layers"][0])),
        r"masks\S+ must hold the 2 arrays that ticket.json names, each once",
    ),
    "layers left out": (
        _change(lambda r: r.update(layers=[])),
        r"masks\S+ must hold the 0 arrays that ticket.json names",
    ),
    "shape huge": (_layer(shape=[10**9, 10**9]), "shape of 'a/kernel' in layers=.*one that fits"),
    "shape negative": (_layer(shape=[-2, -3]), "expected one that fits its 1 bytes of mask"),
    "shape of fractions": (_layer(shape=[2.0, 3.0]), "Expected `int`, got `float`"),
    "shape of bools": (_layer(shape=[True, 6]), "Expected `int`, got `bool`"),
    "shape of many dimensions": (_layer(shape=[1] * 60 + [6]), "expected one that fits"),
    "shape of another layout": (_layer(shape=[3, 2]), "shape"),
    "kept not true": (
        _layer(kept=5),
        "kept of 'a/kernel' in layers=5: expected 3, as the arrays say",
    ),
    "sparsity not true": (_change(lambda r: r.update(sparsity=0.9)), "sparsity=0.9: expected 0.5"),
    "layer's sparsity not true": (_layer(sparsity=0.9), "sparsity of 'a/kernel' in layers=0.9"),
    "epoch negative": (
        _change(lambda r: r.update(rewind_epoch=-1)),
        "ticket.json: rewind_epoch=-1: expected an integer of at least 0",
    ),
    "epoch infinite": (
        lambda d: (d / RECORD).write_text(
            (d / RECORD).read_text().replace('"rewind_epoch": 1', '"rewind_epoch": 1e999')
        ),
        "Expected `int | null`, got `float` - at `.*rewind_epoch",
    ),
    "weight not told": (
        _change(lambda r: r["weights"].pop()),
        r"rewind_weights\S+ must hold the 1 arrays that ticket.json names",
    ),
    "weight of another type": (
        _change(lambda r: r["weights"][0].update(dtype="float16")),
        "dtype of 'a/kernel' in weights='float16': expected 'float64', as the arrays say",
    ),
    "masks not packed": (
        _arrays(MASKS, a_kernel=np.ones((2, 3))),
        "one that fits its 48 bytes of mask",
    ),
    "masks too many": (_arrays(MASKS, a_kernel=FLAT, b=FLAT), r"masks\S+ must hold the 1 arrays"),
    "weights of another shape": (
        _arrays(REWIND, a_kernel=KERNEL.T, a_bias=np.ones(3)),
        r"shape of 'a/kernel' in weights=\[2, 3\]: expected \[3, 2\]",
    ),
    "channels of no weight": (
        _channels(weight="b/kernel"),
        "a name in channels='b/kernel': expected one of a/kernel, a/bias",
    ),
    "channels of no axis": (_channels(axis=2), "channels.*=2: expected an integer from 0 to 1"),
    "channels of another type": (_channels(places=[0.5]), "Expected `int`, got `float`"),
    "channels out of range": (_channels(places=[0, 3]), "rising integers from 0 to 2"),
    "channels below": (_channels(places=[-1, 1]), "rising integers from 0 to 2"),
    "channels twice": (_channels(places=[1, 1]), "rising integers from 0 to 2"),
    "no channel": (_channels(places=[]), "rising integers from 0 to 2"),
    "channels huge": (_channels(places=[2**63 - 1]), "rising integers from 0 to 2"),
    "weights of NaN": (
        _arrays(REWIND, a_kernel=KERNEL, a_bias=np.array([1, np.nan, 1])),
        r"rewind_weights\['a/bias'\]=nan: expected finite numbers, got 1 others",
    ),
    "weights infinite": (
        _arrays(FINAL, a_kernel=np.full((2, 3), np.inf), a_bias=np.ones(3)),
        r"final_weights\['a/kernel'\]=inf: expected finite numbers, got 6 others",
    ),
    "weights not sparse": (
        _arrays(FINAL, a_kernel=KERNEL, a_bias=np.ones(3)),
        r"final_weights\['a/kernel'\]=2.0: expected 0 where the mask prunes, got 3 others",
    ),
}
HOSTILE_OLD = {
    "archive of noise": (_file(MASKS, bytes(range(256)) * 40), "masks.npz must hold arrays"),
    "archive compressed": (_file(MASKS, BOMB), "an entry is compressed"),
    "archive of a lie": (_file(MASKS, _lying_sizes), "declare more bytes than it has"),
    "archive of other names": (
        _file(MASKS, _zip(("../0.npy", _npy(FLAT)))),
        r"masks.npz must hold the \d+ arrays that ticket.json names",
    ),
    "archive of text": (_file(MASKS, _zip(("0.npy", b"hello"))), "masks.npz must hold arrays"),
    "array of objects": (_file(MASKS, _zip(("0.npy", _pickled()))), "masks.npz must hold arrays"),
    "array huge": (
        _file(REWIND, _zip(("0.npy", _npy(KERNEL, shape=(10**12,))), ("1.npy", _npy(np.ones(3))))),
        "an array declares shape",
    ),
    "array negative": (
        _file(MASKS, _zip(("0.npy", _npy(FLAT, shape=(-1, -1))))),
        "masks.npz must hold arrays",
    ),
    "array of records": (
        _file(MASKS, _zip(("0.npy", _npy(np.zeros(1, "i1,i1"))))),
        "an array is of type",
    ),
    "array of a later format": (
        _file(MASKS, _zip(("0.npy", _npy(FLAT).replace(b"NUMPY\x01", b"NUMPY\x02", 1)))),
        "a format other than version 1.0",
    ),
    "array of bools that are none": (
        _file(FINAL, _zip(("0.npy", _npy(np.zeros(6, bool))[:-1] + b"\7"), ("1.npy", b""))),
        "bools holds other bytes than 0 and 1",
    ),
}
HOSTILE_NEW = {
    "file of noise": (_file(MASKS, bytes(range(256)) * 40), "masks.safetensors must hold arrays"),
    "file of nothing": (_file(MASKS, b""), "masks.safetensors must hold arrays"),
    "an old ticket's file": (_file(MASKS, _zip(("0.npy", _npy(FLAT)))), "must hold arrays"),
    "header huge": (_file(MASKS, (1 << 40).to_bytes(8, "little") + b"{}"), "header too large"),
    "header longer than the file": (
        _file(MASKS, (90 << 20).to_bytes(8, "little") + b"{}"),
        "invalid header length",
    ),
    "header nested deep": (_file(MASKS, _header('{"a":' * 100_000)), "must hold arrays"),
    "header a list": (_file(MASKS, _header("[]")), "must hold arrays"),
    "array huge": (
        _file(MASKS, _header({"a/kernel": _tensor(shape=[10**9, 10**6])}, b"\0")),
        "must hold arrays",
    ),
    "array beyond the end": (
        _file(MASKS, _header({"a/kernel": _tensor(shape=[10**12], end=10**12)}, b"\0")),
        "must hold arrays",
    ),
    "array negative": (_file(MASKS, _header({"a/kernel": _tensor(shape=[-1])}, b"\0")), "usize"),
    "arrays over each other": (
        _file(MASKS, _header({"a/kernel": _tensor(), "b": _tensor()}, b"\0")),
        "must hold arrays",
    ),
    "array of objects": (_file(MASKS, _header({"a/kernel": _tensor("O")}, b"\0")), "must hold"),
    "array of what NumPy lacks": (
        _file(MASKS, _header({"a/kernel": _tensor("F8_E4M3")}, b"\0")),
        "masks.safetensors must hold arrays",
    ),
    "array of complex numbers": (
        _arrays(FINAL, a_kernel=KERNEL.astype(np.complex64), a_bias=np.ones(3)),
        "dtype of 'a/kernel' in weights='float64': expected 'complex64'",
    ),
    "array of bools that are none": (
        _file(MASKS, _header({"a/kernel": _tensor("BOOL")}, b"\7")),
        "bools holds other bytes than 0 and 1",
    ),
    "arrays of other names": (
        _arrays(MASKS, b=FLAT),
        "masks.safetensors must hold the 1 arrays that ticket.json names",
    ),
    "only the old files": (
        lambda d: (d / "masks.safetensors").rename(d / "masks.npz"),
        "masks.safetensors cannot be read: No such file",
    ),
}
CASES = [
    *[(name, ending, *case) for name, case in HOSTILE.items() for ending in (OLD, NEW)],
    *[(name, OLD, *case) for name, case in HOSTILE_OLD.items()],
    *[(name, NEW, *case) for name, case in HOSTILE_NEW.items()],
]


@pytest.mark.parametrize("ending", [OLD, NEW])
def test_the_ticket_that_the_others_are_made_from_is_good(make, ending):
    directory = make(ending)
    assert {path.suffix for path in directory.iterdir()} == {ending, ".json", ""}
    assert Ticket.load(directory).sparsity == 0.5


@pytest.mark.parametrize(
    ("ending", "damage", "message"),
    [case[1:] for case in CASES],
    ids=[f"{name}{ending}" for name, ending, *_ in CASES],
)
def test_it_is_refused_in_one_line_without_running_or_reserving_anything(
    make, ending, damage, message, monkeypatch
):
    directory = make(ending)
    damage(directory)
    monkeypatch.chdir(directory.parent)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message) as caught:
            Ticket.load(directory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert peak < 8 << 20
    assert not (directory.parent / "executed").exists()
    assert (directory.parent / "secret").read_text() == "outside"


@pytest.mark.parametrize("depth", [100, 400, 900, 990, 2000, 20_000, 200_000])
def test_provenance_nested_deep_is_read_or_refused(make, depth):
    directory = make(NEW)
    record = (directory / RECORD).read_text()
    (directory / RECORD).write_text(record.replace('"x"', "[" * depth + "]" * depth))
    try:
        ticket = Ticket.load(directory)
    except InputError as error:
        assert "\n" not in str(error) and depth > 400
    else:
        assert list(ticket.provenance) == ["note"]


def test_the_bomb_would_go_off_if_it_were_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Bomb())).close()
    assert (tmp_path / "executed").exists()
