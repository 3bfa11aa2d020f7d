"""Each check on results in which its claim holds, and on results in which it does not."""

import numpy as np
import pytest

from tf_earlyticket.paper.item import check_claims

TRAIN = {
    "epochs": 20,
    "drop_epochs": [12, 16],
    "drop_factor": 0.1,
    "learning_rate": 0.1,
    "weight_decay": 1e-4,
    "momentum": 0.9,
}


def results(summary, **more):
    config = {"train": TRAIN, "pruning": {"final_sparsity": 0.8}}
    dense = {"0": {"test_accuracy": 0.9}}
    return {"config": config, "dense": dense, "summary": summary, **more}


def ticket(s, v, accuracy, control="none", mode="one_shot"):
    return {
        "mask_epoch": s,
        "rewind_epoch": v,
        "control": control,
        "mode": mode,
        "test_accuracy_mean": accuracy,
    }


def layers(std, rates):
    """Returns rows of Fig. 2 from functions of (epoch, layer)."""
    return [
        {
            "epoch": epoch,
            "layer": layer,
            "weight_std_mean": std(epoch, layer),
            "pruning_rate_mean": rates(epoch, layer),
        }
        for epoch in range(21)
        for layer in (1, 2, 3)
    ]


def lawful(epoch, layer):
    """W_std that goes each layer's own way until epoch 12 and then shrinks by eq. 5."""
    if epoch <= 12:
        return 1 + 0.01 * layer * epoch
    # 100 steps an epoch at rate 0.01: 1e-3 of it each epoch.
    return (1 + 0.12 * layer) * (1 - 1e-3 * (epoch - 12))


def probes(small, large):
    rows = []
    for rate, accuracy in ((0.1, large), (0.01, small)):
        rows += [
            {"learning_rate": rate, "epoch": e, "ppr_accuracy_mean": accuracy(e)}
            for e in range(1, 21)
        ]
    return results(rows, grid={"learning_rates": [0.1, 0.01]})


def capacities(key, table):
    return results(
        [
            {key: value, "examples": n, "capacity_mean": capacity}
            for value, cells in table.items()
            for n, capacity in cells.items()
        ]
    )


def shots(**capacity_by_epoch):
    return results(
        [
            {"mask_epoch": epoch, "mode": mode, "examples": 100, "capacity_mean": capacity}
            for mode, cells in capacity_by_epoch.items()
            for epoch, capacity in cells.items()
        ]
    )


def distances(half_to_end):
    pairs = [(a, b) for a in (10, 20) for b in (10, 20)]
    return results([{"a": a, "b": b, "distance_mean": half_to_end * (a != b)} for a, b in pairs])


def starts(one_shot, gradual):
    rows = [ticket(s, 0, a) for s, a in one_shot.items()]
    return results(rows + [ticket(s, 0, a, mode="gradual") for s, a in gradual.items()])


def costs(own_epochs, own, iterative):
    rows = (("dense", 20, 0.9), ("early_ticket", own_epochs, own), ("iterative", 100, iterative))
    return results([{"method": m, "epochs_mean": e, "test_accuracy_mean": a} for m, e, a in rows])


GOOD_TICKETS = [ticket(4, 1, 0.80), ticket(10, 1, 0.895), ticket(20, 1, 0.9), ticket(20, 20, 0.9)]
CONTROLS = [ticket(10, 1, 0.85, "random"), ticket(10, 1, 0.86, "shuffled")]


@pytest.mark.parametrize(
    ("item", "words", "good", "bad"),
    [
        (
            "fig1",
            "Every ticket",
            results(GOOD_TICKETS),
            results([ticket(10, 1, 0.87), ticket(20, 20, 0.9)]),
        ),
        (
            "fig1",
            "Accuracy falls",
            results(GOOD_TICKETS),
            results([ticket(4, 1, 0.9), ticket(10, 1, 0.9)]),
        ),
        (
            "fig1",
            "controls",
            results(GOOD_TICKETS + CONTROLS),
            results([*GOOD_TICKETS, *CONTROLS, ticket(10, 1, 0.9, "reinitialized")]),
        ),
        (
            "fig2",
            "settle",
            results(layers(lawful, lambda e, n: 0.1 * n * min(e, 10) / 10), steps_per_epoch=100),
            results(layers(lawful, lambda e, n: 0.1 * n * e / 20), steps_per_epoch=100),
        ),
        (
            "fig2",
            "parallel",
            results(layers(lawful, lambda e, n: 0.5), steps_per_epoch=100),
            results(layers(lambda e, n: 1 + 0.01 * n * e, lambda e, n: 0.5), steps_per_epoch=100),
        ),
        (
            "fig2",
            "eq. 5",
            results(layers(lawful, lambda e, n: 0.5), steps_per_epoch=100),
            results(layers(lambda e, n: 1 + 0.01 * n * e, lambda e, n: 0.5), steps_per_epoch=100),
        ),
        (
            "fig3",
            "0.159",
            distances(0.15),
            distances(0.05),
        ),
        (
            "fig4",
            "rises until",
            probes(lambda e: 0.5 + 0.03 * min(e, 10), lambda e: 0.7),
            probes(lambda e: 0.5 + 0.015 * e, lambda e: 0.7),
        ),
        (
            "fig4",
            "no difference",
            probes(lambda e: 0.5 + 0.015 * e, lambda e: 0.7 + 0.001 * e),
            probes(lambda e: 0.5 + 0.015 * e, lambda e: 0.6 + 0.015 * e),
        ),
        (
            "fig5",
            "memorize less",
            capacities("mask_epoch", {2: {100: 0.9, 200: 0.5}, 20: {100: 0.9, 200: 0.6}}),
            capacities("mask_epoch", {2: {100: 0.9, 200: 0.6}, 20: {100: 0.7, 200: 0.7}}),
        ),
        (
            "fig5",
            "alike",
            capacities("mask_epoch", {12: {100: 0.9}, 20: {100: 0.91}}),
            capacities("mask_epoch", {12: {100: 0.8}, 20: {100: 0.91}}),
        ),
        (
            "fig6",
            "rises until",
            probes(lambda e: 0.5 + 0.03 * min(e, 10), lambda e: 0.7),
            probes(lambda e: 0.5, lambda e: 0.7),
        ),
        (
            "table1",
            "Four shots",
            shots(one_shot={2: 0.9, 8: 0.5}, gradual={2: 0.9, 8: 0.6}),
            shots(one_shot={2: 0.5, 8: 0.6}, gradual={2: 0.9, 8: 0.6}),
        ),
        (
            "table2",
            "start earlier",
            starts({4: 0.8, 8: 0.85, 12: 0.9}, {4: 0.85, 8: 0.9, 12: 0.9}),
            starts({4: 0.8, 8: 0.9}, {4: 0.8, 8: 0.9}),
        ),
        (
            "table3",
            "are better",
            starts({4: 0.8, 8: 0.85}, {4: 0.85, 8: 0.9}),
            starts({4: 0.8, 8: 0.9}, {4: 0.8, 8: 0.85}),
        ),
        ("table4", "22 %", costs(22, 0.9, 0.9), costs(30, 0.9, 0.9)),
        ("table4", "as accurate", costs(22, 0.895, 0.9), costs(22, 0.85, 0.9)),
        (
            "table5",
            "groups",
            capacities("group_size", {1: {100: 0.9}, 4: {100: 0.8}, 16: {100: 0.7}}),
            capacities("group_size", {1: {100: 0.9}, 4: {100: 0.7}, 16: {100: 0.9}}),
        ),
    ],
)
def test_a_claim_holds_or_does_not(item, words, good, bad):
    for given, held in ((good, True), (bad, False)):
        (claim,) = [c for c in check_claims({item: given}) if words in c["claim"]]
        assert claim["held"] is held, claim
        assert claim["item"] == item and claim["ours"]


def test_grouped_tickets_are_compared_with_single_weights_where_both_are_there():
    single = results([ticket(10, 1, 0.9), ticket(20, 1, 0.9)])
    grouped = results([ticket(10, 1, 0.8), ticket(4, 1, 0.7)])
    assert not check_claims({"fig8": grouped})
    (claim,) = [c for c in check_claims({"fig1": single, "fig8": grouped}) if c["item"] == "fig8"]
    assert claim["held"] and "over 1 shared tickets" in claim["ours"] and "-10.0" in claim["ours"]


@pytest.mark.parametrize(
    "item",
    ["fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "table1", "table2", "table4", "table5"],
)
def test_nothing_is_said_where_nothing_is_finished(item):
    empty = results([], grid={"learning_rates": [0.1, 0.01]}, steps_per_epoch=10)
    assert check_claims({item: empty}) == []


def test_what_is_said_can_be_written_as_json():
    (claim, *_) = check_claims({"fig1": results(GOOD_TICKETS)})
    assert isinstance(claim["held"], bool) and not isinstance(claim["held"], np.bool_)
