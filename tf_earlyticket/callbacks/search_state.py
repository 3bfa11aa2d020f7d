"""What a restart of `EarlyTicket` needs besides the model, as plain JSON values."""

import dataclasses

from tf_earlyticket.adapters.select import training_record
from tf_earlyticket.callbacks.ppr_probe import ProbeResult


def get_state(early_ticket) -> dict:
    """Returns the state of an `EarlyTicket`; it shares nothing with the callback."""
    statistics = early_ticket.statistics.history
    return {
        "probes": [dataclasses.asdict(result) for result in early_ticket.probe.results],
        "start_epoch": early_ticket.start_epoch,
        "start_reason": early_ticket.start_reason,
        "detected": early_ticket.detected,
        "updates": [list(update) for update in early_ticket.mask_update.updates],
        "weight_std": copied_history(statistics),
        "probe_learning_rate": early_ticket.probe.learning_rate,
        "probe_fraction": early_ticket.probe.fraction,
    }


def restore(early_ticket, state: dict, *, searching: bool) -> None:
    """Puts the result of `get_state` into an `EarlyTicket` whose `fit` has begun.

    Args:
        early_ticket: The callback.
        state: The result of `get_state`.
        searching: Whether the detector has still to decide, and so has to see the probes.
    """
    probe = early_ticket.probe
    probe.results = [ProbeResult.from_dict(values) for values in state["probes"]]
    for result in probe.results if searching else ():
        early_ticket.detector.update(result.epoch, result.observation)
    probe.learning_rate = state["probe_learning_rate"]
    probe.fraction = state["probe_fraction"]
    early_ticket.start_epoch = state["start_epoch"]
    early_ticket.start_reason = state["start_reason"]
    early_ticket.detected = state["detected"]
    record_start(early_ticket)
    early_ticket.mask_update.updates = [tuple(update) for update in state["updates"]]
    early_ticket.statistics.history = copied_history(state["weight_std"])


def record_start(early_ticket) -> None:
    """Tells the model's record, from which the ticket is made, when pruning started and why."""
    if early_ticket.start_epoch is not None:
        record = training_record(early_ticket.model)
        record.start_epoch = early_ticket.start_epoch
        record.start_reason = early_ticket.start_reason


def copied_history(history: dict) -> dict:
    """Returns a copy of `WeightStatistics.history`."""
    layers = {name: list(values) for name, values in history["layers"].items()}
    return {"epochs": list(history["epochs"]), "layers": layers}
