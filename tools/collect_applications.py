"""Counts what is pruned by default of a network of each family of `keras.applications`.

    python tools/collect_applications.py
    python tools/collect_applications.py MobileNet VGG16

Builds each under both Keras, for pictures of 224 pixels and 1,000 classes, and trains nothing.
`results/applications/NAME.json` has the counts, from which `layers_page.py` writes its table.
"""

from pathlib import Path

import benchmarking
import numpy as np
from absl import app

from tf_earlyticket.backends import FRAMEWORKS, backend_named
from tf_earlyticket.files import read_json
from tf_earlyticket.models import build_model
from tf_earlyticket.models.applications import classes_of

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "applications"
# The smallest of each family, with the least pixels a side that it takes; quick ones first.
NETWORKS = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "RegNetX002": 32,
    "RegNetY002": 32,
    "VGG16": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "ConvNeXtTiny": 32,
    "ResNetRS50": 32,
    "DenseNet121": 32,
    "NASNetMobile": 32,
    "InceptionResNetV2": 75,
}


def count(name: str, framework: str) -> dict:
    """Returns how many kernels, weights and channels of a network are pruned by default, or not."""
    backend = backend_named(framework)
    model = build_model(f"applications/{name}", (224, 224, 3), 1000, 0.0, framework=framework)
    sizes = {key: int(np.prod(value.shape)) for key, value in backend.named_weights(model).items()}
    pruned = backend.prunable_weights(model, backend.choose(model).chosen)
    left: dict[str, dict[str, int]] = {}
    for key, reason in backend.left_dense(model).items():
        of = left.setdefault(reason, {"kernels": 0, "weights": 0})
        of["kernels"] += 1
        of["weights"] += sizes[key]
    graph = backend.channel_graph(model)
    # What neither makes nor reads them, as the picture's colours, is no channel of the network.
    stay = [family for family in graph.pinned if family.makes]
    return {
        "parameters": model.count_params(),
        "pruned": {"kernels": len(pruned), "weights": sum(sizes[key] for key in pruned)},
        "left_dense": left,
        "channels": {
            "can_go": sum(family.size for family in graph.removable),
            "stay": sum(family.size for family in stay),
        },
    }


def counts(name: str) -> dict[str, dict]:
    """Returns the counts of a network by the Keras that have it."""
    return {each: count(name, each) for each in FRAMEWORKS if name in classes_of(each)}


def kept() -> list[dict]:
    """Returns the results that are kept, in the order of `NETWORKS`."""
    return [read_json(OUTPUT / f"{name}.json") for name in NETWORKS]


def main(argv: list[str]) -> None:
    """Counts those that are named, or all."""
    for name in argv[1:] or NETWORKS:
        benchmarking.write(OUTPUT / f"{name}.json", {"name": name, "counts": counts(name)})
        print(name, flush=True)


if __name__ == "__main__":
    app.run(main)
