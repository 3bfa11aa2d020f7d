"""What a detector sees and says, and the detectors by name, as a config names them."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tf_earlyticket import checks
from tf_earlyticket.registry import Registry


@dataclass(frozen=True)
class WeightSignals:
    """What the weights alone tell, at the end of one epoch.

    Attributes:
        pruning_rates: Pseudo per-layer pruning rates, fractions, in model order: the sparsity of
            each layer if all were pruned now (paper Fig. 2b).
        mask_distances: Normalised Hamming distances, in [0, 1], of this epoch's mask to those of
            the epochs before, the latest first (paper Fig. 3; Early-Bird tickets).
        similarities: Similarities, in [0, 1], of this epoch's sub-network to those of the epochs
            before, the latest first: 1 - mean over layers of |n - n'| / (n + n'), where n and n'
            are the kept weights of the layer (in the manner of EPI, which counts channels).
    """

    pruning_rates: tuple[float, ...]
    mask_distances: tuple[float, ...]
    similarities: tuple[float, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WeightSignals:
        """Rebuilds the signals of which `dataclasses.asdict` made `values`, also after JSON."""
        return cls(**{field.name: tuple(values[field.name]) for field in dataclasses.fields(cls)})


@dataclass(frozen=True)
class Observation:
    """What is known at the end of an epoch: a probe's accuracies, if one was made, and signals.

    Attributes:
        ppr_accuracy: On the held-out data after pseudo-pruning and retraining, a fraction.
        pruned_accuracy: After pseudo-pruning, without retraining.
        dense_accuracy: Of the dense network at that epoch.
        signals: What the weights alone tell; None where nobody asked.
    """

    ppr_accuracy: float | None = None
    pruned_accuracy: float | None = None
    dense_accuracy: float | None = None
    signals: WeightSignals | None = None


@dataclass(frozen=True)
class Decision:
    """What a detector says at the end of an epoch.

    Attributes:
        saturated: Whether pruning may start.
        reason: Why, in words and numbers.
    """

    saturated: bool
    reason: str


class Detector(Protocol):
    """Looks at one observation after the other; never at a later one.

    Attributes:
        name: What reports call it.
    """

    name: str = ""

    def reset(self) -> None:
        """Forgets every observation."""
        return

    def wants_probe(self, epoch: int, signals: WeightSignals | None) -> bool:
        """Tells whether a probe at the end of `epoch` would be of use, before it is made."""
        return False

    @abstractmethod
    def update(self, epoch: int, observation: Observation) -> Decision:
        """Takes the observation of `epoch` (from 1, increasing) and decides."""


def makes_probes(detector: Detector) -> bool:
    """Tells whether a detector ever wants a probe, as only those do that say when."""
    return type(detector).wants_probe is not Detector.wants_probe


DETECTORS: Registry[Callable[..., Detector]] = Registry("probe.detector")


def register_detector(name: str, make: Callable[..., Detector]) -> None:
    """Makes a detector of your own known by a name, for `config.probe.detector`.

    Args:
        name: A new name; one of yours that was registered before is replaced.
        make: The class, or a function that returns a new detector. Of `latest_start_epoch` and
            `lead_epochs` (see `make_detector`) it gets those that it takes; its other parameters
            can be given with the name: `probe.detector="mine(patience=3)"`.

    Raises:
        InputError: If the name is one of the toolkit's own or `make` cannot be called.
    """
    DETECTORS.register(name, checks.function("make", make))


def make_detector(text: str, latest_start_epoch: int, *, lead_epochs: int = 0) -> Detector:
    """Returns a new detector.

    Args:
        text: A registered name, maybe with parameters: "mask_distance(threshold=0.05)".
        latest_start_epoch: Last epoch (from 1) at whose end pruning can start.
        lead_epochs: Epochs from the start of pruning until the mask is final: the ramp's.

    Raises:
        InputError: If the name or a parameter is unknown, or a value is out of range.
    """
    made: Detector = DETECTORS.make(
        text, latest_start_epoch=latest_start_epoch, lead_epochs=lead_epochs
    )
    return made
