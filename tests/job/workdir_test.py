import json

import pytest
import tensorflow as tf

from tf_earlyticket.config import Config
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.phases import Run
from tf_earlyticket.job.results import SearchResult
from tf_earlyticket.job.workdir import RunPaths


def test_a_worker_reads_the_run_s_state_and_writes_elsewhere(tmp_path):
    shared, own = tmp_path / "run", tmp_path / "own"
    paths = RunPaths(shared, own)
    assert paths.saved.checkpoints == shared / "checkpoints"
    assert paths.saved.report == shared / "report.json"
    assert paths.checkpoints == own / "checkpoints" and paths.ticket == own / "ticket"
    paths.claim(Config())
    assert not shared.exists()
    chief = RunPaths(shared)
    chief.claim(Config())
    assert chief.saved is chief
    paths.claim(Config())
    with pytest.raises(InputError, match="holds a run of another config"):
        paths.claim(Config(seed=1))


def test_a_run_of_before_a_field_existed_had_its_default(tmp_path):
    paths = RunPaths(tmp_path)
    paths.claim(Config())
    older = json.loads(paths.config.read_text())
    del older["train"]["scale_with_replicas"]
    paths.config.write_text(json.dumps(older))
    paths.claim(Config())
    changed = Config()
    changed.train.scale_with_replicas = True
    with pytest.raises(InputError, match="train.scale_with_replicas is False there, True here"):
        paths.claim(changed)


@pytest.mark.parametrize("name", ["[r]", "a*", "b?"])
def test_a_path_that_tensorflow_takes_for_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="--workdir=.*: expected a path without any of"):
        RunPaths(tmp_path / name).check(Config())


def test_a_worker_that_went_on_need_not_have_what_was_written_before(tmp_path):
    strategy = tf.distribute.get_strategy()
    other = Run(Config(), RunPaths(tmp_path / "run", tmp_path / "own"), None, strategy)
    # The rewind weights are in the chief's directory alone.
    assert other.finish("search", SearchResult()) == SearchResult()
    with pytest.raises(InputError, match="rewind_weights"):
        Run(Config(), RunPaths(tmp_path / "run"), None, strategy).finish("search", SearchResult())
