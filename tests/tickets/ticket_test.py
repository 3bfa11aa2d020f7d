"""Tickets: what goes in comes out, and nothing half-written or altered is accepted."""

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from old_ticket import write_old_ticket

from tf_earlyticket.errors import InputError
from tf_earlyticket.tickets.storage import Pictures
from tf_earlyticket.tickets.ticket import Ticket

NAMES = ("conv/kernel:0", "dense/kernel:0")


def make_ticket(seed=0, **fields):
    rng = np.random.default_rng(seed)
    weights = {
        "stem/kernel:0": rng.normal(size=(3, 3, 3, 4)).astype(np.float32),
        "conv/kernel:0": rng.normal(size=(3, 3, 4, 5)).astype(np.float32),
        "bn/moving_mean:0": rng.normal(size=4).astype(np.float32),
        "dense/kernel:0": rng.normal(size=(5, 2)),
        "count:0": np.array(3),
    }
    masks = {name: np.abs(weights[name]) > 1 for name in NAMES}
    values = {"rewind_epoch": 5, "start_epoch": 45, "provenance": {"seed": seed}}
    final = {name: weight + 1 for name, weight in weights.items()}
    values["final_weights"] = {
        name: np.where(masks[name], weight, 0).astype(weight.dtype) if name in masks else weight
        for name, weight in final.items()
    }
    return Ticket(masks, weights, **values | fields)


def assert_equal(a, b):
    for kind in ("masks", "rewind_weights", "final_weights"):
        arrays, others = getattr(a, kind), getattr(b, kind)
        assert list(arrays) == list(others)
        for name, array in arrays.items():
            assert array.dtype == others[name].dtype
            np.testing.assert_array_equal(array, others[name], strict=True)
    for name in ("rewind_epoch", "start_epoch", "provenance", "sparsity", "input"):
        assert getattr(a, name) == getattr(b, name)


PICTURES = {"shape": [8, 8, 1], "mean": [3.5], "deviation": [2.0], "classes": ["a", "b"]}


def test_what_the_network_takes_is_in_the_record(tmp_path):
    make_ticket(input=Pictures(**PICTURES)).save(tmp_path)
    record = json.loads((tmp_path / "ticket.json").read_text())
    assert record["input"] == {**PICTURES, "range": [0, 255]}
    assert Ticket.load(tmp_path).input == Pictures(**PICTURES)
    # One that was written before there was such an entry.
    del record["input"]
    (tmp_path / "ticket.json").write_text(json.dumps(record))
    assert Ticket.load(tmp_path).input is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": [8, 8]},
        {"shape": [8, 0, 1]},
        {"mean": [1, 2]},
        {"mean": ["1"]},
        {"deviation": [0]},
        {"deviation": 3},
        {"classes": []},
        {"classes": [1, 2]},
        {"range": [0, 1]},
    ],
    ids=str,
)
def test_what_no_network_takes_is_refused(wrong, tmp_path):
    (name,) = wrong
    with pytest.raises(InputError, match=rf"input\.{name}=.*: expected"):
        make_ticket(input=Pictures(**PICTURES | wrong))
    make_ticket(input=Pictures(**PICTURES)).save(tmp_path)
    record = json.loads((tmp_path / "ticket.json").read_text())
    record["input"] |= wrong
    (tmp_path / "ticket.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=name):
        Ticket.load(tmp_path)


def test_an_input_of_another_kind_is_refused():
    with pytest.raises(InputError, match="input=.*: expected et.Pictures"):
        make_ticket(input=PICTURES)


def test_a_loaded_ticket_equals_the_saved_one(tmp_path):
    saved = make_ticket(
        provenance={"model": "resnet20", "epochs": (1, 2), "nested": {"a": None}},
        input=Pictures(**PICTURES),
    )
    saved.save(tmp_path / "runs" / "ticket")
    assert_equal(saved, Ticket.load(tmp_path / "runs" / "ticket"))
    assert sorted(os.listdir(tmp_path / "runs")) == ["ticket"]
    assert sorted(os.listdir(tmp_path / "runs" / "ticket")) == [
        "final_weights.safetensors",
        "masks.safetensors",
        "rewind_weights.safetensors",
        "ticket.json",
    ]


@settings(max_examples=25)
@given(
    st.lists(hnp.arrays(bool, hnp.array_shapes(min_dims=0, min_side=0)), min_size=1, max_size=3),
    st.none() | st.integers(0, 300),
)
def test_masks_of_any_shape_survive(tmp_path_factory, masks, start_epoch):
    named = {f"l/{index}:0": mask for index, mask in enumerate(masks)}
    weights = {name: mask.astype(np.float32) for name, mask in named.items()}
    saved = Ticket(named, weights, 0, start_epoch)
    directory = tmp_path_factory.mktemp("ticket")
    saved.save(directory)
    assert_equal(saved, Ticket.load(directory))


def test_layers_and_sparsity_describe_the_masks():
    masks = {"b": np.array([[1, 0], [0, 0]]), "a": np.array([True, True])}
    ticket = Ticket(masks, {"a": np.ones(2), "b": np.ones((2, 2))}, 0)
    assert ticket.layers() == [
        {"name": "b", "shape": [2, 2], "kept": 1, "sparsity": 0.75},
        {"name": "a", "shape": [2], "kept": 2, "sparsity": 0.0},
    ]
    assert ticket.sparsity == 0.5
    assert ticket.masks["b"].dtype == bool


def test_the_record_can_be_read_without_the_package(tmp_path):
    ticket = make_ticket()
    ticket.save(tmp_path)
    record = json.loads((tmp_path / "ticket.json").read_text())
    assert record["schema_version"] == 3
    assert record["layers"] == ticket.layers()
    assert record["sparsity"] == ticket.sparsity
    assert record["weights"][0] == {
        "name": "stem/kernel:0",
        "shape": [3, 3, 3, 4],
        "dtype": "float32",
    }


def test_saving_again_replaces_the_ticket_and_keeps_other_entries(tmp_path):
    make_ticket(0).save(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    make_ticket(1, final_weights={}).save(tmp_path)
    assert_equal(make_ticket(1, final_weights={}), Ticket.load(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "final_weights.safetensors").exists()


@pytest.mark.parametrize("final", [None, {}])
def test_an_old_ticket_is_read_and_its_files_go_with_it(tmp_path, final):
    fields = {} if final is None else {"final_weights": final}
    write_old_ticket(make_ticket(0, **fields), tmp_path)
    assert list(tmp_path.glob("*.npz")) and not list(tmp_path.glob("*.safetensors"))
    assert_equal(make_ticket(0, **fields), Ticket.load(tmp_path))
    make_ticket(1).save(tmp_path)
    assert_equal(make_ticket(1), Ticket.load(tmp_path))
    assert not list(tmp_path.glob("*.npz"))


def test_loaded_arrays_can_be_changed(tmp_path):
    make_ticket().save(tmp_path)
    ticket = Ticket.load(tmp_path)
    for arrays in (ticket.masks, ticket.rewind_weights, ticket.final_weights):
        for array in arrays.values():
            array[...] = 0
    assert ticket.sparsity == 1


def test_a_ticket_can_be_saved_to_where_one_is_and_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    make_ticket(0).save(tmp_path / "link")
    monkeypatch.chdir(tmp_path / "disk")
    make_ticket(1).save(".")
    assert_equal(make_ticket(1), Ticket.load(tmp_path / "disk"))
    assert (tmp_path / "link").is_symlink() and len(list(tmp_path.iterdir())) == 2


def test_a_saved_model_belongs_to_its_ticket(tmp_path):
    made = tmp_path / "made"
    (made / "variables").mkdir(parents=True)
    (made / "saved_model.pb").write_bytes(b"graph")
    (made / "variables" / "data").write_bytes(b"numbers")
    directory = tmp_path / "ticket"
    make_ticket(0).save(directory, saved_model=made)
    assert not made.exists()
    assert_equal(make_ticket(0), Ticket.load(directory))
    (directory / "saved_model" / "variables" / "data").write_bytes(b"other")
    with pytest.raises(InputError, match="saved_model/variables/data must have the sha256"):
        Ticket.load(directory)
    # That of another ticket would be shipped in place of the new one's.
    make_ticket(1).save(directory)
    assert not (directory / "saved_model").exists()


@pytest.mark.parametrize("calls", range(1, 9))
def test_an_interrupted_save_leaves_the_old_ticket_the_new_or_none(tmp_path, monkeypatch, calls):
    """Fails at the first to the last file that is put in place, under a lasting name or not."""
    directory = tmp_path / "ticket"
    make_ticket(0).save(directory)
    replace, left = os.replace, calls

    def fail(*arguments):
        nonlocal left
        left -= 1
        if not left:
            raise OSError(errno.ENOSPC, "disk full")
        replace(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="ticket cannot be written: disk full"):
            make_ticket(1).save(directory)
    assert os.listdir(tmp_path) == ["ticket"]
    if calls <= 4:  # three files of arrays and the record, all beside the ticket
        assert_equal(make_ticket(0), Ticket.load(directory))
    else:
        with pytest.raises(InputError, match="ticket.json cannot be read"):
            Ticket.load(directory)
    make_ticket(1).save(directory)
    assert_equal(make_ticket(1), Ticket.load(directory))


@pytest.mark.parametrize("name", ["masks", "rewind_weights", "final_weights"])
@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:90] + b"!" + b[91:]])
def test_altered_or_truncated_arrays_are_refused(tmp_path, name, damage):
    make_ticket().save(tmp_path)
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path.name} must have the sha256 .* altered or cut off"):
        Ticket.load(tmp_path)


@pytest.mark.parametrize("name", ["masks.safetensors", "rewind_weights.safetensors", "ticket.json"])
def test_a_missing_file_is_named(tmp_path, name):
    make_ticket().save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=f"{name} cannot be read: No such file"):
        Ticket.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema_version=4), "schema_version=4: expected one of 2, 3"),
        (lambda r: r.pop("rewind_epoch"), "missing required field `rewind_epoch`"),
        (lambda r: r.update(rewind_epoch="5"), r"Expected `int \| null`, got `str`"),
        (lambda r: r.update(start_epoch=-1), "start_epoch=-1: expected an integer of at least 0"),
        (lambda r: r.update(layers=3), r"Expected `array`, got `int` - at `\$.layers`"),
        (lambda r: r["layers"].pop(), "masks.safetensors must hold the 1 arrays"),
        (lambda r: r["layers"][0].update(kept=1), "kept of 'conv/kernel:0' in layers=1: expected"),
        (lambda r: r["layers"][0].update(shape=[9]), "layers=.9.: expected one that fits its 23"),
        (lambda r: r["layers"][0].update(shape=[-3, -3, 4, 5]), "expected one that fits"),
        (
            lambda r: r["layers"][0].update(shape=[9, 20]),
            r"shape=\(9, 20\): expected \(3, 3, 4, 5\)",
        ),
        (lambda r: r["layers"][0].update(name="x"), "masks.safetensors must hold the 2 arrays"),
        (lambda r: r["layers"][1].update(name="conv/kernel:0"), "names, each once"),
        (lambda r: r["weights"][2].update(shape=[5]), "shape of 'bn/moving_mean:0' in weights"),
        (lambda r: r["weights"][2].update(dtype="float64"), "dtype of 'bn/moving_mean:0' in"),
    ],
)
def test_an_altered_record_is_refused_by_field(tmp_path, change, message):
    make_ticket().save(tmp_path)
    record = json.loads((tmp_path / "ticket.json").read_text())
    change(record)
    (tmp_path / "ticket.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        Ticket.load(tmp_path)


def test_a_truncated_record_is_refused(tmp_path):
    make_ticket().save(tmp_path)
    text = (tmp_path / "ticket.json").read_text()
    (tmp_path / "ticket.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="ticket.json must be JSON"):
        Ticket.load(tmp_path)
    (tmp_path / "ticket.json").write_text("[]")
    with pytest.raises(InputError, match="ticket.json is damaged: Expected `object`"):
        Ticket.load(tmp_path)


def test_saving_onto_a_file_is_refused(tmp_path):
    (tmp_path / "ticket").write_text("")
    with pytest.raises(
        InputError, match="directory='.*ticket': expected a directory or a new path"
    ):
        make_ticket().save(tmp_path / "ticket")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rewind_epoch": -1}, "rewind_epoch=-1: expected an integer of at least 0"),
        ({"start_epoch": 1.5}, "start_epoch=1.5: expected an integer of at least 0"),
        ({"provenance": {"x": object()}}, "provenance=.*: expected a dict of what JSON can hold"),
        ({"provenance": {"x": float("nan")}}, "expected a dict of what JSON can hold, got: Out"),
        ({"provenance": []}, r"provenance=\[\]: expected a dict"),
        ({"final_weights": []}, r"final_weights=\[\]: expected arrays by name"),
        ({"final_weights": {"x": np.ones(2)}}, "final_weights=.*: expected the names of rewind_we"),
    ],
)
def test_fields_that_cannot_be_stored_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        make_ticket(**fields)


@pytest.mark.parametrize(
    ("masks", "weights", "message"),
    [
        ({}, {"a": np.ones(2)}, "masks={}: expected arrays by name, at least one"),
        ([np.ones(2)], {"a": np.ones(2)}, "masks=.*: expected arrays by name"),
        ({3: np.ones(2)}, {"a": np.ones(2)}, "a name in masks=3: expected that of a weight"),
        ({"b": np.ones(2)}, {"a": np.ones(2)}, "a name in masks='b': expected one of a"),
        (
            {"__metadata__": np.ones(2)},
            {"__metadata__": np.ones(2)},
            "a name in rewind_weights='__metadata__': expected that of a weight",
        ),
        ({"a": np.ones(3)}, {"a": np.ones(2)}, r"masks\['a'\]"),
        ({"a": np.full(2, 2)}, {"a": np.ones(2)}, r"masks\['a'\]"),
        (
            {"a": np.ones(2)},
            {"a": np.array(["x", "y"])},
            r"\['a'\]='str32': expected an array",
        ),
        ({"a": np.ones(2)}, {"a": np.array([1, np.nan])}, r"rewind_weights\['a'\]=nan: expected"),
    ],
)
def test_masks_and_weights_that_do_not_fit_are_refused(masks, weights, message):
    with pytest.raises(InputError, match=message):
        Ticket(masks, weights, 0)


@pytest.mark.parametrize(
    ("final", "message"),
    [
        (np.array([1.0, 2.0]), r"'a'\]=2.0: expected 0 where the mask prunes, got 1 others"),
        (np.array([1.0, 0.0], np.float32), r"expected \('float64', \(2,\)\) as in rewind_weights"),
        (np.array([1.0, 0.0, 0.0]), r"expected \('float64', \(2,\)\) as in rewind_weights"),
        (np.array([np.inf, 0.0]), r"'a'\]=inf: expected finite numbers, got 1 others"),
    ],
)
def test_final_weights_that_are_not_the_tickets_are_refused(final, message):
    masks = {"a": np.array([True, False])}
    Ticket(masks, {"a": np.ones(2)}, 0, final_weights={"a": np.array([1.0, 0.0])})
    with pytest.raises(InputError, match=message):
        Ticket(masks, {"a": np.ones(2)}, 0, final_weights={"a": final})
