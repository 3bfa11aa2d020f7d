"""What a detector would have done in a run that was recorded."""

from collections.abc import Mapping
from dataclasses import dataclass

from tf_earlyticket.detectors.base import Detector, Observation


@dataclass(frozen=True)
class Choice:
    """The start epoch that a detector chose.

    Attributes:
        start_epoch: Epoch (from 1) at whose end pruning starts.
        detected: False if the detector saw no saturation and the latest epoch had to do.
        reason: The detector's last words.
        probed_epochs: The epochs at whose end it asked for a probe.
    """

    start_epoch: int
    detected: bool
    reason: str
    probed_epochs: tuple[int, ...]


def replay(
    detector: Detector,
    observations: Mapping[int, Observation],
    latest_start_epoch: int,
    rewind_epoch: int = 0,
    probe_every: int = 1,
) -> Choice:
    """Shows a detector a recorded run epoch by epoch, as `EarlyTicket` would while it trains.

    Probes that the detector does not ask for are withheld from it.

    Args:
        detector: Reset before.
        observations: By epoch, from 1, each with signals and, where a probe was recorded, its
            accuracies.
        latest_start_epoch: Where the search ends.
        rewind_epoch: Pruning starts later than that.
        probe_every: Epochs between the probes that may be used.
    """
    detector.reset()
    probed = []
    for epoch in range(1, latest_start_epoch + 1):
        observation = observations[epoch]
        planned = observation.ppr_accuracy is not None and epoch % probe_every == 0
        if planned and detector.wants_probe(epoch, observation.signals):
            probed.append(epoch)
        else:
            observation = Observation(signals=observation.signals)
        decision = detector.update(epoch, observation)
        if decision.saturated and epoch > rewind_epoch:
            return Choice(epoch, True, decision.reason, tuple(probed))
    return Choice(latest_start_epoch, False, decision.reason, tuple(probed))
