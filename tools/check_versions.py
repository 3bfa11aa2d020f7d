"""Runs the fast tests with every set of versions that the package supports.

    python tools/check_versions.py --workdir=runs/versions
    python tools/check_versions.py --workdir=runs/versions --sets=lowest --tests=tests/backends
    python tools/check_versions.py --workdir=runs/versions --sets=lowest --failed

Makes an environment for each set, copies what is committed, runs its tests folder by folder, and
writes `results/versions/SET.json`: the versions installed, how many tests passed and failed, and
which; and the table of all sets, `README.md`. Environments and folders that are done are not done
again. What a set holds follows from `pyproject.toml`: "lowest" is the lower bound of everything
that is declared there. `uv`, where it is installed, resolves; without it the versions of the kept
result are installed again.

With `--failed` only the tests that failed run, at what is committed by then; the result says so.
Lint, types and the site need one environment only, and are left out.
"""

import collections
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomllib
from absl import app, flags

from tf_earlyticket.files import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "versions"
LEFT_OUT = (
    "tests/habits_test.py::test_the_code_passes",
    "tests/readme_test.py::test_the_site_builds_without_a_warning",
)
_LIST = """
import importlib.metadata, json
print(json.dumps({each.name: each.version for each in importlib.metadata.distributions()}))
"""


@dataclass(frozen=True)
class VersionSet:
    """What is installed together.

    Attributes:
        python: Version of the interpreter.
        lowest: Take the lower bound of everything declared, not the newest that fits.
        pins: Versions of some packages, by name.
    """

    python: str
    lowest: bool = False
    pins: dict[str, str] = field(default_factory=dict)


SETS = {
    "lowest": VersionSet("3.10", lowest=True),
    "middle": VersionSet(
        "3.12",
        pins={"tensorflow": "2.20.0", "tf_keras": "2.20.1", "keras": "3.12.0", "jax": "0.8.0"},
    ),
    "highest": VersionSet("3.13"),
}


def requirements(project: dict, wanted: VersionSet) -> list[str]:
    """Returns what to install: dependencies and the extras for tests, with the set's pins.

    Args:
        project: The content of `pyproject.toml`.
        wanted: The set.
    """
    extras = project["project"]["optional-dependencies"]
    declared = [*project["project"]["dependencies"], *extras["jax"], *extras["test"]]
    lines = [line for line in declared if not line.startswith("tf_earlyticket[")]
    return lines + [f"{name}=={version}" for name, version in wanted.pins.items()]


def interpreter(version: str) -> str:
    """Returns the path of a Python of that version.

    Raises:
        FileNotFoundError: If there is none on the path or among pyenv's.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")]
    for path in filter(None, candidates):
        said = subprocess.run([path, "--version"], capture_output=True, text=True)
        if said.returncode == 0 and said.stdout.startswith(f"Python {version}."):
            return str(path)
    raise FileNotFoundError(f"Python {version} is neither on the path nor among pyenv's")


def make_environment(folder: Path, name: str) -> dict[str, str]:
    """Makes the environment of a set, if it is not there; returns its versions by package."""
    made, python = folder / "versions.json", folder / "env" / "bin" / "python"
    if made.exists():
        return json.loads(made.read_text())
    wanted, uv = SETS[name], shutil.which("uv")
    shutil.rmtree(folder / "env", ignore_errors=True)
    # With nothing in it: what is there already would pass for a lowest version.
    command = [interpreter(wanted.python), "-m", "venv", "--without-pip", folder / "env"]
    subprocess.run(command, check=True)
    if uv:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        # Wheels, but for a package that has none: old sources build for minutes, or not at all.
        command = [uv, "pip", "install", "-q", "--python", python, "--only-binary", ":all:"]
        command += ["--no-binary", "promise"]
        command += ["--resolution", "lowest-direct" if wanted.lowest else "highest"]
        command += requirements(project, wanted)
    else:
        # pip's resolver may search for hours.
        kept = json.loads((RESULTS / f"{name}.json").read_text())["versions"]
        command = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
        command += [f"{package}=={version}" for package, version in kept.items()]
    subprocess.run(command, check=True)
    said = subprocess.run([python, "-c", _LIST], check=True, capture_output=True).stdout
    versions = dict(sorted(json.loads(said).items()))
    write_json(made, versions)
    return versions


def copy_committed(folder: Path) -> str:
    """Copies what is committed to `folder/source`, if that is another state; returns the commit."""
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    stamp = folder / "commit"
    if not stamp.exists() or stamp.read_text() != head:
        for left in ("source", "outcomes"):
            shutil.rmtree(folder / left, ignore_errors=True)
        (folder / "source").mkdir(parents=True)
        packed = subprocess.run(
            ["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True
        )
        command = ["tar", "-x", "-C", folder / "source"]
        subprocess.run(command, input=packed.stdout, check=True)
        stamp.write_text(head)
    return head


def groups(tests: Path) -> list[list[Path]]:
    """Returns the folders of tests, each alone, and the files beside them."""
    folders = sorted({path.parent for path in tests.glob("*/*_test.py")})
    return [*([path] for path in folders), sorted(tests.glob("*_test.py"))]


def run_tests(folder: Path, tests: Sequence[Path], processes: int) -> Path:
    """Runs tests in the environment of a set, if they have not run; returns pytest's XML."""
    source = folder / "source"
    named = [str(path).removeprefix(f"{source}/") for path in tests]
    outcome = folder / "outcomes" / f"{named[0].partition('::')[0].replace('/', '_')}.xml"
    if outcome.exists():
        return outcome
    outcome.parent.mkdir(exist_ok=True)
    unfinished = outcome.with_suffix(".unfinished")
    command = [folder / "env" / "bin" / "python", "-m", "pytest", "-n", str(processes)]
    command += [f"--junitxml={unfinished}", *(f"--deselect={test}" for test in LEFT_OUT), *named]
    environment = {key: v for key, v in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(source), "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("KERAS_BACKEND", None)
    log = outcome.with_suffix(".log")
    with open(log, "w") as file:
        done = subprocess.run(command, cwd=source, env=environment, stdout=file, stderr=file)
    # 5: none of them is among the fast ones.
    if done.returncode not in (0, 1, 5):
        raise RuntimeError(f"pytest ended with status {done.returncode}: see {log}")
    unfinished.replace(outcome)
    return outcome


def summary(outcomes: Sequence[Path]) -> dict:
    """Returns counts, seconds and the names of failed tests, of pytest's XML files."""
    counts, seconds, failed = collections.Counter(), 0.0, []
    for path in outcomes:
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            kinds = {child.tag for child in case}
            bad = kinds & {"failure", "error"}
            counts["failed" if bad else "skipped" if "skipped" in kinds else "passed"] += 1
            seconds += float(case.get("time", 0))
            if bad:
                failed.append(f"{case.get('classname')}::{case.get('name')}")
    names = ("passed", "failed", "skipped")
    return {name: counts[name] for name in names} | {"seconds": round(seconds), "names": failed}


def check(name: str, workdir: Path, tests: Sequence[str], processes: int) -> dict:
    """Runs the tests with one set; returns what is kept of it.

    Args:
        name: Of the set.
        workdir: Where environments lie.
        tests: Files or folders under the checkout; none: all of them.
        processes: At once.
    """
    folder = workdir.resolve() / name
    folder.mkdir(parents=True, exist_ok=True)
    versions = make_environment(folder, name)
    commit = copy_committed(folder)
    source = folder / "source"
    chosen = [[source / test] for test in tests] or groups(source / "tests")
    outcomes = [run_tests(folder, group, processes) for group in chosen]
    python = subprocess.run(
        [folder / "env" / "bin" / "python", "--version"], check=True, capture_output=True, text=True
    )
    return {
        "set": name,
        "command": f"python tools/check_versions.py --sets={name}",
        "commit": commit,
        "python": python.stdout.split()[1],
        **summary(outcomes),
        "left_out": LEFT_OUT,
        "versions": versions,
    }


def check_failed(name: str, workdir: Path, processes: int) -> dict:
    """Runs the tests that failed with one set once more; returns what is kept of the set."""
    found = read_json(RESULTS / f"{name}.json")
    folder = workdir.resolve() / name
    make_environment(folder, name)
    again = folder / "again"
    again.mkdir(exist_ok=True)
    if not (again / "env").is_symlink():
        (again / "env").symlink_to(folder / "env")
    commit, failed = copy_committed(again), found["names"]
    files: dict[str, list[Path]] = {}
    for test in failed:
        module, _, rest = test.partition("::")
        path = again / "source" / f"{module.replace('.', '/')}.py"
        files.setdefault(module, []).append(Path(f"{path}::{rest}"))
    outcomes = [run_tests(again, tests, processes) for tests in files.values()]
    seen = summary(outcomes)
    if seen["passed"] + seen["failed"] != len(failed):
        raise RuntimeError(f"{again / 'outcomes'}: expected {len(failed)} tests, {seen}")
    found |= {"failed": seen["failed"], "passed": found["passed"] + seen["passed"]}
    found["names"] = seen["names"]
    mended = [test for test in failed if test not in seen["names"]]
    return found | {"mended": [*found.get("mended", []), {"commit": commit, "tests": mended}]}


def page(results: Sequence[dict]) -> str:
    """Returns the table of what is kept of each set, in Markdown."""
    shown = ("tensorflow", "tf_keras", "keras", "jax", "numpy")
    columns = ["set", "Python", *shown, "passed", "failed", "skipped", "commit", "run again"]
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for found in results:
        versions = [found["versions"][name] for name in shown]
        counts = [str(found[name]) for name in ("passed", "failed", "skipped")]
        again = [
            f"{len(each['tests'])} at {each['commit'][:7]}" for each in found.get("mended", [])
        ]
        cells = [found["set"], found["python"], *versions, *counts, found["commit"][:7]]
        cells.append(", ".join(again))
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "# The versions that the tests ran with\n\n"
        "    python tools/check_versions.py\n\n"
        "The fast tests, each set in an environment of its own. `lowest` has the lower bound of\n"
        "everything that `pyproject.toml` declares; skipped are tests of packages that the set\n"
        "does not have. Tests that had failed ran again after the commit that mended them.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def main(argv: list[str]) -> None:
    """Checks the sets one after the other; status 1 if a test failed."""
    del argv
    failed = 0
    for name in flags.FLAGS.sets or SETS:
        workdir, processes = Path(flags.FLAGS.workdir), flags.FLAGS.processes
        if flags.FLAGS.failed:
            found = check_failed(name, workdir, processes)
        else:
            found = check(name, workdir, flags.FLAGS.tests, processes)
        failed += found["failed"]
        if not flags.FLAGS.tests:
            write_json(RESULTS / f"{name}.json", found)
            kept = [path for each in SETS if (path := RESULTS / f"{each}.json").exists()]
            write_text(RESULTS / "README.md", page([read_json(path) for path in kept]))
        print(
            f"{name}: {found['passed']} passed, {found['failed']} failed",
            *found["names"],
            sep="\n  ",
        )
    sys.exit(failed > 0)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/versions", "Where environments and outcomes lie.")
    flags.DEFINE_multi_enum("sets", [], list(SETS), "Which sets; default all.")
    flags.DEFINE_list("tests", [], "Files or folders of tests; default all fast ones.")
    flags.DEFINE_bool("failed", False, "Only those that failed, once more.")
    flags.DEFINE_integer("processes", 2, "Of pytest at once.", lower_bound=0)
    app.run(main)
