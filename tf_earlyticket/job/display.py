"""What a run shows while it trains. Nothing here changes what it computes."""

import json
from dataclasses import dataclass

from tf_earlyticket.errors import InputError

PROGRESS_MODES = ("auto", "line", "plain", "json", "quiet")


@dataclass(frozen=True)
class Display:
    """What a run shows while it trains.

    Attributes:
        progress: "line": one live line; "plain": a line per epoch; "json": a JSON object per line,
            for programs; "quiet": nothing; "auto": "line" on a terminal, else "plain".
        histograms: Also write histograms of all weights to TensorBoard, every epoch.

    Raises:
        InputError: For another progress.
    """

    progress: str = "auto"
    histograms: bool = False

    def __post_init__(self):
        if self.progress not in PROGRESS_MODES:
            raise InputError(
                f"progress={self.progress!r}: expected one of {', '.join(PROGRESS_MODES)}."
            )

    def say(self, text: str) -> None:
        """Prints a text for people: neither where programs read nor in silence."""
        if self.progress not in ("json", "quiet"):
            print(text, flush=True)

    def tell(self, event: str, **values) -> None:
        """Prints {"event": event, **values} as one line, where programs read."""
        if self.progress == "json":
            print(json.dumps({"event": event, **values}), flush=True)
