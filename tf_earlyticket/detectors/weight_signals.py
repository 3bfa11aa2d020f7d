"""What the weights alone tell about the structure that pruning would find: free signals.

No training and no data: one ranking of the weights per epoch.
"""

import base64
import dataclasses
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tf_earlyticket.pruning.rankings import compute_masks
from tf_earlyticket.pruning.schedule import check_integer, check_number


@dataclass(frozen=True)
class WeightSignals:
    """The signals of one epoch.

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
    def from_dict(cls, values: dict) -> "WeightSignals":
        """Rebuilds the signals of which `dataclasses.asdict` made `values`, also after JSON."""
        return cls(**{field.name: tuple(values[field.name]) for field in dataclasses.fields(cls)})


class SignalTracker:
    """Computes `WeightSignals` epoch by epoch; remembers the masks of the last few.

    Args:
        sparsity: Fraction that the masks prune, in [0, 1).
        window: How many epochs a signal looks back over, this one included, at least 2.
        ranking: "global" or "layerwise".
        group_size: As for `global_masks`.

    Raises:
        InputError: If an argument is out of range.
    """

    def __init__(
        self, sparsity: float, *, window: int = 5, ranking: str = "global", group_size: int = 1
    ):
        self.sparsity = check_number("sparsity", sparsity, 0, 1)
        self.window = check_integer("window", window, 2)
        self._ranking = ranking
        self._group_size = group_size
        self._earlier: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=window - 1)

    def update(self, weights: Mapping[str, np.ndarray]) -> WeightSignals:
        """Takes the weights of the next epoch: float kernels by name, always the same names.

        Raises:
            InputError: If a weight is not finite.
        """
        masks = compute_masks(
            weights, self.sparsity, ranking=self._ranking, group_size=self._group_size
        )
        sizes = np.array([mask.size for mask in masks.values()])
        kept = np.array([np.count_nonzero(mask) for mask in masks.values()])
        bits = np.packbits(np.concatenate([mask.ravel() for mask in masks.values()]))
        distances, similarities = [], []
        for earlier_bits, earlier_kept in self._earlier:
            differing = int(np.unpackbits(bits ^ earlier_bits).sum(dtype=np.int64))
            distances.append(differing / int(sizes.sum()))
            both = np.maximum(kept + earlier_kept, 1)
            similarities.append(float(1 - np.mean(np.abs(kept - earlier_kept) / both)))
        self._earlier.appendleft((bits, kept))
        return WeightSignals(
            pruning_rates=tuple(float(rate) for rate in 1 - kept / np.maximum(sizes, 1)),
            mask_distances=tuple(distances),
            similarities=tuple(similarities),
        )

    def get_state(self) -> list[dict]:
        """Returns the masks remembered, as plain JSON values, the latest first."""
        return [
            {"bits": base64.b64encode(bits).decode(), "kept": kept.tolist()}
            for bits, kept in self._earlier
        ]

    def set_state(self, state: list[dict]) -> None:
        """Takes the result of `get_state`; the next `update` continues from there."""
        self._earlier.clear()
        for values in state:
            bits = np.frombuffer(base64.b64decode(values["bits"]), np.uint8)
            self._earlier.append((bits, np.array(values["kept"])))
