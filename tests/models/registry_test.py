import numpy as np
import pytest

import tf_earlyticket as et
from tf_earlyticket import models
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.errors import InputError
from tf_earlyticket.models import build_model, synchronized


def test_shape_classes_and_decay_reach_the_model():
    model = models.build_model("resnet8", (16, 16, 1), 4, weight_decay=0.0)
    assert model.input_shape == (None, 16, 16, 1)
    assert model.output_shape == (None, 4)
    assert not model.losses


def test_every_name_is_an_attribute_of_the_package():
    # Other tests may have registered networks of their own.
    own = [name for name in models.MODELS if name.startswith("resnet")]
    assert own and all(callable(getattr(models, name)) for name in own)
    with pytest.raises(AttributeError, match="resnet21"):
        _ = models.resnet21


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="name='resnet65'.*Did you mean 'resnet56'"):
        models.build_model("resnet65", (32, 32, 3), 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet20", (32, 32), 10), r"input_shape=\(32, 32\)"),
        (("resnet20", (4, 4, 3), 10), "at least 8"),
        (("resnet18", (16, 16, 3), 10), "at least 32"),
        (("resnet20", (32, 32, 3), 0), "num_classes=0"),
        (("resnet20", (32, 32, 3), 10, -1e-4), "weight_decay=-0.0001"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        models.build_model(*arguments)


def test_synchronized_batch_norm_stays_so_in_wrappers_and_computes_the_same():
    keras.utils.set_random_seed(0)
    plain = build_model("resnet8", (8, 8, 1), 10)
    model = synchronized(plain)
    wrapped = et.wrap_for_pruning(model)
    for network in (model, wrapped, et.strip_pruning(wrapped)):
        norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert norms and all(norm.synchronized for norm in norms)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype("float32")
    np.testing.assert_allclose(model(images), plain(images), atol=1e-5)
    assert not any(
        x.synchronized for x in plain.layers if isinstance(x, keras.layers.BatchNormalization)
    )
