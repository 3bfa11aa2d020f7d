import json

import pytest

from tf_earlyticket.job.devices import is_chief

WORKERS = {"worker": ["a:1", "b:1"]}


def _tf_config(monkeypatch, cluster, kind, index):
    value = json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})
    monkeypatch.setenv("TF_CONFIG", value)


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "chief"),
    [
        (WORKERS, "worker", 0, True),
        (WORKERS, "worker", 1, False),
        ({**WORKERS, "chief": ["c:1"]}, "chief", 0, True),
        ({**WORKERS, "chief": ["c:1"]}, "worker", 0, False),
    ],
)
def test_one_process_writes(monkeypatch, cluster, kind, index, chief):
    _tf_config(monkeypatch, cluster, kind, index)
    assert is_chief("multi_worker") is chief
    # TF_CONFIG counts for several workers only.
    assert is_chief("one_device")


def test_without_tf_config_there_is_one_process(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert is_chief("multi_worker")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}',
    ],
)
def test_another_form_is_refused(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG=.*expected"):
        is_chief("multi_worker")
