"""TFMOT's own tools work on a wrapped model."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from tensorflow_model_optimization.sparsity.keras import (
    ConstantSparsity,
    PruningSummaries,
    UpdatePruningStep,
    prune_scope,
    strip_pruning,
)

from tf_earlyticket.backends import backend_of, pruned, wrap_for_pruning
from tf_earlyticket.backends.tf_keras.compat import PruneLowMagnitude, collect_prunable_layers
from tf_earlyticket.backends.tf_keras.wrapper import MaskedPruneLowMagnitude


def test_wrappers_are_tfmots_wrappers(pruned_model):
    found = collect_prunable_layers(pruned_model)
    assert [wrapper.layer.name for wrapper in found] == ["conv2", "dense1"]
    assert all(isinstance(wrapper, PruneLowMagnitude) for wrapper in found)
    # TFMOT's tools read these.
    for wrapper in found:
        ((weight, mask, threshold),) = wrapper.pruning_vars
        assert weight is wrapper.layer.kernel
        assert float(threshold) == np.abs(weight.numpy()[mask.numpy() > 0]).min().round(0) or (
            float(threshold) > 0
        )


def test_strip_pruning_gives_the_same_predictions(pruned_model, images):
    before = pruned_model(images[0]).numpy()
    stripped = strip_pruning(pruned_model)
    np.testing.assert_array_equal(stripped(images[0]), before)
    assert not any(isinstance(layer, PruneLowMagnitude) for layer in stripped.layers)
    weights = backend_of(stripped).named_weights(stripped)
    for name, mask in pruned(pruned_model).masks().items():
        np.testing.assert_array_equal(weights[name].numpy() != 0, mask)


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_prune_scope_loads_a_saved_model(name, pruned_model, images, tmp_path):
    pruned_model.save(tmp_path / name)
    with prune_scope():
        loaded = keras.models.load_model(tmp_path / name)
    np.testing.assert_array_equal(loaded(images[0]), pruned_model(images[0]))
    assert isinstance(loaded.get_layer("masked_prune_low_magnitude_conv2"), MaskedPruneLowMagnitude)


def test_callbacks_run_beside_ours_and_change_no_mask(pruned_model, images, tmp_path):
    adapter = pruned(pruned_model)
    masks, step = adapter.masks(), adapter.step()
    callbacks = [UpdatePruningStep(), PruningSummaries(log_dir=str(tmp_path))]
    pruned_model.fit(*images, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
    assert adapter.violations() == 0
    for name, mask in adapter.masks().items():
        np.testing.assert_array_equal(mask, masks[name])
    pruning_step = collect_prunable_layers(pruned_model)[0].pruning_step
    assert int(pruning_step) != step
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_stock_schedules_do_not_prune_inside_the_step(make_cnn, compiled, images):
    model = wrap_for_pruning(make_cnn(), ConstantSparsity(0.5, 0, frequency=1))
    adapter = compiled(model)
    model.fit(*images, batch_size=8, verbose=0, callbacks=[UpdatePruningStep()])
    assert all(mask.all() for mask in adapter.masks().values())
    assert tf.reduce_all(model(images[0]) == model(images[0]))
