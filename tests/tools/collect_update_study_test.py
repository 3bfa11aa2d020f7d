"""The page of the studies of mask updates, from made-up outcomes."""

import json

import collect_update_study as tool
import pages
import pytest

from tf_earlyticket.paper.update_study import Outcome, summarize_variants


def made_up_study():
    # By variant and goal, the accuracies of seeds 0 to 2.
    accuracies = {
        ("dense", 0.0): (0.98, 0.97, 0.99),
        ("dense+restart", 0.0): (0.97, 0.97, 0.97),
        ("shrink", 0.9): (0.95, 0.96, 0.94),
        ("restart", 0.9): (0.97, 0.97, 0.97),
        ("ppr", 0.9): (0.94, 0.97, 0.94),
    }
    outcomes = [
        Outcome(
            *(variant, goal, seed, accuracy, goal),
            start_epoch=3 + seed if variant == "ppr" else 4,
            train_epochs=14.0 if variant == "ppr" else 16.0,
            probe_epochs=1.5 if variant == "ppr" else 0.0,
        )
        for (variant, goal), values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    variants = ["shrink", "restart", "ppr"]
    train = {"epochs": 16, "learning_rate": 0.1, "drop_epochs": [10, 13], "batch_size": 32}
    return {
        "command": "python -m tf_earlyticket.study_updates --seeds=0,1,2",
        "config": {
            "data": {"name": "digits"},
            "model": {"name": "resnet8"},
            "train": {**train, "dtype_policy": "float32"},
        },
        "environment": {"cpu_count": 2, "machine": "x86_64"},
        "test_examples": 500,
        "variants": [*variants, "late"],
        "outcomes": [vars(outcome) for outcome in outcomes],
        "summary": summarize_variants(outcomes, variants),
    }


@pytest.fixture
def kept(tmp_path):
    run = tmp_path / "runs" / "digits_resnet8"
    (run / "figures").mkdir(parents=True)
    (run / "figures" / "differences.png").write_bytes(b"picture")
    (run / "study.json").write_text(json.dumps(made_up_study()))
    (run / "study.csv").write_text("variant\n")
    pages.keep_study(run, tmp_path / "results")
    return tmp_path / "results"


def test_the_page_shows_every_difference_with_its_interval(kept):
    text = tool.page(kept)
    assert "Dense: 98.00 %; with the restarted learning rate 97.00 %, which is -1.00 (" in text
    assert "test images is 0.20 points, the binomial standard error of one accuracy 0.63." in text
    assert (
        "| restart | 3 | 4 4 4 | 16.0 | 97.00 | -1.00 (-2.00 to +0.00) | +0.00 (+0.00 to +0.00) "
        "| +2.00 (+1.00 to +3.00) |" in text
    )
    assert (
        "| ppr | 3 | 3 4 5 | 15.5, 1.5 | 95.00 | -3.00 (-5.00 to +0.00) | - "
        "| +0.00 (-1.00 to +1.00) |" in text
    )
    assert "| shrink | 3 | 4 4 4 | 16.0 | 95.00 | -3.00 (-5.00 to -1.00) | - | - |" in text


def test_the_page_says_what_is_apart_and_how_often_that_is_chance(kept):
    text = tool.page(kept)
    assert (
        "Better than `shrink` with an interval above zero: `restart`; worse: none. Below dense "
        "with an interval below zero: `shrink`." in text
    )
    assert "Not trained yet: `late`." in text
    # Three seeds: one in four, and two comparisons.
    assert "3 seeds would have one sign in 1 of 4 cases, so that of the 2 comparisons" in text
    assert tool.chance(made_up_study())["expected"] == 0.5


def test_what_came_out_is_told_in_short_of_rows_with_an_interval(kept):
    assert tool.in_short(kept) == (
        "- resnet8 on digits, 16 epochs, 90 %: `shrink` less dense -3.00 (-5.00 to -1.00) "
        "(3 seeds). Best of 2 others less `shrink`: `restart` +2.00 (+1.00 to +3.00)."
        " With an interval apart from zero better: `restart` +2.00 (+1.00 to +3.00)."
        " With an interval apart from zero worse: none.\n"
    )


def test_where_the_first_has_one_seed_others_are_told_beside_the_dense_networks(kept):
    path = kept / "digits_resnet8" / "study.json"
    study = json.loads(path.read_text())
    outcomes = [Outcome(**one) for one in study["outcomes"]]
    outcomes = [one for one in outcomes if one.variant != "shrink" or one.seed == 0]
    study["summary"] = summarize_variants(outcomes, study["variants"])
    path.write_text(json.dumps(study))
    assert tool.in_short(kept) == (
        "- resnet8 on digits, 16 epochs, 90 %: `shrink` less dense -3.00 (1 seed), "
        "`restart` less dense -1.00 (-2.00 to +0.00) (3 seeds), "
        "`ppr` less dense -3.00 (-5.00 to +0.00) (3 seeds).\n"
    )


def test_the_committed_page_is_what_the_committed_results_give():
    assert tool.PAGE.read_text() == tool.page()
    assert tool.in_short() in tool.SHORT.read_text()
