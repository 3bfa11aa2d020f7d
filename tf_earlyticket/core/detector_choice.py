"""The detectors by name, as a config names them."""

from collections.abc import Callable

from tf_earlyticket.core.detector import Detector, PPRSaturation
from tf_earlyticket.core.free_detectors import (
    FixedEpoch,
    GatedPPR,
    LayerRateConvergence,
    MaskDistance,
    SubnetSimilarity,
)
from tf_earlyticket.errors import InputError, suggestion

DETECTORS = (
    "ppr_saturation",
    "gated_ppr",
    "mask_distance",
    "layer_rate_convergence",
    "subnet_similarity",
    "fixed_epoch",
)


def make_detector(
    name: str,
    latest_start_epoch: int,
    *,
    lead_epochs: int = 0,
    tolerance: float = 0.01,
    threshold: float | None = None,
    start_epoch: int | None = None,
) -> Detector:
    """Returns a new detector.

    Args:
        name: One of `DETECTORS`.
        latest_start_epoch: Last epoch (from 1) at whose end pruning can start.
        lead_epochs: Epochs from the start of pruning until the mask is final: the ramp's.
        tolerance: Of the detectors that read PPR accuracy, a fraction.
        threshold: Of the detectors that read the weights, and of the gate of "gated_ppr"; None:
            each one's own default.
        start_epoch: Of "fixed_epoch"; None: the latest.

    Raises:
        InputError: If the name is unknown or a value is out of range.
    """
    own = () if threshold is None else (threshold,)

    def ppr(**options) -> PPRSaturation:
        return PPRSaturation(
            latest_start_epoch, lead_epochs=lead_epochs, tolerance=tolerance, **options
        )

    makers: dict[str, Callable[[], Detector]] = {
        "ppr_saturation": ppr,
        "gated_ppr": lambda: GatedPPR(LayerRateConvergence(*own), ppr(minimum_rise=0.0)),
        "mask_distance": lambda: MaskDistance(*own),
        "layer_rate_convergence": lambda: LayerRateConvergence(*own),
        "subnet_similarity": lambda: SubnetSimilarity(*own),
        "fixed_epoch": lambda: FixedEpoch(
            latest_start_epoch if start_epoch is None else start_epoch
        ),
    }
    if name not in makers:
        raise InputError(
            f"detector={name!r}: expected one of {', '.join(DETECTORS)}."
            f"{suggestion(name, DETECTORS)}"
        )
    return makers[name]()
