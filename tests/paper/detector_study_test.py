"""A detector study on a few digits: records, makes tickets, replays, continues."""

import csv
import json

import numpy as np
import pytest

from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.paper import detector_study
from tf_earlyticket.paper.detector_study import default_start_epochs, study_detectors
from tf_earlyticket.paper.study import studied_detectors


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
    study, folder, _ = studied
    with np.load(folder / "seed3" / "checkpoints" / "dense" / "weights-005.npz") as file:
        kernels = [file[f"array_{n}"] for n in range(len(file["names"]))]
    kernels = [kernel for kernel in kernels if kernel.ndim in (2, 4)][1:-1]
    magnitudes = np.sort(np.concatenate([np.abs(kernel).ravel() for kernel in kernels]))
    threshold = magnitudes[-round(0.2 * magnitudes.size)]
    rates = [float(np.mean(np.abs(kernel) < threshold)) for kernel in kernels]
    assert study["seeds"]["3"]["signals"]["pruning_rates"][-1] == pytest.approx(rates)


def test_a_second_call_computes_only_what_is_missing(studied, monkeypatch):
    study, folder, config = studied
    trained = []
    fit = detector_study.train_ticket.__globals__["fit"]

    def counted(run, done, callbacks, phase):
        trained.append(phase)
        return fit(run, done, callbacks, phase)

    monkeypatch.setitem(detector_study.train_ticket.__globals__, "fit", counted)
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
        ({"seeds": [0], "start_epochs": [4]}, "start_epochs: 4 is not one of 1 to 3"),
        ({"seeds": [0], "modes": ["both"]}, "modes: 'both' is not one of gradual, one_shot"),
        ({"seeds": [0], "finished_only": True}, "its dense run is not finished"),
    ],
)
def test_what_cannot_work_is_refused_before_training(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        study_detectors(tiny_config(), tmp_path, **options)
