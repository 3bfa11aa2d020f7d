"""Keeps the results of studies of mask updates and writes `docs/updates.md` from them.

    python tools/collect_update_study.py runs/updates/digits_resnet8 ...
    python tools/collect_update_study.py

The first form copies the results of each study (`study.json`, `study.csv`, figure) to
`results/updates/<name>/`. Both write the page, every number of which comes from the files there.
"""

import json
import math
import sys
from pathlib import Path

import pages
from absl import app

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_text
from tf_earlyticket.paper.update_study import difference_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "updates"
PAGE = ROOT / "docs" / "updates.md"


def page(results: Path = RESULTS) -> str:
    """Returns the text of the page, from the studies under `results`."""
    studies = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(results.glob("*/study.json"))
    }
    filters = {
        "difference": difference_text,
        "goals": goals,
        "apart": apart,
        "chance": chance,
        "row_of": row_of,
        "starts": starts,
        "error_of_one": error_of_one,
    }
    return pages.render("updates.md.jinja", filters, studies=studies)


def goals(study: dict) -> list[float]:
    """Returns the sparsities of a study, rising, without the 0 of the dense networks."""
    return sorted({row["goal"] for row in study["summary"] if row["goal"]})


def row_of(study: dict, variant: str, goal: float) -> dict | None:
    """Returns the row of a variant at a sparsity; None if there is none."""
    found = (r for r in study["summary"] if (r["variant"], r["goal"]) == (variant, goal))
    return next(found, None)


def apart(study: dict, goal: float, name: str, above: bool) -> list[dict]:
    """Returns the rows whose interval of a difference lies wholly above, or below, zero."""
    end = f"{name}_low" if above else f"{name}_high"
    rows = [row for row in study["summary"] if row["goal"] == goal and row[end] is not None]
    return [row for row in rows if (row[end] > 0 if above else row[end] < 0)]


def chance(study: dict) -> dict:
    """Returns how often intervals lie apart from zero where nothing differs.

    All differences then have one sign in 1 of 2^(seeds - 1) cases, with few seeds what it takes.

    Returns:
        "seeds" (the fewest of a row), "one_in", "comparisons" (with the first variant) and
        "expected", so many of them by chance alone.
    """
    rows = [row for row in study["summary"] if row["gain_low"] is not None]
    seeds = min((row["seeds"] for row in rows), default=1)
    one_in = 2 ** (seeds - 1)
    return {
        "seeds": seeds,
        "one_in": one_in,
        "comparisons": len(rows),
        "expected": len(rows) / one_in,
    }


def starts(row: dict) -> str:
    """Returns the start epochs of a row; a dash where there was none."""
    known = [str(epoch) for epoch in row["start_epochs"] if epoch is not None]
    return " ".join(known) or "-"


def error_of_one(study: dict) -> float:
    """Returns the binomial standard error of the dense networks' accuracy on the test set."""
    accuracy = row_of(study, "dense", 0.0)["accuracy"]
    return math.sqrt(accuracy * (1 - accuracy) / study["test_examples"])


def main(argv: list[str]) -> None:
    """Collects, and writes the page."""
    try:
        for name in argv[1:]:
            pages.keep_study(Path(name), RESULTS)
        write_text(PAGE, page())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
