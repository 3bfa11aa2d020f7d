"""A run that starts from a ticket, and the commands that take its ticket on."""

import json

import numpy as np
import pytest
import tensorflow as tf
from jobs import tiny_config

import tf_earlyticket as et
from tf_earlyticket import export, inspect
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.job.build import build_wrapped_model
from tf_earlyticket.job.job import add_to_report, train_and_evaluate


def _ticket_of(network, directory, sparsity=0.7):
    model = et.wrap_for_pruning(network, et.EarlyTicketPolynomialDecay(sparsity))
    model.compile("sgd", "mse")
    adapter = pruned(model)
    adapter.prepare()
    adapter.set_masks(adapter.ranked_masks(sparsity))
    return et.export_ticket(model, directory)


def _config(ticket, **fields):
    config = tiny_config(train__epochs=2, train__drop_epochs=(1,), **fields)
    config.train.deterministic = False
    config.pruning.rewind_epoch = 0
    config.pruning.ramp_epochs = config.pruning.hold_epochs = 0
    config.ticket = str(ticket)
    return config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on ten digits, of a ticket made for seven classes of RGB images."""
    folder = tmp_path_factory.mktemp("ticket_start")
    keras.utils.set_random_seed(5)
    given = _ticket_of(et.models.resnet8((16, 16, 3), 7), folder / "given")
    report = train_and_evaluate(_config(folder / "given"), folder / "run")
    return folder, given, report


def test_the_run_trains_the_given_masks_and_searches_for_none(run):
    folder, given, report = run
    made = et.Ticket.load(folder / "run" / "ticket")
    assert made.sparsity == given.sparsity == report["ticket"]["sparsity"]
    for name, mask in given.masks.items():
        np.testing.assert_array_equal(made.masks[name], mask)
        np.testing.assert_array_equal(made.rewind_weights[name], given.rewind_weights[name])
        assert np.any(made.final_weights[name] != made.rewind_weights[name])
    # New for ten classes and one channel.
    assert made.rewind_weights["classifier/kernel"].shape == (64, 10)
    assert made.rewind_weights["stem_conv/kernel"].shape == (3, 3, 1, 16)
    assert report["mode"] == "ticket" and report["start_epoch"] is None
    assert "with new layers classifier, stem_conv" in report["start_reason"]
    assert report["probe"]["epochs"] == [] and report["cost"]["probe_epochs"] == 0
    assert report["cost"]["total_epochs"] == 2 and report["cost"]["baseline_epochs"] == 2
    assert report["schedule"]["final_sparsity"] == given.sparsity
    assert 0 <= report["dense"]["test_accuracy"] <= 1
    text = (folder / "run" / "report.html").read_text()
    assert "no search: the ticket" in text


def test_a_run_started_again_returns_what_it_found(run):
    folder, _, report = run
    assert train_and_evaluate(_config(folder / "given"), folder / "run") == report


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d / "none", "config.ticket=.*none.*expected a ticket"),
        (lambda d: (d / "given" / "x").mkdir() or d / "given" / "x", "expected a ticket"),
    ],
)
def test_a_ticket_that_cannot_be_read_is_refused_before_anything_is_written(
    run, tmp_path, damage, message
):
    with pytest.raises(et.InputError, match=message):
        train_and_evaluate(_config(damage(run[0])), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_ticket_of_another_network_is_refused(run, tmp_path):
    folder, _, _ = run
    with pytest.raises(et.InputError, match="model.name='resnet20': expected 'resnet8'"):
        config = _config(folder / "run" / "ticket", model__name="resnet20")
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(et.InputError, match="ticket and model do not have the same prunable"):
        train_and_evaluate(_config(folder / "given", model__name="resnet20"), tmp_path / "run")


def test_export_knows_the_data_of_a_run_and_adds_to_its_report(run, call_program):
    folder, _, report = run
    workdir = folder / "run"
    status, out, err = call_program(
        export, f"--ticket={workdir / 'ticket'}", "--format=saved_model,tflite_int8", "--rounds=1"
    )
    assert status == 0, err
    found = json.loads((workdir / "ticket" / "exported" / "artefacts.json").read_text())
    served, quantized = found["artefacts"]
    assert served["accuracy"] == pytest.approx(report["ticket"]["test_accuracy"])
    assert abs(quantized["accuracy"] - served["accuracy"]) < 0.1
    assert found["about"]["command"].startswith("python -m tf_earlyticket.export --ticket=")
    assert json.loads((workdir / "report.json").read_text())["artefacts"] == found["artefacts"]
    text = (workdir / "report.html").read_text()
    assert "Artefacts for deployment" in text and "tflite_int8" in text
    assert "tflite_int8" in out and "Added to the report" in out
    # Still a good ticket.
    et.Ticket.load(workdir / "ticket")
    before = (workdir / "report.json").read_bytes()
    assert not add_to_report(workdir / "another", artefacts=[])
    assert (workdir / "report.json").read_bytes() == before


def test_inspect_shows_a_run(run, call_program):
    folder, given, report = run
    status, out, _ = call_program(inspect, "--json", folder / "run")
    found = json.loads(out)
    assert status == 0 and found["kind"] == "run"
    assert found["totals"]["sparsity"] == given.sparsity
    assert found["about"]["ticket_test_accuracy"] == report["ticket"]["test_accuracy"]
    status, out, _ = call_program(inspect, folder / "run" / "ticket" / "saved_model")
    assert status == 0 and "stage3_block1_conv2/kernel" in out and "3 x 3 x 64 x 64" in out


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (export, [], "--ticket is missing"),
        (export, ["--ticket=nowhere"], "directory='nowhere': expected a ticket"),
        (export, ["--ticket=nowhere", "extra"], "unexpected argument 'extra'"),
        (export, ["--ticket={}", "--format=bnnx"], "format='bnnx': expected one of saved_model"),
        (export, ["--ticket={}", "--format=tflite_dynamic_sparse"], "not made, since"),
        (export, ["--ticket={}", "--calibration=none.npy"], "none.npy cannot be read"),
        (export, ["--ticket={}", "--calibration={}/ticket.json"], "expected a .npy file"),
        (export, ["--ticket={}", "--rounds=0"], "rounds"),
        (inspect, [], "PATH: expected one argument, got 0"),
        (inspect, ["a", "b"], "PATH: expected one argument, got 2"),
        (inspect, ["nowhere"], "PATH='nowhere' does not exist"),
    ],
)
def test_wrong_input_is_told_in_one_line(run, call_program, module, arguments, message):
    given = run[0] / "given"
    before = sorted(given.iterdir())
    status, _, err = call_program(module, *(text.format(given) for text in arguments))
    assert status == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert sorted(given.iterdir()) == before


def test_the_sparsity_at_which_a_ramp_would_begin_does_not_count(tmp_path):
    config = _config(tmp_path, pruning__structure="channels", pruning__initial_sparsity=0.3)
    model = build_wrapped_model(config, 4, tf.distribute.get_strategy())
    assert pruned(model).final_sparsity() == 0
