"""Keeps the results of studies of mask updates and writes `docs/updates.md` from them.

    python tools/collect_update_study.py runs/updates/digits_resnet8 ...
    python tools/collect_update_study.py

The first form copies the results of each study (`study.json`, `study.csv`, figure) to
`results/updates/<name>/`. Both write the page, and what came out in short between the markers of
`docs/choosing.md`; every number comes from the files there.
"""

import json
import math
import sys
from pathlib import Path

import pages
from absl import app
from collect_results import insert

from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_text
from tf_earlyticket.paper.update_study import difference_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "updates"
PAGE = ROOT / "docs" / "updates.md"
SHORT = ROOT / "docs" / "choosing.md"


def page(results: Path = RESULTS) -> str:
    """Returns the text of the page, from the studies under `results`."""
    filters = {
        "difference": difference_text,
        "goals": goals,
        "apart": apart,
        "missing": missing,
        "chance": chance,
        "row_of": row_of,
        "starts": starts,
        "error_of_one": error_of_one,
    }
    return pages.render("updates.md.jinja", filters, studies=studies(results))


def studies(results: Path = RESULTS) -> dict[str, dict]:
    """Returns the studies under `results` by name."""
    paths = sorted(results.glob("*/study.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def in_short(results: Path = RESULTS) -> str:
    """Returns what came out of each study at each sparsity, an item of a list each."""
    return "".join(
        f"- {_in_short(study, goal)}\n"
        for study in studies(results).values()
        for goal in goals(study)
    )


def _in_short(study: dict, goal: float) -> str:
    config, first = study["config"], study["variants"][0]
    rows = [row for row in study["summary"] if row["goal"] == goal]
    # One seed tells nothing.
    others = [row for row in rows if row["gain_low"] is not None]
    several = [row for row in rows if row not in others and row["difference_low"] is not None]
    own = row_of(study, first, goal)
    told = ", ".join(_less_dense(row) for row in [own, *(row for row in several if row != own)])
    text = (
        f"{config['model']['name']} on {config['data']['name']}, {config['train']['epochs']} "
        f"epochs, {100 * goal:g} %: {told}."
    )
    if not others:
        return text
    best = max(others, key=lambda row: row["gain"])
    text += f" Best of {len(others)} others less `{first}`: {_gains([best])}."
    for above, word in ((True, "better"), (False, "worse")):
        rows = apart(study, goal, "gain", above)
        text += f" With an interval apart from zero {word}: {_gains(rows) or 'none'}."
    return text


def _less_dense(row: dict) -> str:
    seeds = f"{row['seeds']} seed{'s' * (row['seeds'] != 1)}"
    return f"`{row['variant']}` less dense {difference_text(row, 'difference')} ({seeds})"


def _gains(rows: list[dict]) -> str:
    return ", ".join(f"`{row['variant']}` {difference_text(row, 'gain')}" for row in rows)


def goals(study: dict) -> list[float]:
    """Returns the sparsities of a study, rising, without the 0 of the dense networks."""
    return sorted({row["goal"] for row in study["summary"] if row["goal"]})


def row_of(study: dict, variant: str, goal: float) -> dict | None:
    """Returns the row of a variant at a sparsity; None if there is none."""
    found = (r for r in study["summary"] if (r["variant"], r["goal"]) == (variant, goal))
    return next(found, None)


def missing(study: dict, goal: float) -> list[str]:
    """Returns the variants of which no run at a sparsity is finished."""
    return [name for name in study["variants"] if row_of(study, name, goal) is None]


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
        insert(in_short(), SHORT, "updates")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    app.run(main)
