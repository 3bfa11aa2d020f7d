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

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.array_files import sha256, write_arrays
from tf_earlyticket.tickets.ticket import Ticket

MASKS, REWIND, FINAL, RECORD = (
    "masks.npz",
    "rewind_weights.npz",
    "final_weights.npz",
    "ticket.json",
)
GIGABYTE = 1 << 30


@pytest.fixture
def directory(tmp_path):
    """A good ticket with a SavedModel, next to a file that is none of its business."""
    (tmp_path / "secret").write_text("outside")
    saved_model = tmp_path / "made"
    (saved_model / "variables").mkdir(parents=True)
    (saved_model / "saved_model.pb").write_bytes(b"graph")
    (saved_model / "variables" / "data").write_bytes(b"numbers")
    weights = {"a/kernel": np.arange(1.0, 7.0).reshape(2, 3), "a/bias": np.ones(3)}
    mask = np.array([[1, 0, 1], [0, 1, 0]], bool)
    final = {**weights, "a/kernel": np.where(mask, weights["a/kernel"], 0)}
    Ticket({"a/kernel": mask}, weights, 1, 2, {"note": "x"}, final).save(
        tmp_path / "ticket", saved_model=saved_model
    )
    return tmp_path / "ticket"


def _change(change):
    """Returns a damage: a change of the record."""

    def damage(directory):
        record = json.loads((directory / RECORD).read_text())
        change(record)
        (directory / RECORD).write_text(json.dumps(record))

    return damage


def _rehash(directory, *names):
    """Makes the record vouch for the files, as whoever forges a ticket would."""

    def change(record):
        record["sha256"].update({name: sha256(directory / name) for name in names})

    _change(change)(directory)


def _file(name, content):
    """Returns a damage: a file of other content that the record vouches for."""

    def damage(directory):
        (directory / name).write_bytes(content() if callable(content) else content)
        if name != RECORD:
            _rehash(directory, name)

    return damage


def _arrays(name, *arrays):
    def damage(directory):
        write_arrays(directory / name, arrays)
        _rehash(directory, name)

    return damage


def _truncated(name):
    def damage(directory):
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[: len(content) // 2])

    return damage


def _link(name):
    def damage(directory):
        (directory / name).rename(directory.parent / "elsewhere")
        (directory / name).symlink_to(directory.parent / "elsewhere")

    return damage


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
    (directory / REWIND).unlink()
    os.mkfifo(directory / REWIND)


def _linked_saved_model(directory):
    (directory / "saved_model").rename(directory.parent / "elsewhere")
    (directory / "saved_model").symlink_to(directory.parent / "elsewhere")


def _linked_asset(directory):
    (directory / "saved_model" / "asset").symlink_to(directory.parent / "secret")


def _layer(**fields):
    return _change(lambda record: record["layers"][0].update(fields))


def _hashed(name, value="0" * 64):
    return _change(lambda record: record["sha256"].update({name: value}))


BOMB = _zip(("0.npy", b"\0" * (64 << 20)), compression=zipfile.ZIP_DEFLATED)
KERNEL = np.arange(1.0, 7.0).reshape(2, 3)
FLAT = np.zeros(1, np.uint8)

HOSTILE = {
    "masks cut off": (_truncated(MASKS), "masks.npz must have the sha256"),
    "rewind weights cut off": (_truncated(REWIND), "rewind_weights.npz must have the sha256"),
    "final weights cut off": (_truncated(FINAL), "final_weights.npz must have the sha256"),
    "record cut off": (_truncated(RECORD), "ticket.json must be JSON"),
    "graph cut off": (_truncated("saved_model/saved_model.pb"), "saved_model.pb must have the sha"),
    "record empty": (_file(RECORD, b""), "ticket.json must be JSON"),
    "record a list": (_file(RECORD, b"[1]"), "'schema_version' is missing"),
    "record of NaN": (_file(RECORD, b'{"schema_version": NaN}'), "NaN is no JSON value"),
    "record not text": (_file(RECORD, b"\xff\xfe\x00"), "ticket.json must be JSON"),
    "record nested deep": (_file(RECORD, b"[" * 200_000), "ticket.json must be JSON"),
    "record of long numbers": (
        _file(RECORD, b'{"schema_version": ' + b"9" * 5000 + b"}"),
        "ticket.json must be JSON",
    ),
    "record of a gigabyte": (_sparse_file, "ticket.json must have at most"),
    "record a link": (_link(RECORD), "ticket.json must be a regular file, got a link"),
    "version of another type": (_change(lambda r: r.update(schema_version=True)), "of type int"),
    "later version": (_change(lambda r: r.update(schema_version=9)), "schema_version must be 2"),
    "no hashes": (_change(lambda r: r.pop("sha256")), "field 'sha256' is missing"),
    "hashes of another type": (_change(lambda r: r.update(sha256=[])), "sha256 must be of type"),
    "a hash left out": (_change(lambda r: r["sha256"].pop(MASKS)), "an entry for masks.npz"),
    "a hash of another type": (_hashed(MASKS, 7), "masks.npz must have the sha256 7"),
    "a file above": (_hashed("../secret"), "must name files of the ticket, got '../secret'"),
    "an absolute file": (_hashed("/etc/passwd"), "must name files of the ticket"),
    "a file by a detour": (_hashed("saved_model/../../secret"), "must name files of the ticket"),
    "a file of Windows": (_hashed("saved_model/..\\secret"), "must name files of the ticket"),
    "a file of no name": (_hashed("saved_model/\0"), "is the name of no file"),
    "a file that is not there": (_hashed("saved_model/none"), "none cannot be read"),
    "a file too many": (
        lambda d: (d / "saved_model" / "more").write_bytes(b"x"),
        "saved_model/more must be in sha256",
    ),
    "masks a link": (_link(MASKS), "masks.npz must be a regular file, got a link"),
    "SavedModel a link": (_linked_saved_model, "saved_model must be a directory, got a link"),
    "asset a link": (_linked_asset, "asset must be in sha256"),
    "weights a pipe": (_fifo, "rewind_weights.npz must be a regular file, got no regular file"),
    "layer above": (_layer(name="../a"), "names in layers must be those of weights"),
    "layer absolute": (_layer(name="/a"), "names in layers must be those of weights"),
    "layer of two lines": (_layer(name="a\nb"), "names in layers must be those of weights"),
    "layer of no name": (_layer(name=""), "names in layers must be those of weights"),
    "layer of a long name": (_layer(name="a" * 5000), "names in layers must be those of weights"),
    "layer not a weight": (_layer(name="b/kernel"), "masks must be named as rewind_weights"),
    "layers twice": (
        _change(lambda r: r["layers"].append(r["layers"][0])),
        "names in layers must be distinct",
    ),
    "layers left out": (_change(lambda r: r.update(layers=[])), "masks.npz must hold 0 arrays"),
    "shape huge": (_layer(shape=[10**9, 10**9]), "shape of layer 'a/kernel' must fit"),
    "shape negative": (_layer(shape=[-2, -3]), "shape of layer 'a/kernel' must fit"),
    "shape of fractions": (_layer(shape=[2.0, 3.0]), "shape of layer 'a/kernel' must fit"),
    "shape of bools": (_layer(shape=[True, 6]), "shape of layer 'a/kernel' must fit"),
    "shape of many dimensions": (_layer(shape=[1] * 60 + [6]), "shape of layer 'a/kernel'"),
    "shape of another layout": (_layer(shape=[3, 2]), "must have the shape"),
    "kept not true": (_layer(kept=5), "kept of layer 'a/kernel' must be 3"),
    "sparsity not true": (_change(lambda r: r.update(sparsity=0.9)), "sparsity must be 0.5"),
    "layer's sparsity not true": (_layer(sparsity=0.9), "sparsity of layer 'a/kernel' must be"),
    "epoch negative": (_change(lambda r: r.update(rewind_epoch=-1)), "rewind_epoch must be"),
    "epoch infinite": (
        lambda d: (d / RECORD).write_text(
            (d / RECORD).read_text().replace('"rewind_epoch": 1', '"rewind_epoch": 1e999')
        ),
        "rewind_epoch must be of type",
    ),
    "weight not told": (_change(lambda r: r["weights"].pop()), "must hold 1 arrays .* got 2"),
    "weight of another type": (
        _change(lambda r: r["weights"][0].update(dtype="float16")),
        "entry 'a/kernel' of weights",
    ),
    "archive of noise": (_file(MASKS, bytes(range(256)) * 40), "masks.npz must hold arrays"),
    "archive compressed": (_file(MASKS, BOMB), "an entry is compressed"),
    "archive of a lie": (_file(MASKS, _lying_sizes), "declare more bytes than it has"),
    "archive of other names": (
        _file(MASKS, _zip(("../0.npy", _npy(FLAT)))),
        "its entries are not 0.npy",
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
    "masks not packed": (_arrays(MASKS, np.ones((2, 3))), "must fit its 48 bytes of mask"),
    "masks too many": (_arrays(MASKS, FLAT, FLAT), "masks.npz must hold 1 arrays .* got 2"),
    "weights of another shape": (
        _arrays(REWIND, KERNEL.T, np.ones(3)),
        "entry 'a/kernel' of weights must be",
    ),
    "weights of NaN": (
        _arrays(REWIND, KERNEL, np.array([1, np.nan, 1])),
        r"rewind_weights\['a/bias'\] must be finite, got 1 NaN",
    ),
    "weights infinite": (
        _arrays(FINAL, np.full((2, 3), np.inf), np.ones(3)),
        r"final_weights\['a/kernel'\] must be finite, got 6",
    ),
    "weights not sparse": (
        _arrays(FINAL, KERNEL, np.ones(3)),
        "must be 0 where the mask prunes, got 3 others",
    ),
}


def test_the_ticket_that_the_others_are_made_from_is_good(directory):
    assert Ticket.load(directory).sparsity == 0.5


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_one_line_without_running_or_reserving_anything(
    directory, name, monkeypatch
):
    damage, message = HOSTILE[name]
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


def test_the_bomb_would_go_off_if_it_were_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Bomb())).close()
    assert (tmp_path / "executed").exists()
