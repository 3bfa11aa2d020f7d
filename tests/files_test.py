"""What is written is whole or not there; what is read is what was written, or refused."""

import dataclasses
import errno
import os

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tf_earlyticket import files
from tf_earlyticket.errors import InputError


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    files.write_text(path, "first")
    files.write_text(path, "zweite Fassung äöü")
    assert path.read_text("utf-8") == "zweite Fassung äöü"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_content_and_no_trace(tmp_path):
    path = tmp_path / "file.txt"
    files.write_text(path, "old")
    with pytest.raises(KeyError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_error_names_the_file_and_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/below cannot be written: "):
        files.write_text(tmp_path / "file" / "below", "text")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="report.json cannot be written: No space left on device"):
            files.write_json(tmp_path / "report.json", {})
    assert not (tmp_path / "report.json").exists()


def test_an_error_below_a_temporary_name_is_told_with_the_lasting_one(tmp_path):
    with (
        pytest.raises(OSError, match=r"^\S+/ticket cannot be written: File exists$"),
        files.replacing_directory(tmp_path / "ticket") as new,
    ):
        (new / "file").write_text("")
        files.write_text(new / "file" / "below", "text")


def test_content_and_name_are_brought_to_the_disk(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: (synced.append(os.fstat(d).st_ino), real(d))[1])
    files.write_arrays(tmp_path / "arrays", {"a": np.zeros(3)})
    assert synced == [(tmp_path / "arrays").stat().st_ino, tmp_path.stat().st_ino]
    synced.clear()
    files.write_text(tmp_path / "new" / "inner" / "file", "")
    folders = [tmp_path, tmp_path / "new", tmp_path / "new" / "inner"]
    assert {folder.stat().st_ino for folder in folders} < set(synced)


def test_json_and_csv(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": [1, None]})
    assert files.read_json(tmp_path / "x.json") == {"a": [1, None]}
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "x.json", float("nan"))
    assert files.read_json(tmp_path / "x.json") == {"a": [1, None]}
    files.write_csv(tmp_path / "x.csv", [{"a": 1, "b": None}], ["a", "b"])
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,\n"


@pytest.mark.parametrize("content", ["", "[", "NaN", "[" * 200_000, "\udcff"])
def test_what_is_not_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x").write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(InputError, match=r"x must be JSON, got: [^\n]*$"):
        files.read_json(tmp_path / "x")


@dataclasses.dataclass
class Named:
    name: str
    sizes: list[int]
    share: float | None = None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "a", "sizes": [1, "2"]}', r"Expected `int`, got `str` - at `\$.sizes\[1\]`"),
        ('{"name": "a", "sizes": [true]}', "Expected `int`, got `bool`"),
        ('{"name": "a"}', "missing required field `sizes`"),
        ("[]", "Expected `object`, got `array`"),
        ("7", "Expected `object`, got `int`"),
    ],
)
def test_a_record_of_other_types_is_refused_by_field(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=f"x.json is damaged: .*{message}"):
        files.read_record(tmp_path / "x.json", Named)


def test_a_record_is_an_object_of_its_class(tmp_path):
    files.write_json(tmp_path / "x.json", {"name": "a", "sizes": [1], "later": None})
    assert files.read_record(tmp_path / "x.json", Named) == Named("a", [1])


ARRAYS = st.dictionaries(
    st.text(min_size=1),
    st_numpy.arrays(
        st.one_of(
            st_numpy.floating_dtypes(sizes=(16, 32, 64)),
            st_numpy.integer_dtypes(),
            st_numpy.unsigned_integer_dtypes(),
            st_numpy.boolean_dtypes(),
        ),
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    max_size=4,
)


@given(ARRAYS, st.booleans())
def test_arrays_come_back_bit_for_bit(tmp_path_factory, arrays, transposed):
    path = tmp_path_factory.mktemp("arrays") / "a.safetensors"
    if transposed:
        arrays = {name: array.T for name, array in arrays.items()}
    files.write_arrays(path, arrays)
    found = files.read_arrays(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        native = array.astype(array.dtype.newbyteorder("="))
        assert (found[name].dtype, found[name].shape) == (native.dtype, native.shape)
        assert found[name].tobytes() == native.tobytes()


def test_bools_of_other_bytes_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    files.write_arrays(path, {"a": np.array([True, False])})
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    with pytest.raises(InputError, match="bools holds other bytes than 0 and 1"):
        files.read_arrays(path)


def test_bfloat16_is_kept_in_float32(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    files.write_arrays(tmp_path / "a", {"a": np.array([1.5, -2], ml_dtypes.bfloat16)})
    assert files.read_arrays(tmp_path / "a")["a"].tolist() == [1.5, -2.0]


def test_every_damage_of_an_array_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([True, False])}
    files.write_arrays(path, arrays)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="a.safetensors must hold arrays"):
            files.read_arrays(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = files.read_arrays(path)
        except InputError:
            continue
        # Of the header, such as the name of the checksum.
        assert {name: array.tolist() for name, array in found.items()} == {
            name: array.tolist() for name, array in arrays.items()
        }


def test_every_damage_of_an_npz_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {"one": np.arange(6.0).reshape(2, 3), "2 two/b": np.array([True, False])}
    np.savez(path, **arrays)
    whole = path.read_bytes()
    assert {name: array.tolist() for name, array in files.read_npz(path).items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    for content in [whole[:length] for length in range(len(whole))] + [
        whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]
        for place in range(len(whole))
        for flip in (0x01, 0x08, 0xFF)
    ]:
        path.write_bytes(content)
        try:
            found = files.read_npz(path)
        except InputError as error:
            assert "a.npz must hold arrays" in str(error) and "\n" not in str(error)
            continue
        # The format's checksums cover values, not names, nor how many there are.
        assert all(a.tolist() in [b.tolist() for b in arrays.values()] for a in found.values())


def test_an_array_file_without_a_checksum_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": np.arange(3.0)}))
    assert files.read_arrays(path)["a"].tolist() == [0, 1, 2]


def test_only_regular_files_are_read(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert files.read_bytes(tmp_path / "file", limit=5) == b"12345"
    for name, message in (
        ("link", "must be a regular file, got a link"),
        (".", "must be a regular file, got no regular file"),
        ("absent", "cannot be read: No such file"),
        ("a\0b", "is the name of no file"),
    ):
        for read in (files.read_bytes, files.sha256, files.read_json, files.read_arrays):
            with pytest.raises(InputError, match=message):
                read(tmp_path / name)
    with pytest.raises(InputError, match="at most 4 bytes, got 5"):
        files.read_bytes(tmp_path / "file", limit=4)
    assert files.sha256(tmp_path / "file").startswith("5994471abb01112a")


def test_a_directory_is_filled_beside_its_place_and_moved(tmp_path):
    target = tmp_path / "ticket"
    target.mkdir()
    (target / "old").write_text("old")
    with files.replacing_directory(target) as new:
        assert new.parent == tmp_path
        (new / "inner").mkdir()
        (new / "inner" / "a").write_text("a")
        files.move(new / "inner", target)
    assert [path.name for path in target.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [target]
