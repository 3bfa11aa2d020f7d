"""The accuracy when one layer alone is pruned, under every Keras."""

import json
import logging

import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.analysis.sensitivity import Sensitivity
from tf_earlyticket.backends import pruned
from tf_earlyticket.errors import InputError


@pytest.fixture
def trained(network, compiled, examples):
    model = compiled(network())
    model.fit(*examples, epochs=6, batch_size=16, verbose=0)
    return model


def test_each_layer_alone_and_the_model_stays_as_it_is(trained, examples, data, caplog):
    before = trained.get_weights()
    with caplog.at_level(logging.INFO, "tf_earlyticket"):
        found = et.sensitivity(trained, examples, (0.5, 0.99), batch_size=32)
    for one, other in zip(before, trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(found) == ["middle/kernel", "last_conv/kernel"]
    assert found.sizes == {"middle/kernel": 288, "last_conv/kernel": 576}
    wanted = trained.evaluate(*examples, verbose=0, return_dict=True)["accuracy"]
    assert found.dense == pytest.approx(wanted, abs=1e-6)
    assert all(set(values) == {0.5, 0.99} for values in found.values())
    assert any(values[0.99] != found.dense for values in found.values())
    assert "2 of 2: last_conv/kernel, accuracy" in caplog.text and "s left" in caplog.text
    again = Sensitivity.from_json(found.to_json())
    assert dict(again) == dict(found) and again.dense == found.dense and again.sizes == found.sizes


def test_by_hand_with_a_wrapped_model_and_after_retraining(trained, compiled, examples, data):
    train, val = data
    model = compiled(et.wrap_for_pruning(trained, et.EarlyTicketPolynomialDecay(0.5)))
    adapter = pruned(model)
    found = et.sensitivity(model, val, (0.9,), verbose=0)
    weights = adapter.weights()
    kernel = weights["last_conv/kernel"]
    cut = np.sort(np.abs(kernel).ravel())[-58]
    masks = {name: np.ones(weight.shape, bool) for name, weight in weights.items()}
    masks["last_conv/kernel"] = np.abs(kernel) >= cut
    with adapter.sandbox():
        adapter.set_masks(masks)
        wanted = adapter.evaluate(val)["accuracy"]
    assert found["last_conv/kernel"][0.9] == wanted
    retrained = et.sensitivity(model, val, (0.9,), train, steps=6, learning_rate=0.05, verbose=0)
    assert retrained["last_conv/kernel"][0.9] >= wanted
    assert all(mask.all() for mask in adapter.masks().values())
    for name, weight in adapter.weights().items():
        np.testing.assert_array_equal(weight, weights[name])


def test_families_of_channels(trained, examples):
    found = et.sensitivity(trained, examples, (0.5,), structure="channels", verbose=0)
    assert found.sizes == {"stem/kernel": 4, "middle/kernel": 8, "last_conv/kernel": 8}


def test_scores_that_look_at_data_get_them(trained, compiled, examples, data):
    train, val = data
    schedule = et.EarlyTicketPolynomialDecay(0.5)
    ranking = "global(score='taylor')"
    model = compiled(et.wrap_for_pruning(trained, schedule, ranking=ranking))
    found = et.sensitivity(model, val, (0.9,), train, steps=1, verbose=0)
    assert set(found) == {"middle/kernel", "last_conv/kernel"}
    # And are forgotten.
    assert pruned(model).score_data is None


def test_of_a_loss_more_is_worse(trained, examples):
    found = et.sensitivity(trained, examples, (0.99,), monitor="loss", verbose=0)
    worst = max(found, key=lambda layer: found[layer][0.99])
    assert max(found.losses, key=lambda layer: found.losses[layer][0.99]) == worst
    assert found.losses[worst][0.99] == found[worst][0.99] - found.dense
    with pytest.raises(InputError, match="monitor='magic': expected a metric whose name tells"):
        Sensitivity({"a": {0.5: 1.0}}, 0.0, {"a": 3}, "magic").losses  # noqa: B018


def test_budgets_of_another_network_or_of_too_little_are_refused_at_once(network, tmp_path):
    file, schedule = tmp_path / "budgets.json", et.EarlyTicketPolynomialDecay(0.5)
    ranking = f"budgets(file={str(file)!r})"
    for budgets, words in (
        ({"middle/kernel": 0.5}, "'last_conv/kernel' is in one of both alone"),
        ({"middle/kernel": 0.3, "last_conv/kernel": 0.3}, "sparsity=0.5: expected at most 0.29"),
    ):
        file.write_text(json.dumps({"budgets": budgets}))
        with pytest.raises(InputError, match=words):
            et.wrap_for_pruning(network(), schedule, ranking=ranking)


def test_what_is_refused(trained, network, examples):
    with pytest.raises(InputError, match="sparsities=1.0: expected"):
        et.sensitivity(trained, examples, (0.5, 1.0))
    with pytest.raises(InputError, match=r"sparsities=\[\]: expected at least one"):
        et.sensitivity(trained, examples, ())
    for argument, value in (("steps", 0), ("steps", -1), ("batches", 0), ("learning_rate", -0.1)):
        with pytest.raises(InputError, match=f"{argument}={value}: expected"):
            et.sensitivity(trained, examples, (0.5,), examples, **{argument: value})
    with pytest.raises(InputError, match="monitor='acuracy'.*Did you mean 'accuracy'"):
        et.sensitivity(trained, examples, monitor="acuracy")
    with pytest.raises(InputError, match="not compiled"):
        et.sensitivity(network(), examples)
