"""Keras 3 models, on the TensorFlow and the JAX backend."""
