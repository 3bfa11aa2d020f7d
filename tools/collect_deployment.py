"""Keeps what was measured on exported tickets and writes `docs/deployment.md` from it.

    python tools/collect_deployment.py resnet20_80=runs/a resnet20_90=runs/b
    python tools/collect_deployment.py

The first form copies what `python -m tf_earlyticket.export` and
`tools/collaborative_optimization.py` measured on the tickets of runs to `results/deployment/NAME`.
Both write the page, every number of which comes from the files there.
"""

import json
import shutil
import sys
from pathlib import Path

import pages
from absl import app

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_text
from tf_earlyticket.paper.item import markdown_table
from tf_earlyticket.report.html import ARTEFACT_COLUMNS, artefact_rows
from tf_earlyticket.report.report import read_artefacts

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "deployment"
PAGE = ROOT / "docs" / "deployment.md"
# In a run; the second is left out where it was not made.
FILES = (
    "ticket/exported/artefacts.json",
    "ticket/exported/collaborative.json",
    "config.json",
    "flags.txt",
    "report.json",
)
_OPTIONAL = FILES[1]


def collect(name: str, workdir: Path, results: Path = RESULTS) -> None:
    """Copies the results of a run.

    Raises:
        InputError: If its ticket was not exported.
    """
    target = results / name
    for file in FILES:
        if not (workdir / file).exists() and file != _OPTIONAL:
            raise InputError(f"{workdir}: expected a finished run with {file}.")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in FILES:
        if (workdir / file).exists():
            shutil.copy(workdir / file, target)


def page(results: Path = RESULTS) -> str:
    """Returns the text of the page, from the results under `results`."""
    return pages.render(
        "deployment.md.jinja",
        tickets=[_ticket(folder) for folder in sorted(results.iterdir()) if folder.is_dir()],
    )


def _ticket(folder: Path) -> dict:
    found = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    rows = artefact_rows(read_artefacts(found["artefacts"]["artefacts"]))
    return {
        "name": folder.name,
        "collaborative": None,
        **found,
        "table": markdown_table(ARTEFACT_COLUMNS, rows),
        "by_format": {item["format"]: item for item in found["artefacts"]["artefacts"]},
    }


def main(argv: list[str]) -> None:
    """Collects, and writes the page."""
    try:
        for argument in argv[1:]:
            name, separator, folder = argument.partition("=")
            if not separator:
                raise InputError(f"argument {argument!r}: expected NAME=RUNDIR.")
            collect(name, Path(folder))
        write_text(PAGE, page())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
