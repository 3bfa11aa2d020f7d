import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.paper.memorization import random_labels
from tf_earlyticket.pruning.select import global_masks


def wrapped_mlp(sparsity):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Dense(64, activation="relu", input_shape=(8,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(4),
        ]
    )
    model = et.wrap_for_pruning(plain)
    adapter = pruned(model)
    adapter.set_masks(global_masks(adapter.weights(), sparsity))
    return model


def test_a_sparser_network_memorizes_less_and_stays_as_it_was():
    images = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    capacities = []
    for sparsity in (0.0, 0.98):
        model = wrapped_mlp(sparsity)
        before = [weight.copy() for weight in model.get_weights()]
        capacities.append(
            et.memorization_capacity(model, images, num_classes=4, epochs=60, batch_size=50, seed=3)
        )
        for left, right in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(left, right)
    assert capacities[0] > 0.9
    assert capacities[1] < capacities[0] - 0.2


def test_the_label_of_an_example_does_not_depend_on_how_many_there_are():
    np.testing.assert_array_equal(random_labels(50, 10, 7), random_labels(500, 10, 7)[:50])
    assert (random_labels(500, 10, 7) != random_labels(500, 10, 8)).any()


@pytest.mark.parametrize(
    ("argument", "value"), [("num_classes", 1), ("epochs", 0), ("batch_size", 0)]
)
def test_numbers_out_of_range_are_named(argument, value):
    arguments = {"num_classes": 4, argument: value}
    with pytest.raises(ValueError, match=argument):
        et.memorization_capacity(wrapped_mlp(0.5), np.zeros((4, 8), np.float32), **arguments)
