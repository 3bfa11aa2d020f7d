"""The same network and data give the same ticket in every form that `fit` takes."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

import tf_earlyticket as et
from tf_earlyticket.backends import pruned
from tf_earlyticket.errors import InputError


@pytest.fixture
def sequence(keras, examples):
    """A `Sequence` or `PyDataset` of batches of 16."""
    base = getattr(keras.utils, "PyDataset", None) or keras.utils.Sequence

    class Batches(base):
        def __init__(self):
            super().__init__()
            self.ends = 0

        def __len__(self):
            return 6

        def __getitem__(self, place):
            part = slice(16 * place, 16 * place + 16)
            return examples[0][part], examples[1][part]

        def on_epoch_end(self):
            self.ends += 1

    return Batches()


def trained(network, compiled, train, val, fitted, **options):
    model = compiled(et.wrap_for_pruning(network(), et.EarlyTicketPolynomialDecay(0.5)))
    callback = et.EarlyTicket(train, val, verbose=0, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(**fitted, epochs=5, verbose=0, shuffle=False, callbacks=[callback])
    return model, callback


def in_order(examples, batch_size=16):
    return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)


def test_arrays_and_data_sets_give_the_same_ticket(network, compiled, examples):
    # The order that a probe takes arrays in.
    order = np.random.default_rng(2026).permutation(96)
    shuffled = in_order(tuple(part[order] for part in examples))
    held_out = tuple(part[:32] for part in examples)
    found = [
        trained(
            network,
            compiled,
            train,
            val,
            {"x": in_order(examples)},
            batch_size=16,
        )
        for train, val in (
            (examples, held_out),
            (shuffled, in_order(held_out)),
            (lambda: shuffled, lambda: held_out),
        )
    ]
    (one, first), *others = found
    assert any(np.isfinite(r.observation.ppr_accuracy) for r in first.probe.results)
    for model, callback in others:
        assert callback.start_epoch == first.start_epoch
        for a, b in zip(first.probe.results, callback.probe.results, strict=True):
            assert a.observation.ppr_accuracy == pytest.approx(b.observation.ppr_accuracy, abs=0.07)
        for a, b in zip(one.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_training_on_arrays_with_a_part_held_out(network, compiled, examples):
    inputs, labels = examples
    fitted = {"x": inputs, "y": labels, "batch_size": 16, "validation_split": 0.25}
    model, callback = trained(
        network, compiled, examples, None, fitted, batch_size=16, validation_split=0.25
    )
    assert callback.probe.results
    masks = pruned(model).masks().values()
    assert sum(int(mask.sum()) for mask in masks) * 2 == sum(mask.size for mask in masks)
    with pytest.raises(InputError, match="validation_split=0.5: expected None beside"):
        et.EarlyTicket(examples, examples, validation_split=0.5)


def test_a_sequence_is_not_disturbed_and_gives_a_ticket(network, compiled, sequence, examples):
    held_out = tuple(part[:32] for part in examples)
    ends = []
    for read in (sequence, examples):
        sequence.ends = 0
        model, callback = trained(network, compiled, read, held_out, {"x": sequence})
        assert callback.probe.results
        ends.append(sequence.ends)
        assert np.mean([mask.mean() for mask in pruned(model).masks().values()]) < 0.7
    # By `fit` alone.
    assert ends[0] == ends[1]


def test_several_inputs_by_name_and_weights_of_examples(keras, compiled):
    layers = keras.layers
    one, two = keras.Input((4,), name="one"), keras.Input((3,), name="two")
    hidden = layers.Concatenate()([layers.Dense(8, name=f"of_{x.name}")(x) for x in (one, two)])
    hidden = layers.Dense(8, activation="relu", name="hidden")(hidden)
    plain = keras.Model({"one": one, "two": two}, layers.Dense(3, name="out")(hidden))
    random = np.random.RandomState(0)
    inputs = {"one": random.normal(size=(64, 4)), "two": random.normal(size=(64, 3))}
    labels, weights = random.randint(0, 3, 64), random.uniform(size=64)
    model = compiled(et.wrap_for_pruning(plain, et.EarlyTicketPolynomialDecay(0.5)))
    data = (inputs, labels, weights)
    callback = et.EarlyTicket(data, data, batch_size=16, verbose=0)
    model.fit(
        inputs, labels, sample_weight=weights, batch_size=16, epochs=4, verbose=0,
        callbacks=[callback],
    )  # fmt: skip
    masks = pruned(model).masks().values()
    assert sum(int(mask.sum()) for mask in masks) * 2 == sum(mask.size for mask in masks)


def test_batches_may_be_padded_each_to_its_own_length(keras, compiled):
    base = getattr(keras.utils, "PyDataset", None) or keras.utils.Sequence
    random = np.random.RandomState(0)

    class Padded(base):
        def __len__(self):
            return 4

        def __getitem__(self, place):
            shape = (8, 5 + place, 3)
            return random.normal(size=shape).astype(np.float32), np.arange(8, dtype=np.int32) % 3

    layers = keras.layers
    plain = keras.Sequential(
        [
            layers.Input((None, 3)),
            layers.Conv1D(4, 3, padding="same", name="first"),
            layers.Conv1D(4, 3, padding="same", name="second"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, name="logits"),
        ]
    )
    model = compiled(et.wrap_for_pruning(plain))
    probe = et.PPRProbe(Padded(), Padded(), epochs=[1], sparsity=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(Padded(), epochs=1, verbose=0, callbacks=[probe])
    assert np.isfinite(probe.results[0].observation.ppr_accuracy)


def test_what_keras_takes_is_no_reason_to_refuse(keras):
    from tf_earlyticket.backends.probe_data import check_first_batch

    layers = keras.layers
    model = keras.Sequential([layers.Input((1,)), layers.Dense(3, name="logits")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    model.compile("sgd", loss)
    inputs, labels = np.zeros(4, np.float32), np.array([0, 2, 255, 1], np.int32)
    check_first_batch(model, tf.data.Dataset.from_tensors((inputs, labels)), "train_data")
    labels[0] = 3
    with pytest.raises(InputError, match="labels from 1 to 3 in its first batch"):
        check_first_batch(model, tf.data.Dataset.from_tensors((inputs, labels)), "train_data")
    with pytest.raises(InputError, match="inputs of shape"):
        wrong = tf.data.Dataset.from_tensors((np.zeros((4, 2), np.float32), labels))
        check_first_batch(model, wrong, "train_data")
