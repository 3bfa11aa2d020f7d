"""What the checks of the paper's claims share."""

from collections.abc import Mapping
from typing import Any

# The content of an item's `results.json`.
Results = Mapping[str, Any]
# Whether a claim held and what was measured; None where that cannot be told.
Judged = tuple[bool, str] | None
# Accuracies within a point of each other count as equal: seeds differ by about as much.
MARGIN = 0.01


def percent(value: float) -> str:
    """Returns a fraction in percent, with one digit."""
    return f"{100 * value:.1f} %"
