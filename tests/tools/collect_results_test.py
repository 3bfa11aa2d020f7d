import json
from pathlib import Path

import collect_results
import pytest


def write_run(folder, seed, accuracy):
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "ppr.png").write_bytes(b"picture")
    report = {
        "config": {"seed": seed},
        "dense": {"test_accuracy": 0.9},
        "ticket": {"test_accuracy": accuracy, "sparsity": 0.8},
        "start_epoch": 10 + seed,
        "decision": {"latest_start_epoch": 20},
        "cost": {"probe_epochs": 1.5, "total_epochs": 31.5, "iterative_pruning_epochs": 270.0},
    }
    for name in collect_results.FILES:
        (folder / name).write_text(json.dumps(report))
    return folder


def test_the_table_has_a_row_per_seed_and_their_mean(tmp_path):
    runs = [write_run(tmp_path / f"run{seed}", seed, 0.9 + 0.01 * seed) for seed in (1, 0)]
    collect_results.collect(runs, tmp_path / "results")
    assert (tmp_path / "results" / "seed1" / "figures" / "ppr.png").read_bytes() == b"picture"
    lines = collect_results.table(tmp_path / "results").splitlines()
    assert lines[2:] == [
        "| 0 | 90 | 90 | 80 | 10 | 20 | 1.50 | 31.50 | 270 |",
        "| 1 | 90 | 91 | 80 | 11 | 20 | 1.50 | 31.50 | 270 |",
        "| mean | 90 | 90.50 | 80 | 10.50 | 20 | 1.50 | 31.50 | 270 |",
    ]


def test_what_a_run_lacks_moves_no_other_column(tmp_path):
    runs = [write_run(tmp_path / f"run{seed}", seed, 0.9) for seed in (0, 1)]
    for run in runs:
        report = json.loads((run / "report.json").read_text())
        # From a ticket: nobody looked for a start.
        report |= {"start_epoch": None} | ({"dense": None} if run is runs[0] else {})
        (run / "report.json").write_text(json.dumps(report))
    collect_results.collect(runs, tmp_path / "results")
    lines = collect_results.table(tmp_path / "results").splitlines()
    assert "start epoch" not in lines[0]
    assert lines[2:] == [
        "| 0 | - | 90 | 80 | 20 | 1.50 | 31.50 | 270 |",
        "| 1 | 90 | 90 | 80 | 20 | 1.50 | 31.50 | 270 |",
        "| mean | 90 | 90 | 80 | 20 | 1.50 | 31.50 | 270 |",
    ]


def test_runs_that_differ_in_more_than_their_seed_have_names_and_no_mean(tmp_path):
    runs = [write_run(tmp_path / name, 0, 0.9) for name in ("b", "a")]
    arguments = [f"{name}={run}" for name, run in zip(("jax", "tensorflow"), runs, strict=True)]
    collect_results.collect(collect_results._run_dirs(arguments), tmp_path / "results")
    lines = collect_results.table(tmp_path / "results").splitlines()
    assert lines[0].startswith("| run | dense test accuracy (%) |")
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| jax", "| tensorflow"]
    with pytest.raises(ValueError, match="NAME=RUN everywhere"):
        collect_results._run_dirs([arguments[0], "runs/c"])


def test_the_table_replaces_what_was_between_the_markers(tmp_path):
    document = tmp_path / "README.md"
    document.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    collect_results.insert("new\n", document)
    assert document.read_text() == (
        "before\n<!-- results:begin -->\nnew\n<!-- results:end -->\nafter\n"
    )


def test_unfinished_and_repeated_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="finished run"):
        collect_results.collect([tmp_path], tmp_path / "results")
    runs = [write_run(tmp_path / name, 0, 0.9) for name in ("a", "b")]
    with pytest.raises(ValueError, match="seed 0"):
        collect_results.collect(runs, tmp_path / "results")


@pytest.mark.parametrize(
    "page, results",
    [
        ("results/digits_resnet20/README.md", "digits_resnet20"),
        ("docs/keras3.md", "digits_keras3"),
    ],
)
def test_a_page_shows_the_committed_results(page, results):
    root = Path(__file__).parents[2]
    assert collect_results.table(root / "results" / results) in (root / page).read_text()
