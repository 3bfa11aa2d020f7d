"""`train_and_evaluate`: the files of a run, and that an interrupted one ends as if it was not."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from jobs import tiny_config

import tf_earlyticket as et
from tf_earlyticket.data.catalog import load
from tf_earlyticket.job import job as run_module
from tf_earlyticket.job import phases
from tf_earlyticket.job.build import build_wrapped_model, dataset_spec
from tf_earlyticket.job.checkpoint import RunCheckpoint
from tf_earlyticket.job.log import COLUMNS, MetricsLog
from tf_earlyticket.job.phases import Run, StopIfDiverged, search_arguments
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.models import build_model

JOBS = Path(__file__).parents[1] / "helpers" / "jobs.py"

EPOCHS, STEPS, START = 6, 4, 4


def _command(folder, *jobs):
    return [sys.executable, str(JOBS), str(folder), *jobs]


def _environment():
    return {**os.environ, "PYTHONPATH": str(Path(et.__file__).parents[1])}


def _do(folder, *jobs):
    subprocess.run(
        _command(folder, *jobs), check=True, env=_environment(), stdout=subprocess.DEVNULL
    )


def _report(workdir):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((workdir / "report.json").read_text(), parse_constant=refuse)


def _rows(workdir, phase=None):
    with open(workdir / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if phase in (None, row["phase"])]


def _weights(workdir, phase):
    """Returns every variable of the last checkpoint of a phase, optimizer included."""
    path = tf.train.latest_checkpoint(str(workdir / "checkpoints" / phase))
    reader = tf.train.load_checkpoint(path)
    # TFMOT's pruning_step and threshold are of when masks were last written: a restart does so.
    ignored = ("save_counter", "pruning_step", "threshold", "_CHECKPOINTABLE_OBJECT_GRAPH")
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if not any(i in name for i in ignored)}


def _assert_same_run(one, other, phases):
    """Compares everything that two runs wrote, except times."""

    def timeless(value):
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "environment")}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    assert timeless(_report(one)) == timeless(_report(other))
    assert timeless(_rows(one)) == timeless(_rows(other))
    for phase in phases:
        left, right = _weights(one, phase), _weights(other, phase)
        assert left.keys() == right.keys()
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    tickets = [et.Ticket.load(workdir / "ticket") for workdir in (one, other)]
    for field in ("masks", "rewind_weights"):
        left, right = (getattr(ticket, field) for ticket in tickets)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name], err_msg=name)
    assert tickets[0].start_epoch == tickets[1].start_epoch
    statistics = [json.loads((w / "weight_statistics.json").read_text()) for w in (one, other)]
    assert statistics[0] == statistics[1]


@pytest.mark.parametrize("run", ["whole", "interrupted", "rewind"])
def test_every_file_of_the_interface_is_there(runs, run):
    workdir = runs / run
    for name in (
        "config.json",
        "metrics.csv",
        "report.json",
        "report.html",
        "figures/ppr.png",
        "figures/sparsity.png",
        "figures/weight_std.png",
        "figures/layer_sparsity.png",
        "ticket/ticket.json",
        "ticket/saved_model/saved_model.pb",
        "checkpoints/search/checkpoint",
    ):
        assert (workdir / name).stat().st_size > 0, name
    assert list((workdir / "tensorboard/search").glob("events.out.tfevents*"))
    assert len(list((workdir / "tensorboard/outcome").glob("events.out.tfevents*"))) == 1
    assert not list(workdir.rglob("*tmp*"))
    states = sorted(p.name for p in (workdir / "checkpoints/search").glob("state-*.json"))
    assert len(states) == 2


@pytest.mark.parametrize("run", ["whole", "rewind"])
def test_the_report_has_every_key_of_the_interface(runs, run):
    report = _report(runs / run)
    config = tiny_config()
    assert report["schema_version"] == 1
    assert report["config"]["train"]["epochs"] == EPOCHS
    assert report["environment"]["packages"]["tensorflow"] == tf.__version__
    probe = report["probe"]
    assert probe["epochs"] == [1, 2, 3, 4]
    for name in ("ppr_accuracy", "pruned_accuracy", "dense_accuracy"):
        assert len(probe[name]) == 4 and all(0 <= value <= 1 for value in probe[name])
    assert probe["cost_epochs"] == 4.0 and probe["seconds"] > 0
    assert report["start_epoch"] == START and "no saturation" in report["start_reason"]
    if run == "rewind":
        assert report["dense"] is None and report["cost"]["baseline_epochs"] == 0
    else:
        assert report["dense"]["epochs"] == EPOCHS
        assert 0 <= report["dense"]["test_accuracy"] <= 1
    layers = report["ticket"]["layers"]
    total = sum(math.prod(layer["shape"]) for layer in layers)
    kept = sum(layer["kept"] for layer in layers)
    assert kept == round((1 - config.pruning.final_sparsity) * total)
    assert report["ticket"]["sparsity"] == pytest.approx(1 - kept / total)
    cost = report["cost"]
    assert cost["train_epochs"] == EPOCHS + (START if run == "rewind" else 0)
    assert cost["total_epochs"] == cost["train_epochs"] + cost["probe_epochs"]
    assert cost["iterative_pruning_epochs"] == 9 * EPOCHS
    assert cost["iterative_pruning_source"] == "analytic"
    assert cost["ratio"] == pytest.approx(cost["total_epochs"] / cost["iterative_pruning_epochs"])
    assert all(value >= 0 for value in report["seconds"].values())
    reasons = {entry["name"]: entry["reason"] for entry in report["left_dense"]}
    assert set(reasons.values()) == {"the first convolution", "feeds the output"}
    assert not set(reasons) & {layer["name"] for layer in layers}
    from tf_earlyticket.commands.inspect import about_run

    dense = {layer["name"]: layer["macs"]["dense"] for layer in report["layers"]}
    assert report["macs"]["dense"] == sum(dense.values())
    graph = et.channel_graph(et.models.resnet8((16, 16, 1)))
    ticket = et.Ticket.load(runs / run / "ticket")
    for key, count in (("macs", graph.multiply_adds), ("parameters", graph.parameters)):
        assert report[key] == {
            "dense": count(),
            "masked": count(masks=ticket.masks),
            "removed": count(),
            "ticket": count(masks=ticket.masks),
        }
    assert report["ticket"]["network_sparsity"] == ticket.network_sparsity < 0.8
    last = _rows(runs / run, "retrain" if run == "rewind" else "search")[-1]
    assert float(last["network_sparsity"]) == pytest.approx(ticket.network_sparsity, abs=1e-6)
    assert about_run(runs / run)["layers"] == report["layers"]
    assert about_run(runs / run)["left_dense"] == reasons


def test_metrics_have_a_row_per_epoch_with_its_own_learning_rate(runs):
    rows = _rows(runs / "whole", "search")
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [int(row["step"]) for row in rows] == [STEPS * epoch for epoch in range(1, 7)]
    # Dropped after epoch 3.
    assert [float(row["learning_rate"]) for row in rows] == [0.1] * 3 + [0.01] * 3
    assert [row["ppr_accuracy"] != "" for row in rows] == [True] * 4 + [False] * 2
    assert float(rows[3]["sparsity"]) == 0 and float(rows[5]["sparsity"]) == pytest.approx(
        0.8, abs=1e-4
    )
    assert [int(row["epoch"]) for row in _rows(runs / "whole", "dense")] == [5, 6]
    assert [int(row["epoch"]) for row in _rows(runs / "rewind", "retrain")] == [1, 2, 3, 4, 5, 6]


def test_checkpoints_are_exactly_sparse(runs):
    layers = _report(runs / "whole")["ticket"]["layers"]
    shapes = [layer["shape"] for layer in layers]
    for number in (5, 6):
        reader = tf.train.load_checkpoint(str(runs / f"whole/checkpoints/search/ckpt-{number}"))
        kernels = [
            reader.get_tensor(name)
            for name, shape in reader.get_variable_to_shape_map().items()
            if name.startswith("model/") and "/layer/kernel/" in name and "OPTIMIZER" not in name
        ]
        kernels = [kernel for kernel in kernels if list(kernel.shape) in shapes]
        assert len(kernels) == len(layers)
        nonzero = sum(np.count_nonzero(kernel) for kernel in kernels)
        assert nonzero == sum(layer["kept"] for layer in layers)


def test_the_ticket_is_the_evaluated_network(runs):
    for run in ("whole", "rewind"):
        from tf_earlyticket.data.catalog import load
        from tf_earlyticket.job.build import dataset_spec

        test = load(dataset_spec(tiny_config())).test(100)
        model = tf.saved_model.load(str(runs / run / "ticket" / "saved_model"))
        right = sum(
            int(np.sum(np.argmax(model.serve(images), axis=1) == labels.numpy()))
            for images, labels in test
        )
        assert _report(runs / run)["ticket"]["test_accuracy"] == pytest.approx(right / 500)


def test_the_rewind_weights_are_those_of_the_dense_run_at_that_epoch(runs):
    weights = [et.Ticket.load(runs / run / "ticket") for run in ("whole", "rewind")]
    assert [ticket.rewind_epoch for ticket in weights] == [1, 1]
    for name, value in weights[0].rewind_weights.items():
        np.testing.assert_array_equal(value, weights[1].rewind_weights[name])
    plain = build_model("resnet8", (16, 16, 1), 10)
    shapes = sorted(weight.shape for weight in plain.get_weights())
    assert sorted(w.shape for w in weights[0].rewind_weights.values()) == shapes


def test_the_dense_baseline_equals_a_run_that_was_never_pruned_or_probed(runs):
    with np.load(runs / "dense" / "dense.npz") as file:
        expected = sorted((a for a in file.values()), key=lambda a: (a.shape, a.tobytes()))
    found = [
        value
        for name, value in _weights(runs / "whole", "dense").items()
        if name.startswith("model/")
        and "optimizer" not in name
        and "keras_api" not in name
        and value.dtype == np.float32
    ]
    bits = [a.tobytes() for a in found]
    for array in expected:
        assert array.tobytes() in bits


def test_an_interrupted_run_ends_as_if_it_was_not(runs):
    _assert_same_run(runs / "whole", runs / "interrupted", ["search", "branch", "dense"])


# Its fast siblings are in channels_run_test.py and keras3_run_test.py.
@pytest.mark.slow
def test_a_run_told_to_terminate_saves_within_the_epoch_and_ends_as_if_it_was_not(runs, tmp_path):
    _do(tmp_path, "terminated")
    _assert_same_run(runs / "whole", tmp_path / "terminated", ["search", "branch", "dense"])
    # What was saved within an epoch goes once its end is saved.
    assert not list((tmp_path / "terminated" / "checkpoints").rglob("ckpt-*-*.index"))


@pytest.mark.slow
def test_runs_interrupted_elsewhere_and_in_mode_rewind_end_as_if_they_were_not(runs, tmp_path):
    _do(tmp_path, "more_interrupted", "rewind_interrupted")
    _assert_same_run(runs / "whole", tmp_path / "more_interrupted", ["search", "branch", "dense"])
    _assert_same_run(
        runs / "rewind", tmp_path / "rewind_interrupted", ["search", "branch", "retrain"]
    )


def test_a_finished_run_is_not_done_again(runs, monkeypatch):
    monkeypatch.setattr(run_module, "load", None)
    before = (runs / "whole" / "report.json").stat().st_mtime_ns
    assert et.train_and_evaluate(tiny_config(), runs / "whole") == _report(runs / "whole")
    assert (runs / "whole" / "report.json").stat().st_mtime_ns == before


def test_a_damaged_report_is_written_again_without_training(runs, monkeypatch):
    workdir = runs / "whole"
    good = (workdir / "report.json").read_text()
    (workdir / "report.json").write_text(good[:100])
    monkeypatch.setattr(phases, "_search", None)
    # Would be switched on for all tests that follow.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    report = et.train_and_evaluate(tiny_config(), workdir)
    before = json.loads(good)
    assert report["ticket"] == before["ticket"] and report["seconds"] == before["seconds"]
    assert _report(workdir)["probe"] == before["probe"]


def test_another_config_in_the_same_directory_is_refused(runs):
    before = (runs / "whole" / "config.json").read_text()
    with pytest.raises(et.InputError, match=r"another config \(seed is 0 there, 1 here\)"):
        config = tiny_config()
        config.seed = 1
        et.train_and_evaluate(config, runs / "whole")
    assert (runs / "whole" / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train__batch_size": 129}, "config.train.batch_size=129: .*at most the 128"),
        ({"data__validation_examples": 0}, "config.data.validation_examples=0"),
        ({"train__epochs": 2}, "config.train.epochs=2: expected an integer of at least 3"),
        ({"train__epochs": 6.0}, "config.train.epochs=6.0: expected a value of type int"),
        ({"train__drop_epochs": ("a",)}, "config.train.drop_epochs"),
        ({"pruning__rewind_epoch": 4}, "config.pruning.rewind_epoch=4"),
        ({"train__epohcs": 3}, "config.train.epohcs is not a field .*Did you mean 'epochs'"),
    ],
)
def test_a_config_that_cannot_work_writes_nothing(tmp_path, fields, message):
    with pytest.raises(et.InputError, match=message):
        et.train_and_evaluate(tiny_config(**fields), tmp_path / "run")
    with pytest.raises(et.InputError, match="strategy='two'"):
        et.train_and_evaluate(tiny_config(), tmp_path / "run", strategy="two")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_diverged_training_ends_with_a_clear_error(loss):
    class Checkpoint:
        def latest(self):
            return "checkpoints/search/ckpt-2"

    stop = StopIfDiverged(Checkpoint())
    stop.on_epoch_begin(2)
    for batch in range(30):
        stop.on_train_batch_end(batch, {"loss": tf.constant(1.0)})
    stop.on_train_batch_end(30, {"loss": tf.constant(loss)})
    stop.on_train_batch_end(31, {"loss": tf.constant(float("nan"))})
    with pytest.raises(
        RuntimeError, match=f"loss is {loss} at step 31 of epoch 3.*ckpt-2.*learning_rate"
    ):
        stop.on_epoch_end(2)


@pytest.mark.parametrize("damage", ["truncated", "state", "index", "flipped"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(runs, tmp_path, caplog, damage):
    directory = tmp_path / "search"
    shutil.copytree(runs / "whole" / "checkpoints" / "search", directory)
    (data,) = directory.glob("ckpt-6.data-*")
    path = {"state": directory / "state-6.json", "index": directory / "ckpt-6.index"}.get(
        damage, data
    )
    content = path.read_bytes()
    if damage == "flipped":
        half = len(content) // 2
        path.write_bytes(content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2])
    model = build_wrapped_model(tiny_config(), STEPS, tf.distribute.get_strategy())
    checkpoint = RunCheckpoint(directory, MetricsLog("search"))
    assert checkpoint.restore(model) == 5
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "search/ckpt-6 cannot be used" in warning and "an earlier one" in warning
    expected = _weights(runs / "whole", "search")
    kernel = "model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert expected[kernel].shape == model.layers[1].kernel.shape
    assert np.any(model.layers[1].kernel.numpy() != expected[kernel])

    for path in directory.glob("ckpt-5.data-*"):
        path.write_bytes(b"")
    with pytest.raises(RuntimeError, match="No checkpoint in .* can be used.*ckpt-6, ckpt-5"):
        checkpoint.restore(model)


@pytest.mark.parametrize(
    ("fields", "start", "detected"),
    [
        ({"detector": "fixed_epoch", "start_epoch": 2}, 2, True),
        # No pair of masks is that close, so the deadline decides.
        pytest.param(
            *({"detector": "mask_distance", "threshold": 1e-9}, START, False),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_detector_of_the_config_decides(tmp_path, fields, start, detected):
    config = tiny_config(train__deterministic=False, train__dense_baseline=False)
    for name, value in fields.items():
        setattr(config.probe, name, value)
    report = et.train_and_evaluate(config, tmp_path / "run")
    assert report["start_epoch"] == start
    assert report["decision"]["detected"] == detected
    assert report["decision"]["detector"] == fields["detector"]
    assert report["probe"]["epochs"] == [] and report["cost"]["probe_epochs"] == 0
    assert report["signals"]["epochs"] == list(range(1, start + 1))


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_its_teacher(tmp_path):
    _do(tmp_path, "distilled", "distilled_interrupted")
    _assert_same_run(tmp_path / "distilled", tmp_path / "distilled_interrupted", ["search"])
    assert _report(tmp_path / "distilled")["start_epoch"] == START
    taught = et.Ticket.load(tmp_path / "distilled" / "ticket").final_weights
    _do(tmp_path, "whole")
    untaught = et.Ticket.load(tmp_path / "whole" / "ticket").final_weights
    assert any(np.any(weight != untaught[name]) for name, weight in taught.items())


@pytest.mark.slow
def test_a_schedule_over_the_whole_training_has_no_start_and_its_own_dense_network(tmp_path):
    _do(tmp_path, "cycle", "cycle_interrupted")
    _assert_same_run(tmp_path / "cycle", tmp_path / "cycle_interrupted", ["search", "dense"])
    report = _report(tmp_path / "cycle")
    assert report["start_epoch"] == 0 and report["probe"]["epochs"] == []
    decision = {"detected": None, "latest_start_epoch": 0, "detector": "schedule"}
    assert report["decision"] == decision
    assert "estimated anew over 2 batches" in report["notes"][-1]
    assert report["ticket"]["sparsity"] == pytest.approx(0.8, abs=1e-4)
    for phase in ("search", "dense"):
        rows = _rows(tmp_path / "cycle", phase)
        assert [row["epoch"] for row in rows] == list("123456")
        rates = [float(row["learning_rate"]) for row in rows]
        np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.01, 0.1, 0.05], rtol=1e-5)


@pytest.mark.parametrize(("mode", "lead"), [("continue", 1), ("rewind", 0)])
def test_a_rewound_ticket_waits_for_no_ramp(mode, lead):
    config = tiny_config(pruning__mode=mode)
    run = Run(config, RunPaths("unused"), load(dataset_spec(config), None), None)
    assert run.plan.ramp_epochs == 1
    assert search_arguments(run)["detector"].lead_epochs == lead
