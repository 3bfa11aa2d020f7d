"""Writes `docs/layers.md`: what is pruned by default, of kinds of layers and of known networks.

python tools/layers_page.py
"""

import json
from pathlib import Path

import collect_applications
import keras as keras3
import pages
from absl import app

from tf_earlyticket.backends.layer_kinds import KINDS, kind_of_class
from tf_earlyticket.backends.tf_keras.compat import keras as tf_keras
from tf_earlyticket.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "layers.md"
RESULTS = ROOT / "results" / "examples"
FRAMEWORK_NAMES = {"tf_keras": "tf_keras", "keras": "Keras 3"}
FRAMEWORKS = {"tf_keras": tf_keras, "Keras 3": keras3}
# Not in every version of Keras that is supported.
NEW = {"ReversibleEmbedding"}


def classes_of(kind) -> dict[str, list[str]]:
    """Returns the public layers of a kind by name, and which Keras have each."""
    found = {}
    for framework, keras in FRAMEWORKS.items():
        names = {}
        for name, value in vars(keras.layers).items():
            wanted = isinstance(value, type) and name not in NEW
            if wanted and kind_of_class(value) is kind:
                # Some classes have a second name.
                names.setdefault(value, []).append(name)
        for value, known in names.items():
            name = value.__name__ if value.__name__ in known else known[0]
            found.setdefault(name, []).append(framework)
    return dict(sorted(found.items()))


def rows() -> list[dict]:
    """Returns what the page says of each kind, in the order of `KINDS`."""
    found = []
    for kind in dict.fromkeys(KINDS.values()):
        names = [
            f"`{name}`" + (f" ({of[0]})" if len(of) < len(FRAMEWORKS) else "")
            for name, of in classes_of(kind).items()
        ]
        weights = ", ".join(f"`{name}`" for name in kind.weights)
        default = "yes" if kind.default else "only if chosen"
        found.append(
            {
                "layers": ", ".join(names),
                "kind": kind.name,
                "weights": "those of layers inside" if kind.holds else weights,
                "default": "as these" if kind.holds else default,
                "reason": kind.reason,
            }
        )
    return found


def networks() -> list[dict]:
    """Returns the rows of the networks of `keras.applications`; one where both Keras agree."""
    found = []
    for each in collect_applications.kept():
        counts = [(FRAMEWORK_NAMES[name], of) for name, of in each["counts"].items()]
        if len(counts) == len(FRAMEWORKS) and counts[0][1] == counts[1][1]:
            counts = [("", counts[0][1])]
        for of, count in counts:
            reasons = count["left_dense"].items()
            left = [f"{number['kernels']}: {why.partition(':')[0]}" for why, number in reasons]
            share = count["pruned"]["weights"] / count["parameters"]
            channels = count["channels"]
            found.append(
                {
                    "name": f"`{each['name']}`" + (f" ({of})" if of else ""),
                    "parameters": f"{count['parameters']:,}",
                    "pruned": f"{count['pruned']['kernels']}, {100 * share:.0f} %",
                    "left": "; ".join(left),
                    "channels": f"{channels['can_go']:,} of {sum(channels.values()):,}",
                }
            )
    return found


def page() -> str:
    """Returns the text of the page."""
    examples = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return pages.render("layers.md.jinja", rows=rows(), networks=networks(), examples=examples)


def main(argv: list[str]) -> None:
    """Writes the page."""
    del argv
    write_text(PAGE, page())


if __name__ == "__main__":
    app.run(main)
