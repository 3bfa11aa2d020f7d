"""Items on a few digits: shared directories, shards, interruptions, what they cost."""

import csv
import json

import filelock
import pytest
from tiny import tiny_config

from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.log import Progress
from tf_earlyticket.paper import reproduction
from tf_earlyticket.paper.item import Cell, Grid
from tf_earlyticket.paper.reproduction import cells_of, reproduce

GRID = Grid(seeds=(1,), mask_epochs=(2, 4), rewind_epochs=(0,))


def _reproduce(item, workdir, grid=GRID, **options):
    lines = []
    options = {"scale": "small", "tell": lines.append, **options}
    return reproduce(item, tiny_config(), grid, workdir, **options), lines


def _numbers(results):
    """Returns the results without what differs from run to run."""
    dense = {
        seed: [{k: v for k, v in row.items() if k != "seconds"} for row in record["rows"]]
        for seed, record in results["dense"].items()
    }
    records = [{k: v for k, v in r.items() if k != "seconds"} for r in results["records"]]
    return json.loads(json.dumps([records, results["summary"], results["claims"], dense]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the results of an uninterrupted fig1, its lines and its directory."""
    folder = tmp_path_factory.mktemp("whole")
    return *_reproduce("fig1", folder), folder


def test_it_writes_numbers_figures_and_a_table(whole):
    results, lines, folder = whole
    files = folder / "items" / "fig1"
    assert json.loads((files / "results.json").read_text()) == json.loads(json.dumps(results))
    with open(files / "results.csv") as file:
        rows = list(csv.DictReader(file))
    # Two tickets and the three controls of one.
    assert len(rows) == 5 == len(results["summary"])
    assert {row["control"] for row in rows} == {"none", "random", "shuffled", "reinitialized"}
    assert (files / "figure.png").stat().st_size > 5_000
    assert (files / "table.md").read_text().startswith("| s | v |")
    assert results["finished"] == results["cells"] == 6
    assert set(results["dense"]) == {"1"} and results["steps_per_epoch"] == 3
    assert "[1/6] seed 1: dense" in lines[0]
    assert all("left" in line for line in lines[1:])


def test_other_items_use_what_is_finished(whole, monkeypatch):
    _, _, folder = whole
    monkeypatch.setattr(reproduction, "record_dense", None)
    results, lines = _reproduce("fig3", folder, Grid(seeds=(1,), mask_epochs=(1, 2, 4)))
    assert lines == []
    distances = {(r["a"], r["b"]): r["distance_mean"] for r in results["summary"]}
    assert distances[2, 2] == 0 and distances[1, 4] == distances[4, 1] > 0
    weights, _ = _reproduce("fig2", folder, Grid(seeds=(1,)))
    # Initially and after four epochs, for each of the eight prunable layers.
    layers = {row["layer"] for row in weights["summary"]}
    assert len(weights["summary"]) == 5 * len(layers)
    assert {"weight_std", "layer_rates"} <= {p.stem for p in (folder / "items/fig2").glob("*.png")}
    again, lines = _reproduce("fig1", folder)
    assert lines == [] and again["records"] == whole[0]["records"]


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_with_the_same_numbers(whole, tmp_path, monkeypatch):
    class Bang(Exception):
        pass

    points = [("dense", 3), ("ticket", 1), ("ticket", 3)]

    class Bomb(Progress):
        def on_epoch_end(self, epoch, logs=None):
            if points and points[0] == (self._phase, epoch + 1):
                points.pop(0)
                raise Bang

    monkeypatch.setattr("tf_earlyticket.job.phases.make_progress", Bomb)
    for _ in range(3):
        with pytest.raises(Bang):
            _reproduce("fig1", tmp_path)
    results, _ = _reproduce("fig1", tmp_path)
    assert not points
    assert _numbers(results) == _numbers(whole[0])


@pytest.mark.slow
def test_shards_fill_one_directory_and_what_is_finished_is_drawn(whole, tmp_path):
    first, _ = _reproduce("fig1", tmp_path, shard="0/2")
    assert first["finished"] == 3 and 0 < len(first["summary"]) < 5
    assert (tmp_path / "items/fig1/figure.png").exists()
    second, lines = _reproduce("fig1", tmp_path, shard="1/2")
    assert len(lines) == 3 and second["finished"] == 6
    assert _numbers(second) == _numbers(whole[0])


def test_a_cell_that_another_process_makes_is_left_to_it(tmp_path):
    cell = Cell("ticket", 1, {"mask_epoch": 2}, make=None)
    assert cell.phase == "ticket-mask_epoch=002"
    locks = tmp_path / "seed1" / "locks"
    locks.mkdir(parents=True)

    class FakeRun:
        class paths:
            workdir = tmp_path / "seed1"

        def result(self, phase):
            return {} if phase == "dense" else None

    lines = []
    with filelock.FileLock(locks / f"{cell.phase}.lock"):
        reproduction.fill({1: FakeRun()}, [cell], lines.append)
    assert lines == [
        "[1/1] seed 1: ticket-mask_epoch=002",
        "another process makes this cell; going on with the next one",
    ]


@pytest.mark.parametrize(
    ("item", "grid"),
    [
        pytest.param(
            *("fig1", Grid(seeds=(1,), mask_epochs=(2,), rewind_epochs=(0,))),
            marks=pytest.mark.slow,
        ),
        pytest.param("fig4", Grid(seeds=(1,), learning_rates=(0.01,)), marks=pytest.mark.slow),
        pytest.param(
            *("table4", Grid(seeds=(1,), rewind_epochs=(0,), prune_fraction=0.6)),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "table2",
            Grid(seeds=(1,), mask_epochs=(2,), rewind_epochs=(0,)),
            marks=pytest.mark.slow,
        ),
        ("fig5", Grid(seeds=(1,), mask_epochs=(4,), examples=(64,), memorization_epochs=3)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_epochs_reported_are_batches_consumed(tmp_path, monkeypatch, item, grid):
    batches = []
    make = keras.Model.make_train_function

    def counting(self, force=False):
        function = make(self, force)
        if hasattr(function, "counted"):
            return function

        def counted(iterator):
            logs = function(iterator)
            # One step a call; a call that finds no data raises and is not counted.
            batches.append(1)
            return logs

        counted.counted = True
        return counted

    monkeypatch.setattr(keras.Model, "make_train_function", counting)
    results, _ = _reproduce(item, tmp_path, grid)
    reported = sum(record["epochs"] for record in results["dense"].values())
    if item == "table4":
        # Each round says what was spent since the beginning, the dense run included.
        own = [r["epochs"] for r in results["records"] if r["method"] == "early_ticket"]
        rounds = [r["epochs"] for r in results["records"] if r["method"] == "iterative"]
        reported += sum(own) + max(rounds) - results["dense"]["1"]["epochs"]
    else:
        reported += sum(record["epochs"] for record in results["records"])
    assert len(batches) / results["steps_per_epoch"] == pytest.approx(reported)


@pytest.mark.parametrize(
    ("item", "grid", "options", "message"),
    [
        ("fig7", GRID, {}, "item='fig7'"),
        ("fig1", GRID, {"shard": "2/2"}, "shard='2/2'"),
        ("fig1", GRID, {"strategy": "multi_worker"}, "strategy='multi_worker': expected another"),
        (
            "fig1",
            Grid(mask_epochs=(5,), rewind_epochs=(0,)),
            {},
            "mask_epochs=5: expected an integer from 1 to 4",
        ),
        ("fig1", Grid(mask_epochs=(2,)), {}, r"rewind_epochs=\(\): expected at least one"),
        (
            "table2",
            Grid(mask_epochs=(4,), rewind_epochs=(0,)),
            {},
            "mask_epochs=4: expected at most 3: a ramp of 1 epochs follows",
        ),
        (
            "fig5",
            Grid(mask_epochs=(2,), examples=(16,)),
            {},
            "examples=16: expected at least 32, the batch size",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    tmp_path, item, grid, options, message
):
    with pytest.raises(InputError, match=message):
        _reproduce(item, tmp_path, grid, **options)
    assert not list(tmp_path.iterdir())


def test_cells_have_names_of_their_own():
    grids = {
        "fig1": GRID,
        "table1": Grid(mask_epochs=(1, 2, 3, 4), examples=(32, 64)),
        "table4": Grid(rewind_epochs=(0, 1)),
        "table5": Grid(mask_epochs=(2,), group_sizes=(1, 4), examples=(64,)),
    }
    for item, grid in grids.items():
        cells = cells_of(item, tiny_config(), grid)
        assert len({(cell.seed, cell.phase) for cell in cells}) == len(cells)
        assert cells[0].kind == "dense" and all(cell.epochs > 0 for cell in cells)
