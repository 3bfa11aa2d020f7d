"""Every figure and table at smoke scale. A file of its own: it takes minutes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf_earlyticket as et
from tf_earlyticket.paper.item import ITEMS

ROOT = Path(et.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
def test_every_item_runs_at_smoke_scale_as_the_page_says(tmp_path):
    script = re.search(
        r"```bash\n(for item in .*?)```", (ROOT / "docs/commands.md").read_text(), re.S
    )[1]
    script = script.replace("python -m", f"{sys.executable} -m")
    options = {"env": ENVIRONMENT, "cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run(["bash", "-ec", script], **options)
    assert done.returncode == 0, done.stderr[-2000:]
    (workdir,) = (tmp_path / "runs").iterdir()
    for item in ITEMS:
        results = json.loads((workdir / "items" / item / "results.json").read_text())
        assert results["finished"] == results["cells"] > 0
        assert results["summary"] and results["scale"] == "smoke"
        assert (workdir / "items" / item / "results.csv").exists()
        assert list((workdir / "items" / item).glob("*.png"))
        # Numbers of a smoke run judge nothing.
        assert results["claims"] == []
