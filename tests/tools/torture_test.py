"""The soak script: it kills, continues, and sees every byte that differs."""

import json
import shutil
from pathlib import Path

import pytest
import torture

from tf_earlyticket.pruning.updates import UPDATES

ROOT = Path(__file__).parents[2]


def test_bytes_that_differ_or_are_missing_are_counted():
    assert torture._difference(b"abcd", b"abcd") == 0
    assert torture._difference(b"abcd", b"abxy") == 2
    assert torture._difference(b"abcd", b"abc") == 1
    assert torture._difference(b"", b"xyz") == 3
    timeless = torture.timeless({"seconds": 1, "rows": [{"seconds": 2, "loss": 3}]})
    assert timeless == {"rows": [{"loss": 3}]}


def test_kills_under_every_update_are_counted_by_update_and_together(tmp_path, monkeypatch):
    def torture_one(kills, seed, folder, config):
        update = config[-1].partition("update=")[2]
        survived = kills - (update == "swap")
        return {
            "kills": kills,
            "survived": survived,
            "differing_bytes": 7 * (kills - survived),
            "runs": 2,
            "seed": seed,
            "config": list(config),
            "folder": folder,
        }

    monkeypatch.setattr(torture, "torture", torture_one)
    found = torture.under_every_update(3, 5, tmp_path, ("--a=1",))
    updates = found.pop("updates")
    assert {*UPDATES, "regrow(threshold='feather')"} == {*updates}
    assert found == {
        "kills": 15,
        "survived": 14,
        "differing_bytes": 7,
        "runs": 10,
        "seed": 5,
        "config": ["--a=1"],
    }
    assert [name for name, each in updates.items() if each["differing_bytes"]] == ["swap"]
    assert len({each["folder"] for each in updates.values()}) == len(updates)


@pytest.mark.slow
def test_killed_runs_end_as_one_that_was_left_alone(tmp_path, monkeypatch):
    shown = []
    differing = torture.differing_bytes

    def look(one, other):
        found = differing(one, other)
        # A copy with one weight changed, to see that this would be seen.
        copy = tmp_path / "copy"
        shutil.copytree(other, copy)
        with open(copy / "metrics.csv", "a") as file:
            file.write("99" + "," * 10 + "\n")
        shown.append(differing(one, copy))
        shutil.rmtree(copy)
        return found

    monkeypatch.setattr(torture, "differing_bytes", look)
    found = torture.torture(2, 5, tmp_path)
    assert (found["kills"], found["survived"], found["differing_bytes"]) == (2, 2, 0)
    assert shown and min(shown) > 0


def test_the_kept_result_is_what_the_project_promises():
    path = ROOT / "results" / "reliability" / "torture.json"
    found = json.loads(path.read_text())
    assert found["kills"] == found["survived"] == len(found["moments"]) >= 100
    assert found["differing_bytes"] == 0
    page = " ".join((ROOT / "docs" / "reliability.md").read_text().split())
    said = f"{found['kills']} kills, {found['survived']} survived, 0 differing bytes"
    assert said in page
    for backend in ("tensorflow", "jax"):
        found = json.loads(path.with_name(f"torture_keras3_{backend}.json").read_text())
        assert found["kills"] == found["survived"] and found["keras_backend"] == backend
        said = f"{found['kills']} kills, {found['survived']} survived, 0 differing bytes, on each"
        assert said in page
    found = json.loads(path.with_name("torture_family.json").read_text())
    assert found["kills"] == found["survived"] and "final_sparsity=0.5,0.8" in found["config"][-1]
    said = f"`torture_family.json`): {found['kills']} kills, {found['survived']} survived, 0 differ"
    assert found["differing_bytes"] == 0 and said in page
    kills = 0
    for ending in ("", "_keras3_tensorflow", "_keras3_jax"):
        found = json.loads(path.with_name(f"torture_updates{ending}.json").read_text())
        assert found["kills"] == found["survived"] and found["differing_bytes"] == 0
        assert found["updates"].keys() == {*UPDATES, "regrow(threshold='feather')"}
        assert {each["kills"] for each in found["updates"].values()} == {2}
        kills += found["kills"]
    assert f"2 kills each, under tf_keras and under Keras 3 on each backend, {kills} kills" in page
    for name, each in (("damage.json", 50), ("damage_family.json", 20)):
        damages = json.loads(path.with_name(name).read_text())
        assert damages["different"] == damages["crashed"] == 0 and set(damages["seen"]) == {
            *("tf_keras", "keras_tensorflow", "keras_jax")
        }
        kinds = ("same", "refused", "different", "crashed")
        told = ", ".join(f"{damages[kind]} {kind}" for kind in kinds)
        assert f"{damages['damages']} damages, {each} under each Keras: {told}" in page
