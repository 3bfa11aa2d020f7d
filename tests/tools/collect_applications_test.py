import inspect

import collect_applications as tool
import pytest

from tf_earlyticket.backends import FRAMEWORKS, backend_named
from tf_earlyticket.models.applications import classes_of


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name != "MobileNet" else ())
        for name in tool.NETWORKS
    ],
)
def test_what_is_kept_is_what_is_pruned_now(name):
    kept = next(each["counts"] for each in tool.kept() if each["name"] == name)
    assert kept == tool.counts(name), f"run python tools/collect_applications.py {name}"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_class_is_known_and_each_family_counted(framework):
    applications = backend_named(framework).keras.applications
    found = {name: each for name, each in vars(applications).items() if inspect.isfunction(each)}
    assert set(found) == set(classes_of(framework))
    counted = {found[name].__module__ for name in tool.NETWORKS if name in found}
    families = {each.__module__ for each in found.values()}
    assert {each for each in families - counted if not each.endswith("vgg19")} == set()
