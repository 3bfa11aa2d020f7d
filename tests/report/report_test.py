"""What report.json holds: built, written, and read again, also where it is old or damaged."""

import json
from pathlib import Path

import pytest
from reports import made_up_report

from tf_earlyticket.errors import InputError
from tf_earlyticket.report.report import Report, read_artefacts

RESULTS = Path(__file__).parents[2] / "results"
# That of a family is another one: tests/tools/collect_family_test.py.
KEPT = sorted(path for path in RESULTS.rglob("report.json") if "family" not in path.parts)
# The keys that programs may rely on.
KEYS = (
    "schema_version config environment dense.test_accuracy dense.epochs probe.epochs "
    "probe.ppr_accuracy probe.pruned_accuracy probe.dense_accuracy probe.cost_epochs probe.seconds "
    "start_epoch start_reason ticket.test_accuracy ticket.sparsity ticket.layers cost.train_epochs "
    "cost.probe_epochs cost.total_epochs cost.iterative_pruning_epochs "
    "cost.iterative_pruning_source cost.ratio seconds"
)


def test_the_promised_keys_are_there():
    report = made_up_report().to_json()
    for path in KEYS.split():
        value = report
        for key in path.split("."):
            value = value[key]
    assert set(report["ticket"]["layers"][0]) == {"name", "shape", "kept", "sparsity"}


def test_a_report_comes_back_as_it_was_and_unknown_entries_are_passed_over():
    report = made_up_report()
    values = json.loads(json.dumps(report.to_json()))
    assert Report.from_json(values) == report
    values["later"] = values["cost"]["later"] = {"a": 1}
    assert Report.from_json(values) == report
    for name in ("mode", "notes", "signals", "decision", "schedule", "artefacts", "command"):
        del values[name]
    assert Report.from_json(values).artefacts == []


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.parent.name)
def test_kept_reports_are_read_whole(path):
    values = json.loads(path.read_text())
    found = Report.read(path).to_json()
    assert {name: found[name] for name in values if name != "artefacts"} == {
        name: value for name, value in values.items() if name != "artefacts"
    }
    assert len(found["artefacts"]) == len(values.get("artefacts", []))


def test_kept_artefacts_are_read():
    paths = sorted(RESULTS.rglob("artefacts.json"))
    assert len(KEPT) >= 9 and len(paths) >= 2
    for path in paths:
        values = json.loads(path.read_text())["artefacts"]
        assert [a.bytes for a in read_artefacts(values)] == [a["bytes"] for a in values]


def _changed(change):
    values = made_up_report().to_json()
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is damaged: Expected `object`, got `array`"),
        ("{}", "is damaged: Object missing required field `schema_version`"),
        ("7", "is damaged: Expected `object`, got `int`"),
        ("{", "must be JSON"),
        ('{"a":' * 200_000, "must be JSON"),
        ("[" * 200_000, "must be JSON"),
        (_changed(lambda r: r["ticket"].update(sparsity="0.8")), r"got `str` - at `\$.ticket"),
        (_changed(lambda r: r.update(start_epoch=True)), "got `bool` - at `.*start_epoch"),
        (_changed(lambda r: r.update(ticket=None)), "Expected `object`, got `null`"),
        (_changed(lambda r: r["probe"]["epochs"].pop()), "lists must have a value for each"),
        (_changed(lambda r: r["signals"]["pruning_rates"][0].pop()), "lists must have a value"),
        (_changed(lambda r: r["config"].update(seed="x")), "got `str`"),
        (_changed(lambda r: r["config"].update(model=7)), "got `int`"),
    ],
)
def test_a_damaged_report_is_one_line(tmp_path, content, message):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=f"report.json .*{message}") as caught:
        Report.read(tmp_path / "report.json")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_report_of_a_family_is_told_from_a_damaged_one(tmp_path):
    (tmp_path / "report.json").write_text('{"family": []}')
    with pytest.raises(InputError, match="is of a family: expected the run of one ticket"):
        Report.read(tmp_path / "report.json")
