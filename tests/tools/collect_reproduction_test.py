import json
from pathlib import Path

import collect_reproduction as tool
import pytest

from tf_earlyticket.errors import InputError

ROOT = Path(__file__).parents[2]


def result(item="table4", finished=3):
    def row(method, sparsity, accuracy, epochs):
        values = {"test_accuracy": accuracy, "epochs": epochs, "probe_epochs": 0.0}
        return {
            "method": method,
            "sparsity": sparsity,
            "seeds": 1,
            **{f"{n}_{s}": v for n, v in values.items() for s in ("mean", "min", "max")},
        }

    return {
        "item": item,
        "title": "Accuracy and cost",
        "command": "python -m tf_earlyticket.reproduce --item=table4",
        "cells": 3,
        "finished": finished,
        "config": {
            "model": {"name": "resnet20"},
            "data": {"name": "cifar10", "train_examples": None},
            "pruning": {"final_sparsity": 0.8},
            "train": {
                "epochs": 16,
                "learning_rate": 0.1,
                "drop_epochs": [10, 13],
                "batch_size": 128,
                "dtype_policy": "mixed_bfloat16",
            },
        },
        "grid": {"seeds": [0]},
        "dense": {"0": {"test_accuracy": 0.8125}},
        "summary": [
            row("dense", 0.0, 0.8125, 16),
            row("early_ticket", 0.8, 0.8075, 17.5),
            row("iterative", 0.8, 0.8, 144),
        ],
    }


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "run" / "items" / "table4"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(result()))
    # Earlier versions also drew the table.
    for name in ("figure.png", "table.png"):
        (folder / name).write_bytes(b"image")
    return tmp_path / "run"


def test_it_copies_the_items_and_writes_what_they_hold(workdir, tmp_path):
    kept = tmp_path / "kept"
    tool.collect(workdir, kept)
    assert (kept / "table4" / "figure.png").read_bytes() == b"image"
    text = tool.page(kept)
    assert "| early ticket (gradual) | 80.0 | 80.75 | 17.50 | 0.00 | 12.2 % |" in text
    assert "17.5 epochs, probes counted, against 144.0 measured: 12.2 % | yes |" in text
    assert "Dense: 81.25 %." in text and result()["command"] in text
    assert "table4/figure.png" in text and "table4/table.png" not in text
    assert "Not run at this scale: fig1," in text and "cells are finished" not in text


def test_an_item_with_missing_cells_says_so(workdir, tmp_path):
    path = workdir / "items" / "table4" / "results.json"
    path.write_text(json.dumps(result(finished=2)))
    tool.collect(workdir, tmp_path / "kept")
    assert "2 of 3 cells are finished" in tool.page(tmp_path / "kept")


def test_a_directory_without_items_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a directory of reproduced items"):
        tool.collect(tmp_path)


def test_the_page_in_the_repository_is_what_the_tool_writes():
    if not tool.PAGE.exists():
        pytest.skip("no results have been collected yet")
    assert tool.page() == tool.PAGE.read_text()
