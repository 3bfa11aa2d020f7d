"""Data sets that their own files describe: pictures in folders, arrays, sets of TFDS."""

import json
import logging

import make_tiny_tfds
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tf_earlyticket import data
from tf_earlyticket.config import Config
from tf_earlyticket.data.catalog import DATASETS, dataset_folder
from tf_earlyticket.data.found import find, fitted
from tf_earlyticket.data.in_memory import InMemoryData
from tf_earlyticket.data.numbered import FileData
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.preflight import check_config

RANDOM = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def forgotten():
    """Forgets afterwards what was found."""
    before = dict(DATASETS._entries)
    yield
    DATASETS._entries.clear()
    DATASETS._entries.update(before)


def write(path, value, size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.randint(0, 60, (size[1], size[0], 3)) + value
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    """20 bright and 10 dark pictures, in folders of their classes."""
    for number in range(30):
        name, value = ("bright", 190) if number < 20 else ("dark", 10)
        write(tmp_path / name / f"{number}.{'png' if number % 2 else 'JPG'}", value)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "bright" / "notes.txt").write_text("not a picture")
    return tmp_path


def loaded(name, place, **options):
    find(name, place)
    return data.load(data.describe(name, **options))


def brightness(split):
    return split.images.reshape(len(split.images), -1).mean(axis=1) > 128


def test_a_folder_is_divided_by_class_always_the_same_way(folder):
    found = loaded("folder", folder)
    assert found.spec == data.describe("folder")
    assert (found.spec.num_classes, found.spec.image_shape) == (2, (10, 10, 3))
    counts = found.spec.train_examples, found.spec.validation_examples, found.spec.test_examples
    assert counts == (22, 2, 6) and found.classes == ["bright", "dark"]
    for part in ("train", "validation", "test"):
        split = found.arrays(part)
        np.testing.assert_array_equal(brightness(split), split.labels == 0)
    assert sorted(found.arrays("test").labels) == [0] * 4 + [1] * 2
    again = loaded("folder", folder)
    for part in ("train", "test"):
        np.testing.assert_array_equal(again.arrays(part).images, found.arrays(part).images)
    images = found.arrays("train").images
    entry = DATASETS.get("folder")
    np.testing.assert_allclose(entry.mean, images.mean(axis=(0, 1, 2)), atol=0.01)
    np.testing.assert_allclose(entry.deviation, images.std(axis=(0, 1, 2)), atol=0.01)
    batch, _ = next(iter(found.test(6)))
    assert batch.shape == (6, 10, 10, 3) and abs(batch.numpy().mean()) < 1.5


def test_a_folder_that_is_divided_already(folder):
    for name in ("bright", "dark"):
        (folder / "train").mkdir(exist_ok=True)
        (folder / name).rename(folder / "train" / name)
        for number in range(3):
            write(folder / "test" / name / "deep" / f"{number}.png", 10, mode="L")
    found = loaded("folder", folder, image_size=8, train_examples=20, validation_examples=5)
    counts = found.spec.train_examples, found.spec.validation_examples, found.spec.test_examples
    assert counts == (20, 5, 6) and found.spec.image_shape == (8, 8, 3)
    assert not brightness(found.arrays("test")).any()


def test_grey_pictures_have_one_channel(tmp_path):
    for number in range(20):
        write(tmp_path / "ab"[number % 2] / f"{number}.png", 10 + 5 * number, mode="L")
    assert loaded("folder", tmp_path).spec.image_shape == (10, 10, 1)


def test_grey_pictures_of_sixteen_bits_keep_their_upper_eight(tmp_path):
    values = np.arange(0, 65536, 656, np.uint16)[:100].reshape(10, 10)
    for number in range(8):
        path = tmp_path / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(path)
    assert Image.open(path).mode.startswith("I")
    found = loaded("folder", tmp_path, image_size=10)
    np.testing.assert_array_equal(found.arrays("train").images[0][..., 0], values >> 8)
    assert found.spec.image_shape == (10, 10, 1)


def test_what_does_not_fit_is_cut_at_its_sides_and_made_smaller():
    wide = Image.fromarray(np.repeat(np.arange(40, dtype=np.uint8)[None], 20, axis=0))
    pixels = fitted(wide, 10)[..., 0]
    assert pixels.shape == (10, 10) and pixels.min() >= 10 and pixels.max() <= 29
    np.testing.assert_array_equal(fitted(wide, 20)[0, :, 0], np.arange(10, 30))


def test_pictures_that_cannot_be_read_are_named_and_refused_or_left_out(folder, caplog):
    (folder / "dark" / "21.png").write_bytes(b"no picture")
    whole = (folder / "bright" / "1.png").read_bytes()
    (folder / "bright" / "1.png").write_bytes(whole[: len(whole) // 2])
    find("folder", folder)
    with pytest.raises(InputError, match=r"2 of 30 pictures cannot be read: .*corrupt='skip'"):
        data.load(data.describe("folder"))
    with caplog.at_level(logging.WARNING, "tf_earlyticket"):
        found = loaded("folder", folder, corrupt="skip")
    assert "2 of 30 pictures" in caplog.text
    spec = found.spec
    assert spec.train_examples + spec.validation_examples + spec.test_examples == 28


def batches(found):
    """Everything that a run takes of a set."""
    streams = [
        found.train(4, seed=3, first_epoch=2, last_epoch=3),
        found.probe(4, seed=3, epoch=2, fraction=0.5),
        found.validation(3),
        found.test(4),
    ]
    return [batch for stream in streams for batch in stream.as_numpy_iterator()]


def check_both_ways(monkeypatch, name, place, **options):
    """Checks that a set gives the same in memory and beyond; returns it as it is beyond."""
    options = {"pad": 1, "flip": True, **options}
    held = loaded(name, place, **options)
    entry, wanted = DATASETS.get(name), batches(held)
    monkeypatch.setattr("tf_earlyticket.data.found._MOST_BYTES", 100)
    beyond = loaded(name, place, **options)
    assert isinstance(held, InMemoryData) and isinstance(beyond, FileData)
    assert beyond.spec == held.spec and beyond.classes == held.classes
    now = DATASETS.get(name)
    assert (now.mean, now.deviation) == (entry.mean, entry.deviation)
    for batch, other in zip(batches(beyond), wanted, strict=True):
        for values, others in zip(batch, other, strict=True):
            np.testing.assert_array_equal(values, others)
    return beyond


def test_a_folder_beyond_memory_gives_the_same_batches(folder, monkeypatch, caplog):
    (folder / "dark" / "21.png").write_bytes(b"no picture")
    beyond = check_both_ways(monkeypatch, "folder", folder, corrupt="skip", train_examples=18)
    assert beyond.spec.train_examples < 18 or beyond.spec.test_examples < 6
    assert "pictures would take" in caplog.text
    for file in (folder / "bright").iterdir():
        file.unlink()
    with pytest.raises(tf.errors.InvalidArgumentError):
        batches(beyond)
    assert "expected the picture of before" in beyond.fault


def test_a_set_of_tfds_beyond_memory_gives_the_same_batches(tmp_path, monkeypatch):
    make_tiny_tfds.make(tmp_path, examples_train=40, examples_test=8, sides=(12, 20))
    name, options = "tfds/imagenet2012", {"image_size": 12, "validation_examples": 5}
    beyond = check_both_ways(monkeypatch, name, tmp_path, train_examples=20, **options)
    assert beyond.spec.train_examples == 20 and beyond.spec.test_examples == 8
    # The same pictures as TFDS itself reads, but for the order of its files.
    builder = tfds.builder_from_directory(dataset_folder("imagenet2012", tmp_path))
    theirs = tfds.as_numpy(builder.as_dataset(split="validation"))
    labels = np.concatenate([labels for _, labels in beyond.test(4).as_numpy_iterator()])
    assert sorted(labels) == sorted(each["label"] for each in theirs)


def test_other_files_have_another_fingerprint(folder):
    first = find("folder", folder)
    assert find("folder", folder) == first
    config = Config()
    config.data.name, config.train.batch_size = "folder", 4
    check_config(config, folder)
    assert config.data.fingerprint == first
    write(folder / "dark" / "more.png", 20)
    with pytest.raises(InputError, match=f"config.data.fingerprint='{first}': expected"):
        check_config(config, folder)


def classes(root, **counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            write(root / name / f"{number}.png", 20)


def divided(root, train, test):
    classes(root / "train", **train)
    if test is not None:
        classes(root / "test", **test)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: (root / "a.png").touch(), "expected at least two folders"),
        (lambda root: classes(root, one=3), "expected at least two folders"),
        (lambda root: classes(root, one=3, two=0), "not 'two' empty"),
        (lambda root: classes(root, one=1, two=1), "expected at least two pictures"),
        (lambda root: divided(root, {"a": 2, "b": 2}, None), "a folder test/ beside"),
        (lambda root: divided(root, {"a": 2, "b": 2}, {"a": 1, "c": 1}), "'c' that train/ lacks"),
    ],
)
def test_folders_that_cannot_be_used_are_told_in_a_line(tmp_path, make, words):
    make(tmp_path)
    with pytest.raises(InputError, match=f"--data_dir=.*{words}"):
        find("folder", tmp_path)


def test_a_place_is_needed(tmp_path):
    for name in ("folder", "arrays"):
        with pytest.raises(InputError, match="--data_dir=None: expected where"):
            find(name, None)
    with pytest.raises(InputError, match="--data_dir=.*nowhere.*expected a folder"):
        find("folder", tmp_path / "nowhere")


IMAGES = RANDOM.randint(0, 255, (30, 8, 8, 3)).astype(np.uint8)
LABELS = np.arange(30) % 3


def test_arrays(tmp_path):
    np.savez(tmp_path / "all.npz", images=IMAGES, labels=LABELS)
    found = loaded("arrays", tmp_path, pad=1, flip=True)
    counts = found.spec.train_examples, found.spec.validation_examples, found.spec.test_examples
    assert counts == (22, 2, 6) and found.classes == ["0", "1", "2"]
    places = [
        np.flatnonzero((each == IMAGES).all((1, 2, 3)))[0] for each in found.arrays("test").images
    ]
    np.testing.assert_array_equal(found.arrays("test").labels, LABELS[places])
    assert next(iter(found.train(4, seed=0)))[0].shape == (4, 8, 8, 3)

    np.savez(
        tmp_path / "all.npz", x_train=IMAGES[..., 0], y_train=LABELS[:, None],
        x_test=IMAGES[:7, ..., 0], y_test=LABELS[:7],
    )  # fmt: skip
    found = loaded("arrays", tmp_path / "all.npz")
    assert found.spec.image_shape == (8, 8, 1)
    np.testing.assert_array_equal(found.arrays("test").labels, LABELS[:7])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pictures": IMAGES}, "expected arrays images and labels"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "a label for each of 30 pictures"),
        ({"images": IMAGES, "labels": LABELS / 2}, "integers from 0"),
        ({"images": IMAGES, "labels": LABELS - 1}, "integers from 0"),
        ({"images": IMAGES / 255, "labels": LABELS}, "expected uint8"),
        ({"images": IMAGES[:, :4], "labels": LABELS}, "expected uint8"),
        ({"images": IMAGES, "labels": 0 * LABELS}, "at least two classes"),
        ({"images": IMAGES, "labels": np.array(["cat", "dog", "cow"])[LABELS]}, "integers from 0"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "some labels"),
    ],
)
def test_arrays_that_cannot_be_used_are_told_in_a_line(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=words):
        find("arrays", tmp_path)


def test_a_damaged_file_of_arrays_is_told_in_a_line(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    whole = (tmp_path / "a.npz").read_bytes()
    for place in range(60, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            loaded("arrays", tmp_path)
        except InputError as error:
            assert "\n" not in str(error)


def test_a_file_that_holds_no_arrays_is_told_in_a_line(tmp_path):
    with pytest.raises(InputError, match="expected one .npz file in it, not 0"):
        find("arrays", tmp_path)
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="expected a .npz file of arrays"):
        find("arrays", tmp_path)


def test_sets_of_tfds_that_cannot_be_used_are_told_in_a_line(tmp_path):
    with pytest.raises(InputError, match="no prepared thing"):
        find("tfds/thing", tmp_path)
    place = tmp_path / "thing" / "1.0.0"
    place.mkdir(parents=True)
    (place / "dataset_info.json").write_text(json.dumps({"splits": []}))
    (place / "features.json").write_text("{}")
    with pytest.raises(InputError, match="is not a prepared set of pictures"):
        find("tfds/thing", tmp_path)
