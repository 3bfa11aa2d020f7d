"""Keeps the results of reproduced figures and tables and writes `docs/results.md` from them.

    python tools/collect_reproduction.py runs/small_resnet20 runs/small_resnet8
    python tools/collect_reproduction.py

The first form copies the files of every item of these directories to `results/reproduction/`.
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
from tf_earlyticket.paper.item import ITEMS, check_claims, describe, markdown_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "reproduction"
PAGE = ROOT / "docs" / "results.md"


def collect(workdir: Path, results: Path = RESULTS) -> None:
    """Copies the files of the items of a directory to folders of their names under `results`.

    Raises:
        InputError: If the directory holds no results of an item.
    """
    items = sorted(path.parent for path in workdir.glob("items/*/results.json"))
    if not items:
        raise InputError(f"{workdir}: expected a directory of reproduced items, with an items/.")
    for item in items:
        shutil.rmtree(results / item.name, ignore_errors=True)
        shutil.copytree(item, results / item.name)


def page(results: Path = RESULTS) -> str:
    """Returns the text of the page, from the results under `results`."""
    found = {
        item: json.loads((results / item / "results.json").read_text())
        for item in ITEMS
        if (results / item / "results.json").exists()
    }
    return pages.render(
        "results.md.jinja",
        items={item: _section(result, results / item) for item, result in found.items()},
        claims=check_claims(found),
        missing=[item for item in ITEMS if item not in found],
    )


def _section(result: dict, folder: Path) -> dict:
    table = ITEMS.get(result["item"]).table(result)
    return {
        **result,
        "described": describe(result),
        "table": markdown_table(*table) if table is not None and table[1] else "",
        "figures": sorted(path.name for path in folder.glob("*.png") if path.stem != "table"),
        "dense_accuracies": [run["test_accuracy"] for run in result["dense"].values()],
    }


def main(argv: list[str]) -> None:
    """Collects, and writes the page."""
    try:
        for name in argv[1:]:
            collect(Path(name))
        write_text(PAGE, page())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
