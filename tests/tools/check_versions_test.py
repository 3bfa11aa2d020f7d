"""What is declared is what was tested, and the tool that tests it counts truthfully."""

import json
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="is in Python from 3.11 on")

import check_versions  # noqa: E402

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DECLARED = {
    requirement.name: str(requirement.specifier)
    for requirement in map(
        Requirement,
        PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["jax"],
    )
}
SETS = check_versions.SETS
XML = """<testsuites><testsuite>
<testcase classname="tests.a_test" name="test_good" time="1.5"/>
<testcase classname="tests.a_test" name="test_bad[x]" time="2"><failure message="m"/></testcase>
<testcase classname="tests.a_test" name="test_worse" time="0.2"><error message="m"/></testcase>
<testcase classname="tests.a_test" name="test_left" time="0"><skipped message="m"/></testcase>
</testsuite></testsuites>"""


def test_outcomes_are_counted_and_failures_named(tmp_path):
    paths = [tmp_path / "one.xml", tmp_path / "two.xml"]
    for path in paths:
        path.write_text(XML)
    assert check_versions.summary(paths) == {
        "passed": 2,
        "failed": 4,
        "skipped": 2,
        "seconds": 7,
        "names": ["tests.a_test::test_bad[x]", "tests.a_test::test_worse"] * 2,
    }


def test_every_test_file_is_in_one_group():
    groups = check_versions.groups(ROOT / "tests")
    files = [
        file for group in groups for path in group for file in (path.glob("*_test.py"), [path])[
            path.is_file()
        ]
    ]  # fmt: skip
    assert sorted(files) == sorted((ROOT / "tests").rglob("*_test.py"))


def test_what_ran_is_not_run_again_and_a_stop_leaves_no_outcome(tmp_path, monkeypatch):
    (tmp_path / "source").mkdir()
    calls = []

    def run(command, **options):
        calls.append(command)
        target = next(part for part in command if str(part).startswith("--junitxml="))
        Path(target.partition("=")[2]).write_text(XML)
        return subprocess.CompletedProcess(command, statuses.pop(0))

    monkeypatch.setattr(check_versions.subprocess, "run", run)
    statuses = [2, 1]
    tests = [tmp_path / "source" / "tests" / "pruning"]
    with pytest.raises(RuntimeError, match="status 2: see .*tests_pruning.log"):
        check_versions.run_tests(tmp_path, tests, 1)
    for _ in range(2):
        outcome = check_versions.run_tests(tmp_path, tests, 1)
        assert outcome.read_text() == XML
    assert len(calls) == 2


def test_what_failed_runs_again_and_is_said(tmp_path, monkeypatch):
    bad = ["tests.a_test::test_bad[x]", "tests.a_test::test_worse"]
    kept = {"passed": 7, "failed": 2, "names": bad, "commit": "one"}
    (tmp_path / "some.json").write_text(json.dumps(kept))
    (tmp_path / "found.xml").write_text(XML)
    asked = []

    def run(folder, tests, processes):
        asked.extend(tests)
        return tmp_path / "found.xml"

    monkeypatch.setattr(check_versions, "RESULTS", tmp_path)
    monkeypatch.setattr(check_versions, "make_environment", lambda folder, name: {})
    monkeypatch.setattr(check_versions, "copy_committed", lambda folder: "two")
    monkeypatch.setattr(check_versions, "run_tests", run)
    (tmp_path / "some").mkdir()
    with pytest.raises(RuntimeError, match="expected 2 tests"):
        check_versions.check_failed("some", tmp_path, 1)
    source = tmp_path / "some/again/source"
    assert asked == [Path(f"{source}/tests/a_test.py::{test[14:]}") for test in bad]
    case = '<testcase classname="tests.a_test" name='
    failed = f'{case}"test_worse"><error message="m"/></testcase>'
    (tmp_path / "found.xml").write_text(f'<a>{case}"test_bad[x]"/>{failed}</a>')
    found = check_versions.check_failed("some", tmp_path, 1)
    assert (found["passed"], found["failed"], found["names"]) == (8, 1, bad[1:])
    assert found["commit"] == "one"
    assert found["mended"] == [{"commit": "two", "tests": bad[:1]}]


def test_the_pythons_declared_are_those_of_the_sets():
    pythons = sorted((wanted.python for wanted in check_versions.SETS.values()), key=Version)
    lowest, below = pythons[0], f"3.{int(pythons[-1].partition('.')[2]) + 1}"
    assert PROJECT["project"]["requires-python"] == f">={lowest},<{below}"


def test_what_is_declared_passed():
    kept = [json.loads((check_versions.RESULTS / f"{name}.json").read_text()) for name in SETS]
    assert all(found["failed"] == 0 and found["passed"] > 2000 for found in kept)
    for name in ("tensorflow", "tf_keras", "keras", "jax"):
        tested = [Version(found["versions"][name]) for found in kept]
        below = SpecifierSet(DECLARED[name])
        # The lowest that is declared, and nothing newer than what ran.
        assert min(tested) in below and max(tested) in below
        bounds = {each.operator: Version(each.version) for each in below}
        assert bounds[">="].release[:2] == min(tested).release[:2]
        assert bounds["<"].release[:2] == (max(tested).major, max(tested).minor + 1)
    assert (check_versions.RESULTS / "README.md").read_text() == check_versions.page(kept)
