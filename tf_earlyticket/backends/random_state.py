"""The state of Python's, NumPy's and, where it is in use, TensorFlow's random numbers."""

import random
import sys

import numpy as np


class RandomState:
    """A copy of the present state."""

    def __init__(self):
        self._numpy = np.random.get_state()
        self._python = random.getstate()
        self._operation_seeds = None
        if "tensorflow" in sys.modules:
            from tensorflow.python.eager import context

            # Absent until tf.random.set_seed is called.
            self._operation_seeds = getattr(context.context(), "_rng", None)
        if self._operation_seeds is not None:
            self._operation_state = self._operation_seeds.getstate()

    def restore(self) -> None:
        """Puts the state back. May be called more than once."""
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        if self._operation_seeds is not None:
            self._operation_seeds.setstate(self._operation_state)
