"""The study of channel tickets: the small network that begins anew, and a whole study."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import study_channels
from jobs import tiny_config
from networks import half

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.backend import BACKEND
from tf_earlyticket.deploy.remove_channels import without_channels
from tf_earlyticket.job.build import build_plain_model

ROOT = Path(et.__file__).parents[1]


def test_the_small_network_begins_anew_within_the_large_one():
    config = tiny_config()
    large = build_plain_model(config)
    graph = et.channel_graph(large)
    kept = half(graph)
    for name, variable in BACKEND.named_weights(large).items():
        variable.assign(variable.numpy() * graph.mask(name, kept))
    small, _, found = without_channels(large)
    np.testing.assert_array_equal(found, kept)
    weights = study_channels.begun_anew(copy.deepcopy(config), small, graph, kept)
    BACKEND.write_weights(large, weights)
    within = et.remove_channels(large)
    inputs = np.random.default_rng(0).normal(size=(4, 16, 16, 1)).astype(np.float32)
    outputs = within(inputs, training=True).numpy()
    np.testing.assert_allclose(outputs, large(inputs, training=True).numpy(), rtol=1e-4, atol=1e-5)
    # As wide as initial weights of the small layer are, not those of the large one.
    kernel = BACKEND.named_weights(within)["stage3_block1_conv2/kernel"].numpy()
    expected = np.sqrt(2 / np.prod(kernel.shape[:3]))
    assert kernel.std() == pytest.approx(expected, rel=0.05)
    assert not np.array_equal(kernel, BACKEND.named_weights(small)["stage3_block1_conv2/kernel"])


def test_differences_have_an_interval_over_seeds():
    seeds = [{"a": 0.5, "b": 0.4}, {"a": 0.6, "b": 0.48}, {"a": 0.55, "b": 0.46}]
    found = study_channels.difference(seeds, "a", "b")
    # 0.10, 0.12, 0.09: 4.303 standard errors of 0.00882 to each side.
    assert found["mean"] == pytest.approx(0.10333, abs=1e-4)
    assert found["high"] - found["mean"] == pytest.approx(0.03795, abs=1e-4)
    assert study_channels.difference(seeds[:1], "a", "b")["low"] is None


@pytest.mark.slow
def test_a_study_of_one_seed(tmp_path):
    command = [sys.executable, str(ROOT / "tools/study_channels.py"), "--seeds=3"]
    command += ["--config.pruning.structure=channels", "--config.pruning.target=macs:0.5"]
    command += ["--config.pruning.channel_multiple=4", "--config.model.name=resnet8"]
    command += ["--config.data.train_examples=128", "--config.train.epochs=3"]
    command += ["--config.train.drop_epochs=2", f"--workdir={tmp_path / 'study'}"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    seed = study["seeds"]["3"]
    assert 0.4 < seed["macs"]["ticket"] / seed["macs"]["dense"] <= 0.5
    assert all(0 <= seed[name] <= 1 for name in ("dense", "ticket", "scratch"))
    tickets = [et.Ticket.load(tmp_path / f"study/seed_3/{r}/ticket") for r in ("ticket", "scratch")]
    for name, mask in tickets[0].masks.items():
        np.testing.assert_array_equal(mask, tickets[1].masks[name])
