"""MLPerf Tiny's networks have the parameters that are published of its references."""

import numpy as np
import pytest
from tiny_networks import NETWORKS

import tf_earlyticket as et


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds", "outputs"),
    [
        ("resnet8", 78_666, 12_501_632, 10),
        ("ds_cnn", 24_908, 2_656_768, 12),
        ("mobilenet", 221_794, 7_489_664, 2),
        ("autoencoder", 269_992, 264_192, 640),
    ],
)
def test_the_network_is_as_large_as_published(name, parameters, multiply_adds, outputs):
    model = NETWORKS[name]()
    assert model.output_shape == (None, outputs)
    assert model.count_params() == parameters
    graph = et.channel_graph(model)
    assert (graph.parameters(), graph.multiply_adds()) == (parameters, multiply_adds)


def test_a_network_trains_by_its_name_in_the_command():
    model = et.models.build_model("tiny_resnet8", (32, 32, 3), 10)
    assert np.isfinite(model(np.ones((2, 32, 32, 3), np.float32))).all()
