"""The only module that chooses a Keras (Keras 2 as `tf_keras`, which TFMOT needs) and touches
names of TFMOT and tf_keras that have no public path."""

import tensorflow_model_optimization as tfmot
import tf_keras as keras
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import (
    PruneLowMagnitude,
    collect_prunable_layers,
)
from tf_keras.src.mixed_precision.autocast_variable import enable_auto_cast_variables

__all__ = [
    "PruneLowMagnitude",
    "PruneRegistry",
    "collect_prunable_layers",
    "enable_auto_cast_variables",
    "is_network",
    "keras",
    "tfmot",
]


def is_network(layer) -> bool:
    """Tells a network of layers from what is one layer, or a model of calls of its own."""
    return isinstance(layer, keras.Model) and layer._is_graph_network
