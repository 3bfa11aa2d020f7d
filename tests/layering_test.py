"""The import direction, the lightness of the entry points, and the size of files.

The rule: a file imports only from stages above its own or from its own stage. A stage is a
top-level module or a package. Keras' own name comes from `keras_compat`; who needs it is listed.
"""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tf_earlyticket

PACKAGE = Path(tf_earlyticket.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
STAGES = [
    {"errors", "version"},
    {"checks"},
    {"registry"},
    {"files"},
    {"config"},
    {"data", "models"},
    {"pruning"},
    {"detectors"},
    {"backends"},
    {"tickets"},
    {"callbacks"},
    {"analysis", "deploy", "report"},
    {"job"},
    {"paper"},
    {"commands"},
    {
        "train",
        "export",
        "inspect",
        "compare",
        "study_detectors",
        "study_updates",
        "reproduce",
        "bench",
        "sensitivity",
    },
]
RANK = {name: rank for rank, names in enumerate(STAGES) for name in names}


def _imports(path: Path) -> set[str]:
    """Returns the full names of all modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            if node.module == "tf_earlyticket":
                names |= {f"tf_earlyticket.{alias.name}" for alias in node.names}
    return names


def _own(path: Path) -> set[str]:
    """Returns the stages that a file imports from."""
    return {name.split(".")[1] for name in _imports(path) if name.startswith("tf_earlyticket.")}


def _foreign(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)} - {"tf_earlyticket"}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _stage(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_point_one_way(path):
    if _stage(path) == "__init__":
        return
    assert _stage(path) in RANK, "a new file: give it its place in STAGES"
    for stage in _own(path):
        assert RANK[stage] <= RANK[_stage(path)], f"imports {stage}, a later stage"
        same_rank = RANK[stage] == RANK[_stage(path)] and stage != _stage(path)
        peers = ("errors",)
        assert not same_rank or stage in peers, f"imports its peer {stage}"


PURE = ("pruning", "detectors")


@pytest.mark.parametrize("path", [p for p in FILES if _stage(p) in PURE], ids=_name)
def test_what_decides_is_numpy_only(path):
    assert _foreign(path) <= {"numpy"} | set(sys.stdlib_module_names)
    assert _own(path) <= {*PURE, "errors", "checks", "registry"}


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_keras_is_chosen_in_one_place(path):
    chosen = {
        "backends/tf_keras/compat.py": {"tf_keras", "tensorflow_model_optimization"},
        "backends/keras3/compat.py": {"keras"},
    }
    frameworks = _foreign(path) & {"tf_keras", "keras", "tensorflow_model_optimization"}
    assert frameworks == chosen.get(_name(path), set())


_FRAMEWORKS = {"keras", "tf_keras", "keras3"}


def _asked(path: Path) -> list[int]:
    """Returns the lines that compare something with the name of a Keras."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Compare, ast.MatchValue)):
            inner = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}
            if inner & _FRAMEWORKS:
                found.append(node.lineno)
    return sorted(found)


@pytest.mark.parametrize(
    "path", [p for p in FILES if _stage(p) not in ("backends", "models")], ids=_name
)
def test_nothing_else_asks_which_keras_it_is(path):
    assert not _asked(path)


def test_what_asks_which_keras_it_is_is_seen(tmp_path):
    path = tmp_path / "asks.py"
    path.write_text(
        'if framework == "keras":\n    pass\nmatch framework:\n    case "tf_keras":\n        pass\n'
        'if config.model.keras not in ("tf_keras",):\n    pass\nname = "keras"\n'
    )
    assert _asked(path) == [1, 4, 6]


def test_every_public_name_exists_and_is_documented():
    for name in tf_earlyticket.__all__:
        assert getattr(tf_earlyticket, name) is not None
        if callable(getattr(tf_earlyticket, name)):
            assert getattr(tf_earlyticket, name).__doc__


@pytest.mark.parametrize("name", sorted({*tf_earlyticket.__all__} - {"InputError", "Report"}))
def test_every_parameter_of_a_public_name_is_documented(name):
    public = getattr(tf_earlyticket, name)
    for parameter in inspect.signature(public).parameters if callable(public) else ():
        assert parameter in ("args", "kwargs") or f"{parameter}: " in public.__doc__, parameter


@pytest.mark.parametrize("module", ["", *(f".{program}" for program in sorted(STAGES[-1]))])
def test_importing_is_light_and_leaves_the_environment_alone(module):
    code = (
        "import os, sys; before = dict(os.environ); "
        f"import tf_earlyticket{module}; assert dict(os.environ) == before; "
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'matplotlib'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def _package_names(path: Path) -> set[tuple[str, str]]:
    """Returns (module, name) of all that a file takes from the package, wherever in the file."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tf_earlyticket")
        for alias in node.names
    }


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("tools", "examples", "configs")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_what_programs_outside_of_the_package_import_is_there(path):
    # Imports within functions too, which nothing else notices before the program runs.
    for module, name in _package_names(path):
        imported = importlib.import_module(module)
        assert hasattr(imported, name) or importlib.util.find_spec(f"{module}.{name}"), (
            f"{path.name}: {module} has no {name}"
        )
