import json
import subprocess
import sys
from pathlib import Path

import pytest

from tf_earlyticket import data
from tf_earlyticket.data.catalog import dataset_folder
from tf_earlyticket.errors import InputError


def _prepare(root, *parts):
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({}))
    return folder


@pytest.mark.parametrize(
    ("name", "shape", "counts"),
    [
        ("digits", (16, 16, 1), (1097, 200, 500)),
        ("cifar10", (32, 32, 3), (45_000, 5_000, 10_000)),
        ("imagenet2012", (224, 224, 3), (1_256_167, 25_000, 50_000)),
    ],
)
def test_defaults_are_those_of_the_literature(name, shape, counts):
    spec = data.describe(name)
    assert spec.image_shape == shape
    assert (spec.train_examples, spec.validation_examples, spec.test_examples) == counts


def test_limits_are_taken_over():
    spec = data.describe("cifar10", validation_examples=1000, train_examples=256)
    assert (spec.train_examples, spec.validation_examples) == (256, 1000)
    assert data.describe("digits", image_size=32).image_shape == (32, 32, 1)
    assert data.describe("imagenet2012", image_size=64).image_shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cifra10", {}, "name='cifra10'.* Did you mean 'cifar10'?"),
        ("cifar10", {"image_size": 64}, "image_size=64: expected one of 32"),
        ("digits", {"image_size": 8}, "image_size=8: expected one of 16, 32"),
        ("imagenet2012", {"image_size": 31}, "image_size=31.*from 32 to 512"),
        ("cifar10", {"validation_examples": 50_000}, "validation_examples=50000.*to 49999"),
        ("cifar10", {"validation_examples": -1}, "validation_examples=-1"),
        ("digits", {"train_examples": 0}, "train_examples=0.*from 1 to 1097"),
        ("digits", {"train_examples": 1098}, "train_examples=1098"),
        ("digits", {"train_examples": 12.5}, "train_examples=12.5"),
    ],
)
def test_bad_input_gives_one_line_with_value_and_remedy(name, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        data.describe(name, **arguments)
    assert "\n" not in str(error.value)


def test_missing_files_are_reported_with_the_folder_and_the_command(tmp_path):
    with pytest.raises(InputError) as error:
        data.check_available("cifar10", tmp_path)
    message = str(error.value)
    assert "--data_dir" in message and "\n" not in message
    assert str(tmp_path / "cifar10") in message
    assert f"tfds build cifar10 --data_dir={tmp_path}" in message


def test_missing_imagenet_names_the_archives(tmp_path):
    with pytest.raises(InputError, match="ILSVRC2012_img_train.tar.*downloads/manual.*tfds build"):
        data.check_available("imagenet2012", tmp_path)


def test_without_a_data_dir_the_tfds_default_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="tensorflow_datasets"):
        data.check_available("cifar10")
    _prepare(tmp_path, "tensorflow_datasets", "cifar10", "3.0.2")
    data.check_available("cifar10")


def test_loading_without_files_raises_the_same_error(tmp_path):
    with pytest.raises(InputError, match="no prepared cifar10"):
        data.load(data.describe("cifar10"), tmp_path)


def test_digits_need_no_files(tmp_path):
    data.check_available("digits", tmp_path / "absent")


def test_newest_version_is_used(tmp_path):
    _prepare(tmp_path, "cifar10", "3.9.0")
    newest = _prepare(tmp_path, "cifar10", "3.10.0")
    assert dataset_folder("cifar10", tmp_path) == newest


def test_checks_run_without_tensorflow():
    code = (
        "import sys; from tf_earlyticket import data; import tf_earlyticket.models as models;"
        "data.describe('cifar10'); models.MODELS.get('resnet20');"
        "sys.exit('tensorflow' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
