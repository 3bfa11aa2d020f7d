"""A detector study on a few digits: records, makes tickets, replays, continues."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_earlyticket.backends import pruned
from tf_earlyticket.config import Config
from tf_earlyticket.detectors.base import Observation, WeightSignals
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_arrays
from tf_earlyticket.job.build import build_wrapped_model
from tf_earlyticket.job.phases import Phase
from tf_earlyticket.paper.detector_study import (
    accuracy_at,
    best_epoch,
    choices,
    default_start_epochs,
    studied_detectors,
    study_detectors,
    summarize_choices,
)


def tiny_config():
    config = Config()
    config.data.train_examples = 96
    config.data.validation_examples = 64
    config.model.name = "resnet8"
    config.train.epochs = 5
    config.train.batch_size = 32
    config.train.drop_epochs = (3,)
    return config


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """Returns a study of one seed with two gradual tickets, its folder, and its config."""
    folder = tmp_path_factory.mktemp("study")
    config = tiny_config()
    study = study_detectors(
        config, folder, seeds=[3], start_epochs=[1, 3], modes=["gradual"], command="as typed"
    )
    return study, folder, config


@pytest.mark.slow
def test_detectors_are_compared_on_whole_channels(tmp_path):
    config = tiny_config()
    config.pruning.structure, config.pruning.final_sparsity = "channels(multiple=1)", 0.5
    study = study_detectors(config, tmp_path, seeds=[3], start_epochs=[3], modes=["gradual"])
    result = study["seeds"]["3"]
    assert set(result["choices"]) == set(studied_detectors(3, 1))
    rows = json.loads((tmp_path / "seed3/checkpoints/gradual-003/result.json").read_text())["rows"]
    assert 0.5 <= rows[-1]["sparsity"] < 0.6
    # The masks are of channels: of each layer a part goes that its numbers of channels allow.
    shapes = {name: w.shape for name, w in _weights(config).items()}
    first = dict(zip(shapes, result["signals"]["pruning_rates"][0], strict=True))
    assert round(first["stem_conv/kernel"] * 16, 6) == int(round(first["stem_conv/kernel"] * 16))
    assert "classifier/kernel" in shapes


def test_a_network_that_shrinks_is_refused(tmp_path):
    config = tiny_config()
    config.pruning.structure, config.pruning.final_sparsity = "channels(multiple=1)", 0.5
    config.pruning.shrink_after_ramp = True
    with pytest.raises(InputError, match="shrink_after_ramp=True: expected false for experiments"):
        study_detectors(config, tmp_path / "study", seeds=[3])
    assert not (tmp_path / "study").exists()


def test_a_goal_of_several_tickets_is_refused(tmp_path):
    config = tiny_config()
    config.pruning.goal = "accuracy>=dense-1"
    with pytest.raises(InputError, match="goal='accuracy>=dense-1': expected one ticket"):
        study_detectors(config, tmp_path / "study", seeds=[3])
    assert not (tmp_path / "study").exists()


def _weights(config):
    return pruned(build_wrapped_model(config, 3, tf.distribute.get_strategy())).weights()


def test_it_records_every_epoch_and_the_tickets_that_were_asked_for(studied):
    study, folder, _ = studied
    result = study["seeds"]["3"]
    assert result["probe"]["epochs"] == [1, 2, 3, 4, 5]
    assert all(cost == 1.0 for cost in result["probe"]["cost_epochs"])
    assert set(result["tickets"]) == {"gradual"}
    assert set(result["tickets"]["gradual"]) == {"1", "3"}
    assert study["latest_start_epoch"] == 3 and study["command"] == "as typed"
    assert json.loads((folder / "study.json").read_text()) == json.loads(json.dumps(study))
    with open(folder / "study.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["detector"] for row in rows] == list(studied_detectors(3, 1))
    for name in ("probes", "tickets"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 10_000


def test_tickets_end_at_the_final_sparsity_and_leave_no_checkpoint(studied):
    _, folder, _ = studied
    for start in (1, 3):
        cell = folder / "seed3" / "checkpoints" / f"gradual-{start:03d}"
        assert [path.name for path in cell.iterdir()] == ["result.json"]
        rows = json.loads((cell / "result.json").read_text())["rows"]
        assert [row["epoch"] for row in rows] == list(range(start + 1, 6))
        assert rows[-1]["sparsity"] == pytest.approx(0.8, abs=1e-4)
    # A ramp of one epoch: full sparsity at the end of the first one.
    assert rows[0]["sparsity"] == pytest.approx(0.8, abs=1e-4)


def test_the_signals_are_those_of_the_recorded_weights(studied):
    study, folder, config = studied
    recorded = read_arrays(folder / "seed3/checkpoints/dense/weights-005.safetensors")
    model = build_wrapped_model(config, 3, tf.distribute.get_strategy())
    kernels = [recorded[name] for name in pruned(model).masks()]
    magnitudes = np.sort(np.concatenate([np.abs(kernel).ravel() for kernel in kernels]))
    threshold = magnitudes[-round(0.2 * magnitudes.size)]
    rates = [float(np.mean(np.abs(kernel) < threshold)) for kernel in kernels]
    assert study["seeds"]["3"]["signals"]["pruning_rates"][-1] == pytest.approx(rates)


def test_a_second_call_computes_only_what_is_missing(studied, monkeypatch):
    study, folder, config = studied
    trained = []
    train = Phase.fit

    def counted(phase, done, callbacks, last_epoch=None):
        trained.append(phase.name)
        return train(phase, done, callbacks, last_epoch)

    monkeypatch.setattr(Phase, "fit", counted)
    again = study_detectors(config, folder, seeds=[3], finished_only=True)
    assert trained == [] and again["seeds"] == study["seeds"]
    more = study_detectors(config, folder, seeds=[3], start_epochs=[3], modes=["one_shot"])
    assert trained == ["one_shot-003"]
    assert set(more["seeds"]["3"]["tickets"]) == {"gradual", "one_shot"}
    assert more["seeds"]["3"]["tickets"]["gradual"] == study["seeds"]["3"]["tickets"]["gradual"]


def test_start_epochs_are_spread_by_default():
    config = tiny_config()
    config.train.epochs = 24
    assert default_start_epochs(config) == [5, 10, 15]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "seeds="),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\]"),
        ({"seeds": [0], "start_epochs": [4]}, "start_epochs=4: expected an integer from 1 to 3"),
        ({"seeds": [0], "modes": ["both"]}, "modes='both': expected one of gradual, one_shot"),
        ({"seeds": [0], "finished_only": True}, "its dense run is not finished"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        study_detectors(tiny_config(), tmp_path, **options)


def test_accuracy_between_two_tickets_is_interpolated_and_outside_them_unknown():
    tickets = {5: 0.80, 10: 0.90}
    assert accuracy_at(tickets, 5) == 0.80
    assert accuracy_at(tickets, 7) == pytest.approx(0.84)
    assert accuracy_at(tickets, 4) is None and accuracy_at(tickets, 11) is None
    assert accuracy_at({}, 5) is None


def test_the_best_epoch_has_the_best_mean_over_the_seeds_that_all_have_it():
    tickets = {"0": {5: 0.80, 10: 0.84, 15: 0.99}, "1": {5: 0.86, 10: 0.80}}
    # 15 lacks seed 1; means are 0.83 and 0.82.
    assert best_epoch(list(tickets.values())) == 5
    assert best_epoch([{5: 0.8, 10: 0.8}]) == 5, "the earlier of two equals"
    assert best_epoch([{5: 0.8}, {}]) is None
    assert best_epoch([]) is None


def seed_result(start_epoch, detected, cost, **tickets):
    """A seed of which one detector chose a start, with accuracies by mode and start epoch."""
    choice = {"start_epoch": start_epoch, "detected": detected, "probe_cost_epochs": cost}
    cells = {
        mode: {str(epoch): {"test_accuracy": accuracy} for epoch, accuracy in accuracies.items()}
        for mode, accuracies in tickets.items()
    }
    return {"choices": {"d": choice}, "tickets": cells}


def test_the_summary_equals_the_hand_count():
    one = seed_result(10, True, 1.0, gradual={5: 0.80, 10: 0.90}, one_shot={5: 0.7})
    two = seed_result(6, False, 0.5, gradual={5: 0.80, 10: 0.88}, one_shot={5: 0.7, 10: 0.8})
    (row,) = summarize_choices({"0": one, "1": two})
    assert row["start_epochs"] == [10, 6] and row["detected"] == 1
    assert row["probe_cost_epochs"] == 0.75
    # The best epoch is 10; seed 1 at epoch 6 has 0.816.
    assert row["gradual_accuracy"] == pytest.approx((0.90 + 0.816) / 2)
    assert row["gradual_distance"] == pytest.approx((0.0 + 0.064) / 2)
    assert row["gradual_distance_std"] == pytest.approx(0.064 / 2**0.5)
    # Seed 0 has no one-shot ticket at 10.
    assert row["one_shot_accuracy"] is None and row["one_shot_distance"] is None


def test_one_seed_has_no_deviation():
    (row,) = summarize_choices({"0": seed_result(5, True, 0.0, gradual={5: 0.8})})
    assert row["gradual_distance"] == 0 and row["gradual_distance_std"] is None


def test_a_study_without_tickets_still_says_what_was_chosen():
    (row,) = summarize_choices({"0": seed_result(5, True, 0.4)})
    assert row["start_epochs"] == [5] and row["probe_cost_epochs"] == 0.4
    for mode in ("gradual", "one_shot"):
        assert row[f"{mode}_accuracy"] is None and row[f"{mode}_distance"] is None


@settings(max_examples=40)
@given(st.lists(st.floats(0.1, 0.99), min_size=12, max_size=12))
def test_every_detector_chooses_a_possible_epoch_and_pays_for_its_probes_only(accuracies):
    signals = WeightSignals((0.8, 0.8), (0.2,) * 4, (0.9,) * 4)
    observations = {e + 1: Observation(a, 0.1, 0.9, signals) for e, a in enumerate(accuracies)}
    chosen = choices(observations, dict.fromkeys(observations, 0.25), 12, 3)
    for choice in chosen.values():
        assert 1 <= choice["start_epoch"] <= 12
        assert choice["probe_cost_epochs"] == 0.25 * len(choice["probed_epochs"])
    assert chosen["MaskDistance"]["detected"] is False
    assert chosen["FixedEpoch(latest)"]["start_epoch"] == 12
    assert chosen["PPRSaturation"]["probed_epochs"]
