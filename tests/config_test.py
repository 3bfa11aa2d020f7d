"""Names of runs, and what a config may hold."""

import dataclasses
import json

import pytest

from tf_earlyticket import config as config_module
from tf_earlyticket.config import (
    Config,
    ProbeConfig,
    check_fields,
    config_from_dict,
    translate_old_fields,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.job import default_config


def _changed():
    config = Config()
    config.data.name, config.model.name = "cifar10", "resnet56"
    config.train.epochs, config.train.drop_epochs = 30, (18, 24)
    config.pruning.final_sparsity = 0.9
    return config


# Literals: a name that changes orphans the runs of everyone who relied on it.
NAMES = [
    (Config, "digits_resnet20-44136fa3"),
    (default_config.get_config, "digits_resnet20-563eabd2"),
    (lambda: default_config.get_config("smoke"), "digits_resnet20-d778f8eb"),
    (_changed, "cifar10_resnet56-a16e36a5"),
]


@pytest.mark.parametrize(("make", "name"), NAMES)
def test_names_of_runs_stay(make, name):
    assert make().run_name() == name


def test_a_new_field_changes_no_name_until_it_is_set(monkeypatch):
    @dataclasses.dataclass
    class Longer(config_module.Config):
        new_field: int = 3

    monkeypatch.setattr(config_module, "Config", Longer)
    assert Longer().run_name() == "digits_resnet20-44136fa3"
    assert Longer(new_field=4).run_name() != Longer(new_field=5).run_name()


def test_parameters_of_a_network_are_in_the_digest_only():
    config = Config()
    config.model.name = "small_cnn(width=8)"
    assert config.run_name().startswith("digits_small_cnn-")


def test_a_config_comes_back_from_its_json():
    config = _changed()
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config_from_dict({}) == Config()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"config=\[\]: expected a mapping"),
        ({"train": 3}, "config.train=3: expected a mapping"),
        ({"train": {"epochs": "x"}}, "config.train.epochs='x': expected a value of type int"),
        ({"train": {"epochs": True}}, "config.train.epochs=True: expected a value of type int"),
        ({"train": {"drop_epochs": [1, "a"]}}, "config.train.drop_epochs=.*of type int"),
        ({"probe": {"fraction": "a"}}, "config.probe.fraction='a': .*float | None"),
        ({"train": {"epohcs": 3}}, "config.train.epohcs is not a field.*Did you mean 'epochs'"),
    ],
)
def test_what_cannot_be_a_config_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        config_from_dict(values)


def test_what_a_config_file_sets_is_checked_too():
    config = Config()
    config.train.learning_rate = 1
    check_fields(config)
    config.train.epohcs = 3
    with pytest.raises(InputError, match="config.train.epohcs is not a field"):
        check_fields(config)
    config.train = 4
    with pytest.raises(InputError, match="config.train=4: expected a mapping"):
        check_fields(config)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ppr_saturation", "ppr_saturation(tolerance=0.03)"),
        (
            "gated_ppr",
            "gated_ppr(gate='layer_rate_convergence(tolerance=0.05)', tolerance=0.03)",
        ),
        ("mask_distance", "mask_distance(threshold=0.05)"),
        ("layer_rate_convergence", "layer_rate_convergence(tolerance=0.05)"),
        ("subnet_similarity", "subnet_similarity(threshold=0.05)"),
        ("fixed_epoch", "fixed_epoch(epoch=7)"),
        ("mask_distance(window=3)", "mask_distance(window=3)"),
        ("mine", "mine"),
    ],
)
def test_fields_that_detectors_shared_become_parameters_of_the_name(name, expected):
    probe = ProbeConfig(detector=name, tolerance=0.03, threshold=0.05, start_epoch=7)
    told = translate_old_fields(probe)
    assert probe == ProbeConfig(detector=expected)
    assert f'write --config.probe.detector="{expected}"' in told
    assert translate_old_fields(probe) == ""


def test_their_old_defaults_say_nothing():
    probe = ProbeConfig(tolerance=0.01)
    assert translate_old_fields(probe) == "" and probe == ProbeConfig()
    old = {"probe": {"detector": "ppr_saturation", "tolerance": 0.01, "threshold": None}}
    assert config_from_dict(old) == Config()
