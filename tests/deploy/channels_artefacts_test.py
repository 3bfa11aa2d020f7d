"""Every format of a ticket of whole channels is of the small network; needs the extra `bench`."""

from importlib.util import find_spec

import numpy as np
import pytest
from small_ticket import plain_network, write_ticket

import tf_earlyticket as et
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.deploy import artefacts
from tf_earlyticket.deploy.saved_model import Network

IMAGES = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
RUNTIMES = all(map(find_spec, ("tf2onnx", "onnx", "onnxruntime", "openvino")))
FORMATS = [
    name for name in artefacts.FORMATS if RUNTIMES or not name.startswith(("onnx", "openvino"))
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns the ticket, and what was made of it by format."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("channels")
    write_ticket(folder / "ticket", plain_network(), 0.5, structure="channels(multiple=4)")
    result = artefacts.make_artefacts(
        folder / "ticket", FORMATS, folder / "out", calibration=IMAGES, rounds=1
    )
    return folder / "ticket", {item["format"]: item for item in result["artefacts"]}


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_of_the_small_network(made, name):
    directory, found = made
    ticket = et.Ticket.load(directory)
    sizes = {
        small: sum(w.size for w in weights.values() if w.ndim > 1)
        for small, weights in ((True, ticket.small().final_weights), (False, ticket.final_weights))
    }
    assert sizes[True] < 0.55 * sizes[False]
    # Some formats have small tables of their own, such as a shape or a bias with two axes.
    assert sizes[True] <= found[name]["weights"] < 1.1 * sizes[True]
    # Dense within, and smaller than the dense network all the same.
    assert found[name]["zeros"] < 0.1 * sizes[True]
    assert found[name]["bytes_ratio"] < 0.85


def test_the_small_network_was_compared_with_the_masked_one(made):
    directory, found = made
    small, masked = (Network(directory / n)(IMAGES) for n in ("saved_model", "masked_model"))
    assert artefacts.relative_error(small, masked) < 1e-5
    assert found["saved_model"]["relative_error"] < 1e-6
