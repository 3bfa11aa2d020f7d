"""The only module that imports Keras 3, and knows its private names.

A process has one backend, which Keras reads from KERAS_BACKEND when it is imported first.
"""

import keras
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.models import Functional

BACKEND = keras.backend.backend()

__all__ = ["BACKEND", "Functional", "get_global_attribute", "keras"]
