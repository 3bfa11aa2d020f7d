import json
from pathlib import Path

import collect_deployment as tool
import pytest

from tf_earlyticket.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workdir(tmp_path):
    """A run whose ticket was exported."""
    folder = tmp_path / "run"
    for file in tool.FILES:
        source = tool.RESULTS / "digits_resnet20_80" / Path(file).name
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(source.read_bytes())
    return folder


def test_it_copies_the_files_and_writes_what_they_hold(workdir, tmp_path):
    path = workdir / "ticket" / "exported" / "artefacts.json"
    found = json.loads(path.read_text())
    found["artefacts"][1] |= {"bytes": 123_456, "bytes_ratio": 0.4321}
    path.write_text(json.dumps(found))
    tool.collect("mine", workdir, tmp_path / "kept")
    text = tool.page(tmp_path / "kept")
    assert "| tflite | 123,456 | 0.432 |" in text and "is 0.43 of the dense one at 80 %" in text
    assert "zeros still zero" in text

    (workdir / "ticket" / "exported" / "collaborative.json").unlink()
    tool.collect("mine", workdir, tmp_path / "kept")
    assert "zeros still zero" not in tool.page(tmp_path / "kept")


def test_a_run_whose_ticket_was_not_exported_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a finished run with ticket/exported/artefacts"):
        tool.collect("mine", tmp_path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_the_kept_results_meet_what_the_project_promises():
    for name, limit in (("digits_resnet20_80", 0.30), ("digits_resnet20_90", 0.17)):
        found = json.loads((tool.RESULTS / name / "artefacts.json").read_text())
        (sparse,) = [item for item in found["artefacts"] if item["format"] == "tflite"]
        assert sparse["bytes_ratio"] <= limit
        rows = json.loads((tool.RESULTS / name / "collaborative.json").read_text())["rows"]
        assert all(row["zeros_kept"] == 1 for row in rows if row["preserve_sparsity"])


def test_the_page_in_the_repository_is_what_the_tool_writes():
    assert tool.page() == tool.PAGE.read_text()
