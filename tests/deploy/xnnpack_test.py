"""The rules of sparse inference, on literals and on converted networks that keep or break them."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.deploy.xnnpack import Operation, broken_rules, read_operations
from tf_earlyticket.errors import InputError

ONES = (1, 1, 1, 1)
FIRST = Operation("CONV_2D", "first", (-1,), (3, 3), 2, 3, ONES, 5, 100)
ONE = Operation("CONV_2D", "one", (0,), (1, 1), 1, 8, (0, 0, 0, 0), 70, 100)
DEPTHWISE = Operation("DEPTHWISE_CONV_2D", "depthwise", (1,), (3, 3), 2, 8, ONES, 0, 9)
ADD = Operation("ADD", "add", (1, 2))
MEAN = Operation("MEAN", "mean", (3,), whole_picture=True)
NETWORK = [FIRST, ONE, DEPTHWISE, ADD, MEAN]


def test_a_network_that_keeps_all_rules_is_sparse():
    assert broken_rules(NETWORK) == []


@pytest.mark.parametrize(
    ("place", "change", "told"),
    [
        (0, {"padding": None}, "rule 1: the first convolution, first, is CONV_2D 3x3, stride 2"),
        (0, {"channels": 1}, "rule 1: the first convolution"),
        (1, {"kernel": (3, 3), "padding": ONES}, "rule 2: one is CONV_2D 3x3, stride 1"),
        (2, {"padding": (0, 1, 0, 1)}, "rule 2: depthwise is DEPTHWISE_CONV_2D 3x3, stride 2"),
        (3, {"inputs": (1, -1)}, "rule 2: add is ADD"),
        (3, {"kind": "MAX_POOL_2D"}, "rule 2: add is MAX_POOL_2D"),
        (4, {"whole_picture": False}, "rule 2: mean is MEAN"),
        (1, {"zeros": 66}, "rule 4: 66 of 100 weights of 1x1 convolutions are zero"),
    ],
)
def test_each_rule_is_named(place, change, told):
    network = list(NETWORK)
    network[place] = dataclasses.replace(network[place], **change)
    assert broken_rules(network)[0].startswith(told)


def test_what_does_not_end_and_what_does_not_begin():
    assert broken_rules(NETWORK[:-1]) == ["rule 3: no mean over the picture follows"]
    assert broken_rules([Operation("FULLY_CONNECTED", "logits", (-1,))]) == [
        "rule 1: there is no convolution"
    ]


@given(st.integers(0, 300), st.integers(1, 300))
def test_more_than_two_thirds_have_to_be_zero(zeros, weights):
    network = [FIRST, dataclasses.replace(ONE, zeros=zeros, weights=weights), *NETWORK[2:]]
    assert (broken_rules(network) == []) == (3 * zeros > 2 * weights)


def _file(path, layers, share=0.8, optimizations=(), representative=None):
    """Writes the TFLite file of a network with so many zeros in each kernel of 1x1."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((16, 16, 3), 1), *layers])
    for layer in model.layers:
        if getattr(layer, "kernel_size", None) == (1, 1):
            kernel = layer.kernel.numpy()
            kernel[np.abs(kernel) <= np.quantile(np.abs(kernel), share)] = 0
            layer.kernel.assign(kernel)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations, converter.representative_dataset = list(optimizations), representative
    path.write_bytes(converter.convert())
    return path


def _network(padding="explicit", pool=None):
    layers = keras.layers
    begin = [layers.Conv2D(8, 3, 2, "same", name="stem")]
    if padding == "explicit":
        begin = [layers.ZeroPadding2D(1), layers.Conv2D(8, 3, 2, name="stem")]
    return [
        *begin,
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.Conv2D(16, 1, activation="relu"),
        *([] if pool is None else [pool]),
        layers.DepthwiseConv2D(3, 1, "same"),
        layers.ZeroPadding2D(1),
        layers.DepthwiseConv2D(3, 2),
        layers.Conv2D(16, 1),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4),
    ]


@pytest.mark.parametrize("sparse", [False, True], ids=["stored_dense", "stored_sparse"])
def test_a_converted_network_that_keeps_all_rules(tmp_path, sparse):
    kinds = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if sparse else []
    operations = read_operations(_file(tmp_path / "a.tflite", _network(), 0.8, kinds))
    assert broken_rules(operations) == []
    one = next(found for found in operations if found.kernel == (1, 1))
    assert one.weights == 8 * 16 and one.zeros > 0.75 * one.weights


def test_converted_networks_that_break_a_rule(tmp_path):
    file = tmp_path / "a.tflite"
    for layers, share, told in [
        (_network("same"), 0.8, "rule 1: the first convolution"),
        (_network(pool=keras.layers.MaxPooling2D()), 0.8, "rule 2: "),
        (_network(), 0.5, "rule 4: "),
    ]:
        broken = broken_rules(read_operations(_file(file, layers, share)))
        assert len(broken) == 1 and broken[0].startswith(told)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"something else")
    with pytest.raises(InputError, match="expected a TFLite file of float weights"):
        read_operations(path)

    def calibration():
        yield [np.zeros((1, 16, 16, 3), np.float32)]

    _file(path, _network(), 0.8, [tf.lite.Optimize.DEFAULT], calibration)
    with pytest.raises(InputError, match="weights of integers, which XNNPACK never runs sparse"):
        read_operations(path)


def test_the_program_names_the_rule(tmp_path):
    file = _file(tmp_path / "a.tflite", _network("same"))
    command = [sys.executable, "-m", "tf_earlyticket.inspect", file, "--xnnpack"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sparse inference by XNNPACK: rule 1: the first conv" in done.stdout
