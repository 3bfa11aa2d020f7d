"""tf_earlyticket: find winning lottery tickets early, and ship them.

Names are imported when first used, so that `import tf_earlyticket` itself is light.
"""

import importlib
import importlib.util

from tf_earlyticket.errors import InputError
from tf_earlyticket.version import __version__

_HOMES = {
    "Config": "config",
    "Decision": "detectors.base",
    "Detector": "detectors.base",
    "Distillation": "callbacks.distillation",
    "EarlyTicket": "callbacks.early_ticket",
    "EarlyTicketPolynomialDecay": "backends.tf_keras.wrapper",
    "FixedEpoch": "detectors.weight_signals",
    "GatedPPR": "detectors.ppr_saturation",
    "LayerRateConvergence": "detectors.weight_signals",
    "MaskDistance": "detectors.weight_signals",
    "LearningRateRestart": "callbacks.learning_rate_restart",
    "MaskUpdate": "callbacks.mask_update",
    "Observation": "detectors.base",
    "PPRProbe": "callbacks.ppr_probe",
    "PPRSaturation": "detectors.ppr_saturation",
    "Pictures": "tickets.storage",
    "Ranking": "pruning.select",
    "Report": "report.report",
    "ScoreContext": "pruning.scores",
    "Shape": "pruning.schedule",
    "Structure": "pruning.structures",
    "SubnetSimilarity": "detectors.weight_signals",
    "TensorStructure": "pruning.structures",
    "Ticket": "tickets.ticket",
    "WeightSignals": "detectors.base",
    "WeightStatistics": "callbacks.weight_statistics",
    "channel_graph": "backends.channel_graph",
    "export_ticket": "deploy.export",
    "global_masks": "pruning.select",
    "layer_sparsity": "pruning.masks",
    "layerwise_masks": "pruning.select",
    "load_trained_weights": "tickets.rewind",
    "mask_distance": "pruning.masks",
    "mask_sparsity": "pruning.masks",
    "memorization_capacity": "paper.memorization",
    "recalibrate_batch_norm": "backends.batch_norm",
    "register_dataset": "data.catalog",
    "register_detector": "detectors.base",
    "register_figure": "report.figures",
    "register_item": "paper.item",
    "register_model": "models",
    "register_ranking": "pruning.select",
    "register_schedule": "pruning.schedule",
    "register_structure": "pruning.select",
    "remove_channels": "deploy.remove_channels",
    "rewind": "tickets.rewind",
    "sensitivity": "analysis.sensitivity",
    "strip_pruning": "backends",
    "train_and_evaluate": "job.job",
    "train_family": "job.family",
    "weight_statistics": "pruning.statistics",
    "wrap_for_pruning": "backends",
}

_MODULES = {"models": "models", "structures": "pruning.structures"}

__all__ = ["InputError", "__version__", *_MODULES, *_HOMES]


def _has_tfmot() -> bool:
    # Keras 3 needs neither; the schedule is then the same without TFMOT's base class.
    return all(importlib.util.find_spec(n) for n in ("tensorflow_model_optimization", "tf_keras"))


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, attribute = _HOMES[name], name
    if name == "EarlyTicketPolynomialDecay" and not _has_tfmot():
        home, attribute = "pruning.schedule", "EarlyTicketSchedule"
    value = getattr(importlib.import_module(f"{__name__}.{home}"), attribute)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
