"""The extensions of docs/extending.md work as written, alone and together in a run."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_config

import tf_earlyticket as et
from tf_earlyticket.config import Config
from tf_earlyticket.data import DATASETS
from tf_earlyticket.detectors.base import DETECTORS
from tf_earlyticket.models import MODELS
from tf_earlyticket.paper.item import ITEMS, Item, check_claims
from tf_earlyticket.pruning.schedule import SHAPES
from tf_earlyticket.pruning.select import RANKINGS, STRUCTURES, resolve_criterion
from tf_earlyticket.report.figures import FIGURES

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
KINDS = (DATASETS, MODELS, DETECTORS, RANKINGS, STRUCTURES, SHAPES, FIGURES, ITEMS)
REGISTRIES = [registry._entries for registry in KINDS]


@pytest.fixture
def extended():
    """What the page's code defines; what it registers is forgotten afterwards."""
    before = [dict(registry) for registry in REGISTRIES]
    found = {}
    for block in BLOCKS:
        exec(block, found)
    yield found
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


def test_each_extension_is_short():
    assert len(BLOCKS) == 9
    assert all(len(block.splitlines()) < 40 for block in BLOCKS)


def test_a_run_uses_all_of_them(extended, tmp_path):
    config = Config()
    config.data.name, config.model.name = "stripes", "small_cnn"
    config.probe.detector, config.pruning.ranking = "stable_subnet(epochs=2)", "scaled"
    config.train.epochs, config.train.drop_epochs = 8, (6,)
    config.pruning.ramp_epochs = config.pruning.hold_epochs = 1
    config.pruning.schedule = "root(degree=3)"
    config.train.dense_baseline = False
    report = et.train_and_evaluate(config, tmp_path / "run")
    assert report["decision"]["detector"] == "stable_subnet"
    assert "masks differ in" in report["start_reason"]
    assert report["probe"]["epochs"] == []
    steps = report["schedule"]
    for step, sparsity in steps["updates"]:
        part = (step - steps["begin_step"]) / (steps["end_step"] - steps["begin_step"])
        assert sparsity == pytest.approx(0.8 * part ** (1 / 3), abs=2e-3)
    ticket = et.Ticket.load(tmp_path / "run" / "ticket")
    assert list(ticket.masks) == ["second/kernel", "third/kernel"]
    assert ticket.sparsity == pytest.approx(0.8, abs=1e-3)
    assert (tmp_path / "run" / "figures" / "loss.png").stat().st_size > 5000
    assert "Loss; the line is where pruning starts." in (tmp_path / "run/report.html").read_text()
    (events,) = (tmp_path / "run" / "tensorboard" / "outcome").iterdir()
    assert b"loss" in events.read_bytes() and events.read_bytes().count(b"\x89PNG") == 7
    # Learned, and by its own ranking: layers of another spread are pruned alike.
    assert report["ticket"]["test_accuracy"] > 0.5


def test_an_item_is_made_drawn_and_judged_like_the_paper_s(extended, tmp_path):
    from tf_earlyticket.paper.reproduction import reproduce

    grid = dataclasses.replace(ITEMS.get("rewinding").grid("small", 4), seeds=(1,))
    assert (grid.mask_epochs, grid.rewind_epochs) == ((2,), (0, 1, 2))
    results = reproduce(
        "rewinding", tiny_config(), grid, tmp_path, scale="small", tell=lambda _: None
    )
    assert results["finished"] == results["cells"] == 4
    assert [row["rewind_epoch"] for row in results["summary"]] == [0, 1, 2]
    (claim,) = results["claims"]
    better = (
        results["summary"][2]["test_accuracy_mean"] > results["summary"][0]["test_accuracy_mean"]
    )
    assert claim["item"] == "rewinding" and claim["held"] is better
    files = {path.name for path in (tmp_path / "items" / "rewinding").iterdir()}
    assert files == {"results.json", "results.csv", "figure.png", "table.md"}
    # Nothing is judged of nothing.
    assert check_claims({"rewinding": {"summary": []}}) == []


def test_the_ranking_is_its_own(extended):
    weights = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([10.0, 20.0, 30.0])}
    own = resolve_criterion("scaled").masks(weights, 1 / 3)
    assert [mask.tolist() for mask in own.values()] == [[False, True, True]] * 2
    plain = resolve_criterion().masks(weights, 1 / 3)
    assert plain["a"].tolist() == [False, False, True] and plain["b"].all()


def test_the_structure_is_its_own(extended):
    weights = {"a": np.array([[1.0, 2.0, 9.0], [5.0, 6.0, 0.0]])}
    criterion = resolve_criterion("global(structure='output_blocks(size=2)')")
    assert criterion.masks(weights, 0.5)["a"].tolist() == [
        [False, False, True],
        [True, True, False],
    ]


def item(name, **grids):
    made = Item()
    made.name, made.grids = name, grids
    return made


SIZES = {
    "num_classes": 2,
    "image_shape": (8, 8, 1),
    "train_examples": 4,
    "test_examples": 2,
    "validation_examples": 1,
    "mean": (0,),
    "deviation": (1,),
}


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda: et.register_dataset("digits", dict, **SIZES), "name='digits': expected another"),
        (lambda: et.register_dataset("own", {}, **SIZES), "load={}: expected a function"),
        (
            lambda: et.register_dataset("own", dict, **SIZES | {"validation_examples": 4}),
            "validation_examples=4: expected an integer from 1 to 3",
        ),
        (
            lambda: et.register_dataset("own", dict, **SIZES | {"mean": (1, 2)}),
            "mean=.*expected 1 numbers",
        ),
        (
            lambda: et.register_dataset("own", dict, **SIZES | {"image_shape": (8, 9, 1)}),
            "as many rows as columns",
        ),
        (
            lambda: et.register_dataset("own", dict, **SIZES | {"classes": ["a"]}),
            "classes=.*expected 2 names",
        ),
        (lambda: et.register_model("resnet20", dict), "name='resnet20': expected another"),
        (lambda: et.register_model("own", 3), "build=3: expected a function"),
        (lambda: et.register_detector("gated_ppr", dict), "name='gated_ppr': expected another"),
        (lambda: et.register_detector("own", 3), "make=3: expected a function"),
        (lambda: et.register_ranking("global", et.Ranking()), "name='global': expected another"),
        (lambda: et.register_item(item("fig5")), "name='fig5': expected another"),
        (lambda: et.register_item(item("no-name")), "name='no-name': expected a Python identifier"),
        (lambda: et.register_item(3), "item=3: expected an object of a subclass"),
        (lambda: et.register_item(item("own", paper={"epochs": (1,)})), "expected one of seeds,"),
        (lambda: et.register_item(item("own", big={})), "grids='big': expected one of paper"),
        (lambda: et.register_ranking("own", 3), "ranking=3: expected an et.Ranking or"),
        (lambda: et.register_structure("elements", lambda: 0), "name='elements': expected another"),
        (lambda: et.register_schedule("cubic", dict), "name='cubic': expected another"),
        (lambda: et.register_schedule("own", 3), "make=3: expected a function"),
        (lambda: et.register_structure("own", 3), "make=3: expected a class or function"),
    ],
)
def test_what_cannot_be_registered_is_refused(extended, register, message):
    with pytest.raises(et.InputError, match=message):
        register()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "its load\\(\\) must return"),
        ({"train": 3, "test": 4}, "its load\\(\\) must return"),
        (
            {"train": (np.zeros((3, 8, 8, 1), np.uint8), np.zeros(3, int))} | {"test": ([], [])},
            "returns 3 training and 0 test examples",
        ),
    ],
)
def test_a_data_set_that_is_not_what_was_announced_is_refused(extended, found, message, tmp_path):
    et.register_dataset("own", lambda: found, **SIZES)
    with pytest.raises(et.InputError, match=message):
        et.train_and_evaluate(_config("own"), tmp_path / "run")


def _config(name):
    config = Config()
    config.data.name, config.train.batch_size = name, 1
    return config


# Its fast sibling is in behaviour/reported_test.py.
@pytest.mark.slow
def test_a_run_ranks_by_gradients(extended, tmp_path):
    config = Config()
    config.data.name, config.model.name, config.pruning.ranking = "stripes", "small_cnn", "taylor"
    config.probe.detector, config.pruning.mode = "fixed_epoch(epoch=2)", "rewind"
    config.train.epochs, config.train.drop_epochs, config.train.dense_baseline = 5, (4,), False
    report = et.train_and_evaluate(config, tmp_path / "run")
    assert report["ticket"]["sparsity"] == pytest.approx(0.8, abs=1e-3)
    ranked = et.Ticket.load(tmp_path / "run" / "ticket").masks
    config.pruning.ranking = "global"
    et.train_and_evaluate(config, tmp_path / "other")
    other = et.Ticket.load(tmp_path / "other" / "ticket").masks
    # Masks of another ranking, not those of magnitude under another name.
    assert et.mask_distance(ranked, other) > 0.02
