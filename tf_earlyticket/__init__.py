"""tf_earlyticket: find winning lottery tickets early, and ship them.

Names are imported when first used, so that `import tf_earlyticket` itself is light.
"""

import importlib
import importlib.util

from tf_earlyticket.errors import InputError
from tf_earlyticket.version import __version__

_HOMES = {
    "Config": "config",
    "Decision": "core.detector",
    "EarlyTicket": "callbacks.early_ticket",
    "EarlyTicketPolynomialDecay": "adapters.schedule",
    "FixedEpoch": "core.free_detectors",
    "GatedPPR": "core.free_detectors",
    "LayerRateConvergence": "core.free_detectors",
    "MaskDistance": "core.free_detectors",
    "MaskUpdate": "callbacks.mask_update",
    "Observation": "core.detector",
    "PPRProbe": "callbacks.ppr_probe",
    "PPRSaturation": "core.detector",
    "SubnetSimilarity": "core.free_detectors",
    "Ticket": "core.ticket",
    "WeightSignals": "core.signals",
    "WeightStatistics": "callbacks.weight_statistics",
    "export_ticket": "deployment.ticket_export",
    "global_masks": "core.masks",
    "layer_sparsity": "core.masks",
    "layerwise_masks": "core.masks",
    "load_trained_weights": "adapters.rewind",
    "mask_distance": "core.masks",
    "mask_sparsity": "core.masks",
    "memorization_capacity": "experiments.memorization",
    "register_dataset": "data.own_datasets",
    "register_detector": "core.detector_choice",
    "register_model": "models.names",
    "register_ranking": "core.rankings",
    "rewind": "adapters.rewind",
    "strip_pruning": "adapters.pruning",
    "train_and_evaluate": "run",
    "weight_statistics": "core.statistics",
    "wrap_for_pruning": "adapters.pruning",
}

__all__ = ["InputError", "__version__", "models", *_HOMES]


def _has_tfmot() -> bool:
    # Keras 3 needs neither; the schedule is then the same without TFMOT's base class.
    return all(importlib.util.find_spec(n) for n in ("tensorflow_model_optimization", "tf_keras"))


def __getattr__(name: str):
    if name == "models":
        return importlib.import_module("tf_earlyticket.models")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, attribute = _HOMES[name], name
    if name == "EarlyTicketPolynomialDecay" and not _has_tfmot():
        home, attribute = "core.early_schedule", "EarlyTicketSchedule"
    value = getattr(importlib.import_module(f"{__name__}.{home}"), attribute)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
