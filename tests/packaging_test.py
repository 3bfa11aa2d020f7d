"""What is installed with the package, as `pyproject.toml` says it."""

import re
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="is in Python from 3.11 on")
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())


def _name(requirement):
    return re.match(r"[\w-]+", requirement).group()


def test_the_group_for_keras_3_is_the_dependencies_without_tf_keras_and_tfmot():
    left_out = {"tf_keras", "tensorflow-model-optimization", "setuptools"}
    dependencies = PROJECT["project"]["dependencies"]
    wanted = [line for line in dependencies if _name(line) not in left_out]
    assert PROJECT["dependency-groups"]["keras3"] == wanted
    assert {_name(line) for line in dependencies} == {_name(line) for line in wanted} | left_out


def test_jax_is_the_same_in_the_extra_and_the_group():
    extra = PROJECT["project"]["optional-dependencies"]["jax"]
    assert PROJECT["dependency-groups"]["keras3-jax"] == [{"include-group": "keras3"}, *extra]
