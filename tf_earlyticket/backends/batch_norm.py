"""Statistics of BatchNorm estimated anew, for any Keras; none is imported."""

import contextlib
from collections.abc import Callable

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of
from tf_earlyticket.backends.layers import (
    as_computed,
    called_as,
    layers_inside,
    recurrent_states,
)
from tf_earlyticket.backends.probe_data import probe_dataset
from tf_earlyticket.errors import InputError


def recalibrate_batch_norm(
    model, data, batches: int = 100, *, batch_size: int | None = None
) -> int:
    """Estimates the statistics of BatchNorm layers anew, from the present weights.

    In training they are moving averages over steps whose weights were others, and whose masks may
    have been. Here, as in "PreciseBN" (Wu & Johnson, 2021), each layer's mean and variance become
    those of all values that reach it in some batches of training data, while every layer before it
    normalizes by the statistics of the batch. All else works as in use: no dropout, no update of a
    weight, and stateful recurrent layers remember what they did. Layers that are frozen keep
    theirs. It costs a forward pass over the batches.

    Args:
        model: Any model of tf_keras or Keras 3, wrapped for pruning or not, compiled or not.
        data: Training data, in any form that `fit` takes.
        batches: How many of them, >= 1; fewer if the data have less.
        batch_size: Of arrays; None: 32, as in `fit`.

    Returns:
        The number of layers whose statistics are new: 0 of a model without BatchNorm.

    Raises:
        InputError: A value is out of range, the data are empty, or what reaches a layer is not
            finite; the statistics are then as before.

    Example:
        >>> model.fit(train, epochs=60, callbacks=[et.EarlyTicket(train, val)])
        >>> et.recalibrate_batch_norm(model, train, batches=100)
    """
    checks.integer("batches", batches, 1)
    read = probe_dataset(data, "data", batch_size=batch_size)
    backend = backend_of(model)
    layers = [layer for layer in layers_inside(model) if _adapts(layer)]
    layers = list({id(layer): layer for layer in layers}.values())
    if not layers:
        return 0
    # Within an epoch JAX keeps the state of the training step to itself.
    getattr(model, "jax_state_sync", lambda: None)()
    before = [_statistics(layer) for layer in layers]
    remembered = [(state, np.array(state)) for state in recurrent_states(model)]
    found = [_Moments() for _ in layers]
    after = None
    try:
        with contextlib.ExitStack() as stack:
            for layer, moments in zip(layers, found, strict=True):
                stack.enter_context(called_as(layer, _measuring(layer, moments)))
            for batch in as_computed(model, read()).take(batches):
                inputs = backend.keras.utils.unpack_x_y_sample_weight(batch)[0]
                if backend.computes_with != "tensorflow":
                    inputs = backend.keras.tree.map_structure(np.asarray, inputs)
                model(inputs, training=False)
        if not all(moments.count for moments in found):
            raise InputError("data reach a BatchNorm layer in no batch: expected at least one.")
        after = [moments.result() for moments in found]
    finally:
        for layer, values in zip(layers, after or before, strict=True):
            _assign(layer, values)
        for state, values in remembered:
            state.assign(values)
    return len(layers)


def _adapts(layer) -> bool:
    return hasattr(layer, "moving_mean") and hasattr(layer, "moving_variance") and layer.trainable


def _statistics(layer) -> tuple[np.ndarray, np.ndarray]:
    return np.array(layer.moving_mean), np.array(layer.moving_variance)


def _assign(layer, values: tuple[np.ndarray, np.ndarray]) -> None:
    for variable, value in zip((layer.moving_mean, layer.moving_variance), values, strict=True):
        variable.assign(value.astype(np.float32))


class _Moments:
    """Mean and variance of all values so far, per channel."""

    def __init__(self) -> None:
        self.count, self._mean, self._squares = 0, np.zeros(()), np.zeros(())

    def add(self, values: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Adds the values of a batch; returns their own mean and variance."""
        values = values.astype(np.float32, copy=False)
        mean = values.mean(axes, dtype=np.float64)
        variance = values.var(axes, dtype=np.float64)
        if not np.isfinite(variance).all():
            raise InputError("What reaches a BatchNorm layer is not finite: expected numbers.")
        count = values.size // mean.size
        total, apart = self.count + count, mean - self._mean
        # Chan et al.'s way to pool: no difference of large sums.
        shared = apart**2 * (self.count * count / total)
        self._squares = self._squares + variance * count + shared
        self._mean = self._mean + apart * (count / total)
        self.count = total
        return mean, variance

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and variance."""
        return self._mean, self._squares / self.count


def _measuring(layer, moments: _Moments) -> Callable:
    """Returns a call that normalizes by the statistics of its batch, and collects them."""
    call = layer.call
    kept = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]

    def measure(inputs, *arguments, **options):
        values, mask = np.asarray(inputs), options.get("mask")
        axes = [axis % values.ndim for axis in kept]
        others = tuple(axis for axis in range(values.ndim) if axis not in axes)
        if mask is not None:
            values, others = values[np.asarray(mask)], (0,)
        if values.size:
            _assign(layer, moments.add(values, others))
        return call(inputs, *arguments, **options)

    return measure
