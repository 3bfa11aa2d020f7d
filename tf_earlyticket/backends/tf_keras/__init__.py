"""tf_keras (Keras 2) models in TFMOT pruning wrappers."""
