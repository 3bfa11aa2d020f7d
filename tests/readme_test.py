"""The README and the pages: their code runs, their links lead somewhere, the site builds."""

import re
import subprocess
import sys
from pathlib import Path

import keras as keras3
import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras

README = Path(__file__).parents[1] / "README.md"


ROOT = README.parent
PAGES = [README, *sorted(ROOT.glob("C*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the code blocks speak of, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(64, 8, 8, 3)).astype("float32")
    labels = generator.integers(0, 4, size=64)
    layers = keras.layers
    my_model = keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", input_shape=(8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    return {
        "my_model": my_model,
        "optimizer": "sgd",
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "train": data.shuffle(64).batch(16),
        "val": data.batch(16),
        "images": images,
        "pictures": generator.integers(0, 256, (64, 8, 8, 3), "uint8"),
        "shape": [8, 8, 3],
        "mean": [120, 120, 110],
        "deviation": [60, 60, 60],
        "classes": list("abcd"),
    }


@pytest.mark.parametrize(("page", "count"), [("README.md", 2), ("docs/own_model.md", 3)])
def test_the_code_blocks_run_one_after_the_other(names, page, count):
    blocks = _blocks(ROOT / page)
    assert len(blocks) == count
    for block in blocks:
        # Fewer epochs: what is tested is that the code runs.
        exec(block.replace("epochs=60", "epochs=6"), names)
    assert et.Ticket.load("ticket").sparsity == pytest.approx(0.8, abs=0.01)
    if page == "README.md":
        assert names["predictions"].shape == (64, 4)
        np.testing.assert_allclose(tf.reduce_sum(names["predictions"], axis=-1), 1, rtol=1e-5)
    else:
        assert names["early_ticket"].start_reason


def test_the_code_of_the_keras_3_page_runs(names):
    layers = keras3.layers
    names["my_model"] = keras3.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )
    names["loss"] = keras3.losses.SparseCategoricalCrossentropy(from_logits=True)
    # The second needs JAX.
    block, _ = _blocks(ROOT / "docs/keras3.md")
    exec(block.replace("epochs=60", "epochs=6"), names)
    assert names["ticket"].sparsity == pytest.approx(0.8, abs=0.01)


def test_a_person_reads_the_readme_to_its_end():
    assert len(README.read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_python_block_compiles(page):
    for block in _blocks(page):
        compile(block, str(page), "exec")


def test_the_site_builds_without_a_warning(tmp_path):
    config = ROOT / "tools" / "mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", config]
    done = subprocess.run([*command, "-d", tmp_path / "site"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "wrap_for_pruning" in (tmp_path / "site" / "api" / "index.html").read_text()
    assert 'src="results/' in (tmp_path / "site" / "index.html").read_text()


def test_the_detectors_page_passes_a_detector_as_it_says():
    page = README.parent / "docs" / "detectors.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    data = tf.data.Dataset.from_tensor_slices(([[1.0]], [0])).batch(1)
    names = {"et": et, "train": data, "val": data}
    exec(block, names)
    assert isinstance(names["callback"].detector, et.MaskDistance)


@pytest.mark.parametrize("document", [str(path.relative_to(ROOT)) for path in PAGES])
def test_links_to_files_lead_somewhere(document):
    path = README.parent / document
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
    assert links or document != "README.md"
    for link in links:
        assert (path.parent / link).exists(), link
