"""Sensitivity: the accuracy of a network when one layer alone is pruned."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_of, pruned, wrap_for_pruning
from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.backends.probe_data import check_first_batch, probe_dataset
from tf_earlyticket.callbacks.ppr_probe import is_better_larger
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.pruning.structures import Channels

logger = logging.getLogger(__name__)
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)


class Sensitivity(Mapping[str, Mapping[float, float]]):
    """What `et.sensitivity` found: {layer: {sparsity: value of the metric}}.

    Attributes:
        dense: The metric where no layer is pruned.
        sizes: Weights of each layer, or channels of each family.
        monitor: Name of the metric.
    """

    def __init__(
        self,
        values: Mapping[str, Mapping[float, float]],
        dense: float,
        sizes: Mapping[str, int],
        monitor: str = "accuracy",
    ):
        self._values = {layer: dict(found) for layer, found in values.items()}
        self.dense, self.sizes, self.monitor = dense, dict(sizes), monitor

    def __getitem__(self, layer: str) -> Mapping[float, float]:
        return self._values[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def losses(self) -> dict[str, dict[float, float]]:
        """How much worse each value is than that of the whole network.

        Raises:
            InputError: If the name of the metric does not tell whether larger is better.
        """
        larger = is_better_larger(self.monitor)
        if larger is None:
            expected = "a metric whose name tells whether larger is better"
            raise checks.refuse("monitor", self.monitor, expected)
        sign = 1 if larger else -1
        return {
            layer: {sparsity: sign * (self.dense - value) for sparsity, value in found.items()}
            for layer, found in self.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold."""
        layers = [
            {"name": name, "size": self.sizes[name], "values": list(map(list, found.items()))}
            for name, found in self.items()
        ]
        return {"monitor": self.monitor, "dense": self.dense, "layers": layers}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Sensitivity":
        """Returns what `to_json` was called of."""
        layers = values["layers"]
        return cls(
            {layer["name"]: dict(map(tuple, layer["values"])) for layer in layers},
            values["dense"],
            {layer["name"]: layer["size"] for layer in layers},
            values["monitor"],
        )


def sensitivity(
    model,
    validation,
    sparsities: Sequence[float] = SPARSITIES,
    train=None,
    *,
    structure: str | None = None,
    monitor: str = "accuracy",
    steps: int = 20,
    learning_rate: float | None = None,
    batches: int | None = None,
    batch_size: int | None = None,
    verbose: int = 1,
) -> Sensitivity:
    """Measures the accuracy when one layer, or family of channels, alone is pruned.

    The model is not changed: all is done on a copy, or undone bit for bit.

    Args:
        model: A compiled model of tf_keras or Keras 3; one from `wrap_for_pruning` is taken with
            its layers, structure and score as they are.
        validation: Held-out data, in any form that `fit` takes.
        sparsities: Fractions in (0, 1) of the layer's weights, or of the family's channels.
        train: Data to retrain on for some steps before each measurement; None: no retraining.
        structure: As for `wrap_for_pruning`, for a model that is not wrapped.
        monitor: Metric of `compile`, or "loss".
        steps: Of the retraining, with `train`.
        learning_rate: Of the retraining; None: a tenth of the optimizer's.
        batches: Of `validation` that are looked at; None: all.
        batch_size: Of arrays; None: 32, as in `fit`.
        verbose: 1 tells of each layer, with the time left, as a message of level INFO.

    Returns:
        A mapping {layer: {sparsity: value}}, layers in model order and by the name of their
        weight; its `dense` is the value of the whole network.

    Raises:
        InputError: If the model is not compiled or has nothing to prune, an argument is out of
            range, or the metric is unknown.

    Example:
        >>> found = et.sensitivity(model, (x_val, y_val))
        >>> least = min(found, key=lambda layer: found.dense - found[layer][0.9])
    """
    sparsities = [
        checks.number("sparsities", sparsity, above=0, below=1) for sparsity in sparsities
    ]
    if not sparsities:
        raise checks.refuse("sparsities", sparsities, "at least one fraction in (0, 1)")
    if train is not None:
        checks.integer("steps", steps, 1)
    if batches is not None:
        checks.integer("batches", batches, 1)
    if learning_rate is not None:
        checks.number("learning_rate", learning_rate, above=0)
    held_out = probe_dataset(validation, "validation", batch_size=batch_size, shuffled=False)
    retraining = None if train is None else probe_dataset(train, "train", batch_size=batch_size)
    adapter = _prepared(model, structure)
    check_first_batch(adapter.model, held_out(), "validation")
    rate = learning_rate or adapter.learning_rate() / 10

    def measured(masks: Mapping[str, np.ndarray] | None) -> float:
        with adapter.sandbox():
            if masks is not None:
                adapter.set_masks(masks)
                if retraining is not None:
                    adapter.set_learning_rate(rate)
                    adapter.train(retraining(), steps)
            return _value(adapter.evaluate(held_out(), batches), monitor)

    dense, found, sizes = measured(None), {}, {}
    units, masks_of = _units(adapter), _pruned_alone(adapter, sparsities, retraining)
    began = time.perf_counter()
    for number, (name, size) in enumerate(units.items(), start=1):
        found[name] = {each: measured(masks_of(name, each)) for each in sparsities}
        sizes[name] = size
        left = (time.perf_counter() - began) / number * (len(units) - number)
        if verbose:
            worst = found[name][max(sparsities)]
            told = f"{monitor} {worst:.4g} at {max(sparsities):g} (dense {dense:.4g})"
            logger.info("%d of %d: %s, %s; %.0f s left", number, len(units), name, told, left)
    adapter.finish()
    return Sensitivity(found, dense, sizes, monitor)


def _prepared(model, structure: str | None) -> PrunedModel:
    """Returns what serves the model if it is wrapped, else a compiled copy that is."""
    backend = backend_of(model)
    try:
        adapter = backend.pruned(model)
    except InputError:
        adapter = None
    if adapter is not None:
        if structure is not None:
            expected = "None: the model is wrapped already"
            raise checks.refuse("structure", structure, expected)
        adapter.prepare()
        return adapter
    if getattr(model, "optimizer", None) is None:
        raise InputError("The model is not compiled: call model.compile(...) first.")
    copy = wrap_for_pruning(model, backend.schedule_class(0.0), structure=structure)
    try:
        copy.compile_from_config(model.get_compile_config())
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"The model cannot be compiled again ({reason:.200}): give one from wrap_for_pruning "
            "that you compiled."
        ) from error
    adapter = pruned(copy)
    adapter.prepare()
    return adapter


def _units(adapter: PrunedModel) -> dict[str, int]:
    """Returns the layers that are pruned alone, by the names of their weights, or the families."""
    structure = adapter.criterion.structure
    if isinstance(structure, Channels):
        return {family.name: family.size for family in structure.network.removable}
    return {name: weight.size for name, weight in adapter.weight_views().items()}


def _pruned_alone(
    adapter: PrunedModel, sparsities: Sequence[float], data: Callable[[], Any] | None
) -> Callable[[str, float], dict[str, np.ndarray]]:
    """Returns what gives the present masks with a layer, or family, at a sparsity of its own.

    Args:
        adapter: Of the model.
        sparsities: All that it will be asked for.
        data: For scores of data; None: what the adapter has.
    """
    masks, structure = adapter.masks(), adapter.criterion.structure
    before, adapter.score_data = adapter.score_data, data or adapter.score_data
    try:
        context = adapter.score_context()
        if not isinstance(structure, Channels):
            alone = dataclasses.replace(adapter.criterion, scope="layerwise")
            found = {sparsity: alone.masks(context, sparsity) for sparsity in sparsities}
            return lambda name, sparsity: {**masks, name: masks[name] & found[sparsity][name]}
        scores = adapter.criterion.score(context)
    finally:
        adapter.score_data = before
    importance, _ = structure.units(scores)

    def without_channels(name: str, sparsity: float) -> dict[str, np.ndarray]:
        kept, whole = structure.network.everything(), structure.whole(masks)
        (family,) = (f for f in structure.network.removable if f.name == name)
        order = family.channels[np.argsort(-importance[family.channels], kind="stable")]
        kept[order[max(1, round((1 - sparsity) * family.size)) :]] = False
        return structure.masks(kept & whole, scores)

    return without_channels


def _value(logs: Mapping[str, float], monitor: str) -> float:
    if monitor not in logs:
        error = checks.refuse("monitor", monitor, f"a metric of the model, {', '.join(logs)}")
        raise InputError(f"{error}{suggestion(monitor, logs)}")
    return logs[monitor]
