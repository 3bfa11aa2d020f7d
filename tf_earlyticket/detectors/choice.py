"""The detectors by name, as a config names them."""

from collections.abc import Callable

from tf_earlyticket.detectors.ppr_saturation import Detector, PPRSaturation
from tf_earlyticket.detectors.weight_detectors import (
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


_REGISTERED: dict[str, Callable[..., Detector]] = {}


def detector_names() -> tuple[str, ...]:
    """Returns the names that `config.probe.detector` accepts."""
    return (*DETECTORS, *_REGISTERED)


def register_detector(name: str, make: Callable[..., Detector]) -> None:
    """Makes a detector of your own known by a name, for `config.probe.detector`.

    Args:
        name: A new name; one that was registered before is replaced.
        make: Returns a new detector; called with the latest start epoch and with `lead_epochs`,
            `tolerance`, `threshold` and `start_epoch`, as `make_detector` is.

    Raises:
        InputError: If the name is one of the toolkit's own or `make` cannot be called.
    """
    if name in DETECTORS:
        raise InputError(f"name={name!r}: expected another name than {', '.join(DETECTORS)}.")
    if not callable(make):
        raise InputError(f"make is a {type(make).__name__}: expected a function.")
    _REGISTERED[name] = make


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
        name: One of `detector_names()`.
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
    if name in _REGISTERED:
        return _REGISTERED[name](
            latest_start_epoch,
            lead_epochs=lead_epochs,
            tolerance=tolerance,
            threshold=threshold,
            start_epoch=start_epoch,
        )
    if name not in makers:
        raise InputError(
            f"detector={name!r}: expected one of {', '.join(detector_names())}."
            f"{suggestion(name, detector_names())}"
        )
    return makers[name]()
