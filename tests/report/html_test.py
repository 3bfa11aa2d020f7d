import base64
import copy
import html
import re

import pytest

from tf_earlyticket.report.drawing import count, duration, percent, points, short
from tf_earlyticket.report.figures import caption_of
from tf_earlyticket.report.html import write_html
from tf_earlyticket.report.report import Report

VALUES = {
    "schema_version": 1,
    "config": {"pruning": {"final_sparsity": 0.8}, "data": {"name": "digits"}},
    "environment": {"python": "3.12.1", "host": {"devices": ["CPU:0", "CPU:1"]}},
    "dense": {"test_accuracy": 0.9174, "epochs": 60},
    "probe": {
        "epochs": [1, 2, 3],
        "ppr_accuracy": [0.612, 0.733, 0.741],
        "pruned_accuracy": [0.101, 0.153, 0.204],
        "dense_accuracy": [0.633, 0.756, 0.787],
        "cost_epochs": 0.3,
        "seconds": 3.0,
    },
    "start_epoch": 3,
    "start_reason": "the last 3 probes differ by less than 0.5 points",
    "ticket": {
        "test_accuracy": 0.9136,
        "sparsity": 0.8,
        "layers": [
            {"name": "conv1", "shape": [3, 3, 64, 64], "kept": 9216, "sparsity": 0.75},
            {"name": "conv2", "shape": [3, 3, 64, 256], "kept": 27648, "sparsity": 0.8125},
        ],
    },
    "cost": {
        "train_epochs": 60.0,
        "probe_epochs": 0.3,
        "total_epochs": 60.3,
        "iterative_pruning_epochs": 1206.0,
        "iterative_pruning_source": "analytic",
        "ratio": 0.05,
    },
    "seconds": {"train": 3725.0, "probe": 3.0},
    "command": "python -m tf_earlyticket.train --config=my.py --seed=7",
}
METRICS = [
    {
        "epoch": 1,
        "step": 10,
        "learning_rate": 0.10000000149011612,
        "loss": 1.0,
        "accuracy": 0.5,
        "val_loss": 1.0,
        "val_accuracy": 0.456,
        "sparsity": 0.0,
        "ppr_accuracy": "",
        "seconds": 1.5,
    }
]
WEIGHT_STD = {"epochs": [1], "layers": {"conv1": [0.1234], "conv2": [0.0567]}}
PNG = b"\x89PNG\r\n\x1a\nnot really"


@pytest.fixture
def page(tmp_path):
    """Returns a function that writes a report and gives back its text."""
    figure = tmp_path / "figures" / "any.png"
    figure.parent.mkdir()
    figure.write_bytes(PNG)

    def write(report, metrics=METRICS, weight_std=WEIGHT_STD, names=("ppr",)):
        path = tmp_path / "run" / "report.html"
        report = Report.from_json(report) if isinstance(report, dict) else report
        write_html(report, metrics, weight_std, dict.fromkeys(names, figure), path)
        assert list(path.parent.iterdir()) == [path], "a temporary file was left behind"
        return path.read_text(encoding="utf-8")

    return write


def changed(**values):
    return Report.from_json(copy.deepcopy(VALUES) | values)


REPORT = changed()


def visible(text):
    """Returns the words of a page as a reader sees them."""
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_page_holds_the_numbers_of_the_report(page):
    text = visible(page(REPORT))
    for words in (
        "91.4 %",  # ticket
        "91.7 %",  # dense
        "80.0 %",
        "conv2 3 × 3 × 64 × 256 147,456 27,648 81.2 % 0.0567",
        "All 184,320 36,864 80.0 %",
        "3 78.7 % 20.4 % 74.1 %",  # the third probe
        "Iterative pruning to the same sparsity 1,206.0",
        "Total / iterative pruning 5.0 %",
        "train 1 h 2 min 5 s",
        "1 0.1 50.0 % 45.6 % 0.0 % – 1.5",  # the first epoch
        "host.devices CPU:0, CPU:1",
        '"final_sparsity": 0.8',
        REPORT.command,
    ):
        assert words in text, words


def test_page_tells_of_the_whole_network_where_it_is_known(page):
    assert "Multiply-adds" not in page(REPORT) and "of all kernels" not in page(REPORT)
    told = changed(
        ticket=VALUES["ticket"] | {"network_sparsity": 0.7179},
        macs={"dense": 5000, "masked": 3300, "removed": 4000, "ticket": 3300},
        layers=[
            {
                "name": name,
                "macs": {"dense": macs, "masked": macs, "removed": 10},
                "parameters": {"dense": 36, "masked": 30, "removed": 9},
            }
            for name, macs in (("conv1", 1234567), ("attention", None))
        ],
    )
    text = visible(page(told, [METRICS[0] | {"network_sparsity": 0.1}]))
    for words in (
        "Of the prunable weights 80.0 % are zero, of all kernels 71.8 %, and",
        "Multiply-adds left 66.0 %",
        "conv1 1,234,567 1,234,567 10 36 30 9",
        "attention – – 10 36 30 9",
        "All 1,234,567 1,234,567 20 72 60 18",
        "1 0.1 50.0 % 45.6 % 0.0 % 10.0 % 1.5",
    ):
        assert words in text, words


def test_figures_stand_in_the_given_order_over_their_captions(page):
    words = ("Fig. 2b", "Early-Bird", "equation 5")
    names = ("layer_rates", "mask_distance", "weight_std")
    text = visible(page(REPORT, names=names))
    places = [text.index(caption_of(name)) for name in names]
    assert places == sorted(places)
    assert all(word in caption_of(name) for word, name in zip(words, names, strict=True))
    assert caption_of("ppr") not in text


def test_page_needs_no_other_file_and_no_network(page):
    text = page(REPORT)
    assert "http:" not in text and "https:" not in text
    assert "<script" not in text and "@import" not in text and "url(" not in text
    links = re.findall(r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", text)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert base64.b64encode(PNG).decode() in text


def test_page_suits_phones_and_dark_screens(page):
    text = page(REPORT)
    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text
    assert "max-width: 100%" in text


def test_hostile_words_stay_words(page):
    hostile = "<script>alert('x')</script>"
    report = changed(start_reason=hostile, command=hostile, config={hostile: hostile})
    report.environment = {hostile: hostile}
    report.ticket.layers[0].name = hostile
    text = page(report)
    assert "<script" not in text
    assert html.unescape(text).count(hostile) >= 6


def test_page_can_be_written_of_a_run_without_probes(page):
    text = visible(page(changed(dense=None, start_epoch=None, probe={}), [], {}))
    assert "No probe was made." in text and "Dense accuracy –" in text


def test_an_older_page_is_replaced(page):
    page(REPORT)
    assert "77.7 %" in page(changed(dense={"test_accuracy": 0.777, "epochs": 60})).replace(
        "\u00a0", " "
    )


@pytest.fixture
def words(page):
    """Returns a function that gives what a reader sees on the page of a report."""
    return lambda report: visible(page(report)).replace("\u00a0", " ")


def test_summary_is_three_sentences_with_the_comparison(words):
    assert (
        "The ticket reaches 91.4 % test accuracy, 0.3 points below the dense network's 91.7 %. "
        "Of the prunable weights 80.0 % are zero, and pruning started at epoch 3: "
        "the last 3 probes differ by less than 0.5 points. "
        "With its probes it took 60.3 epochs of training, 5.0 % of the 1,206.0 that iterative "
        "pruning takes for the same sparsity. Ticket accuracy"
    ) in words(REPORT)
    detailed = changed(start_reason="no saturation seen (94.4 % at epoch 3).")
    assert "epoch 3: no saturation seen. With its probes" in words(detailed)
    free = changed(cost=VALUES["cost"] | {"iterative_pruning_epochs": 0.0})
    assert "it took 60.3 epochs of training. Ticket accuracy" in words(free)


@pytest.mark.parametrize(
    ("dense", "relation"),
    [(0.9, "1.4 points above"), (0.9136, "the same as"), (0.92, "0.6 points below")],
)
def test_summary_names_the_direction_of_the_difference(words, dense, relation):
    report = changed(dense={"test_accuracy": dense, "epochs": 60})
    assert f"test accuracy, {relation} the dense network's" in words(report)


def test_summary_compares_with_nothing_where_no_dense_network_was_trained(words):
    assert "no dense network was trained" in words(changed(dense=None))
    undecided = words(changed(start_epoch=None, start_reason=""))
    assert "no start epoch for pruning was chosen. With" in undecided


def test_notes_say_what_the_numbers_do_not_show(words):
    found = words(changed(dense=None, decision={"detected": False}, notes=["JPEG data"]))
    for note in ("not found by the probes", "No dense baseline", "calculated", "JPEG data"):
        assert note in found
    found = words(changed(decision={"detected": True}))
    assert "not found by the probes" not in found and "No dense baseline" not in found
    measured = changed(cost=VALUES["cost"] | {"iterative_pruning_source": "measured"})
    assert "calculated" not in words(measured)
    assert "says nothing about an early ticket" in words(changed(start_epoch=None))


def test_numbers_are_written_for_people():
    assert percent(0.12345) == "12.3\u00a0%"
    assert percent(None) == percent(float("nan")) == percent("") == "–"
    assert percent(0.12345, 2, sign="") == "12.35" and percent(None, sign="") == "–"
    assert points(-0.0041) == "0.4 points"
    assert count(1234567) == "1,234,567" and count(None) == "–"
    assert duration(12.34) == "12.3 s" and duration(61) == "1 min 1 s"
    assert short(0.10000000149011612) == "0.1" and short(None) == "–"
