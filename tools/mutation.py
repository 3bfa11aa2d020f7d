"""Changes one thing at a time in what decides, and counts the changes that the fast tests notice.

    python tools/mutation.py --workdir=runs/mutation
    python tools/mutation.py --workdir=runs/mutation --results_only

Copies pruning/, detectors/, what they import and their tests to the directory, runs mutmut (`pip
install mutmut`) there, one process, and writes results/mutation/summary.json: the command, the
versions, killed, surviving and untested mutants by file, and the change that each survivor is. What
was done is not done again. `survivors.md` beside it, written by hand, explains them.
"""

import collections
import difflib
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from absl import app, flags

from tf_earlyticket.files import write_json

ROOT = Path(__file__).resolve().parents[1]
MUTATED = ("pruning", "detectors")
ALONE = ("__init__", "checks", "errors", "registry", "version")
RESULT = ROOT / "results" / "mutation" / "summary.json"
CONFIG = """
[tool.mutmut]
source_paths = ["tf_earlyticket"]
only_mutate = ["tf_earlyticket/pruning/*", "tf_earlyticket/detectors/*"]
pytest_add_cli_args_test_selection = ["tests"]
[tool.pytest.ini_options]
python_files = ["*_test.py"]
addopts = "-q -x --import-mode=importlib"
"""
# mutmut's numbers: the exit status of the tests, or 33 where none of them reaches a line.
OUTCOMES = {0: "survived", 1: "killed", 3: "killed", 33: "untested"}


def prepare(workdir: Path) -> None:
    """Copies code and tests that need NumPy alone."""
    package = workdir / "tf_earlyticket"
    for folder in MUTATED:
        shutil.copytree(ROOT / "tf_earlyticket" / folder, package / folder)
        shutil.copytree(ROOT / "tests" / folder, workdir / "tests" / folder)
    for name in ALONE:
        shutil.copy(ROOT / "tf_earlyticket" / f"{name}.py", package)
    (workdir / "pyproject.toml").write_text(CONFIG)


def results(workdir: Path) -> dict:
    """Returns the counts by file and the survivors."""
    files, survivors = {}, {}
    for meta in sorted((workdir / "mutants").rglob("*.meta")):
        name = meta.relative_to(workdir / "mutants").as_posix().removesuffix(".meta")
        found = json.loads(meta.read_text())["exit_code_by_key"]
        outcomes = {key: OUTCOMES.get(code, f"status {code}") for key, code in found.items()}
        if outcomes:
            files[name] = dict(sorted(collections.Counter(outcomes.values()).items()))
        left = [key for key, outcome in outcomes.items() if outcome != "killed"]
        survivors |= {key: _change(meta.with_suffix(""), key) for key in left}
    total = collections.Counter()
    for counts in files.values():
        total.update(counts)
    return {
        "command": "python tools/mutation.py --workdir=runs/mutation",
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("mutmut", "numpy", "pytest")},
        },
        "total": dict(total),
        "killed_share": total["killed"] / max(1, sum(total.values())),
        "files": files,
        "survivors": survivors,
    }


def _change(source: Path, key: str) -> list[str]:
    """Returns the lines that a mutant takes out (-) and puts in (+)."""
    function = key.rpartition(".")[2]
    blocks = _functions(source.read_text())
    original = blocks.get(f"{function.rpartition('__mutmut_')[0]}__mutmut_orig", [])
    changed = difflib.unified_diff(original, blocks.get(function, []), lineterm="", n=0)
    kept = [line for line in changed if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    # Their first lines differ by the name of the mutant.
    return [" ".join(line.split()) for line in kept if "__mutmut_" not in line]


def _functions(text: str) -> dict[str, list[str]]:
    blocks, name = {}, None
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["def"]:
            name = words[1].partition("(")[0]
            blocks[name] = []
        if name is not None:
            blocks[name].append(line)
    return blocks


def main(argv: list[str]) -> None:
    """Runs the mutants that have not run, and writes the summary."""
    workdir = Path(flags.FLAGS.workdir)
    if not flags.FLAGS.results_only:
        if not (workdir / "pyproject.toml").exists():
            prepare(workdir)
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
        subprocess.run(command, cwd=workdir, check=True)
    found = results(workdir)
    write_json(RESULT, found)
    print(f"{found['total']}: {100 * found['killed_share']:.1f} % killed. {RESULT}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", "runs/mutation", "Where the copies lie")
    flags.DEFINE_bool("results_only", False, "Run nothing, write the summary")
    app.run(main)
