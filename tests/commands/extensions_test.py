"""--extensions: names of one's own are known before flags and config are checked."""

import re
from pathlib import Path

import pytest

import tf_earlyticket as et
from tf_earlyticket import bench, export, reproduce, train
from tf_earlyticket.commands import sensitivity
from tf_earlyticket.models import MODELS
from tf_earlyticket.paper.item import ITEMS

PAGE = Path(et.__file__).parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def write(tmp_path):
    """Writes a file of extensions; what it registers is forgotten afterwards."""
    before = [(registry, dict(registry._entries)) for registry in (MODELS, ITEMS)]
    path = tmp_path / "mine.py"

    def write(text):
        path.write_text(text)
        return f"--extensions={path}"

    yield write
    for registry, entries in before:
        registry._entries.clear()
        registry._entries.update(entries)


def _block(title):
    return next(block for block in BLOCKS if title in block)


def test_a_network_of_a_file_is_known_by_name(call_program, write):
    given = write(_block("register_model"))
    status, out, err = call_program(train, given, "--config.model.name=small_cnn", "--dry_run")
    assert status == 0, err
    assert "small_cnn" in out and "second" in out


def test_of_several_files_of_one_flag_each_the_last_counts(call_program, write):
    last = write(_block("register_model"))
    arguments = ("--extensions=absent.py", last, "--config.model.name=small_cnn", "--dry_run")
    status, _, err = call_program(train, *arguments)
    assert status == 0, err


def test_without_the_file_it_is_not(call_program):
    status, _, err = call_program(train, "--config.model.name=small_cnn", "--dry_run")
    assert status == 2 and "small_cnn" in err


def test_an_item_of_a_file_is_reproduced(call_program, write):
    given = write(_block("register_item"))
    arguments = ("--item=rewinding", "--scale=paper", "--dry_run")
    status, out, err = call_program(reproduce, given, *arguments)
    assert status == 0, err
    assert "rewinding: 8 cells" in out


@pytest.mark.parametrize("program", [export, bench, sensitivity])
def test_programs_that_look_at_a_run_know_them_too(call_program, program):
    status, _, err = call_program(program, "--extensions=absent.py")
    assert status == 2 and err.startswith("error: --extensions='absent.py': expected Python files")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("def", "SyntaxError"),
        ("raise SystemExit", "SystemExit"),
        ("import tf_earlyticket as et\net.register_model('resnet20', dict)", "name='resnet20'"),
        (None, "FileNotFoundError"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(call_program, write, text, reason):
    given = write(text) if text else "--extensions=absent.py"
    status, _, err = call_program(train, given)
    lines = [line for line in err.splitlines() if line]
    assert status == 2 and len(lines) == 1
    assert lines[0].startswith("error: --extensions=") and reason in lines[0]
