"""The search for the start epoch: signals every epoch, probes where worth while, a decision."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tf_earlyticket.backends.base import PrunedModel
from tf_earlyticket.callbacks.ppr_probe import PPRProbe, ProbeResult
from tf_earlyticket.detectors.base import Decision, Detector, Observation, WeightSignals
from tf_earlyticket.detectors.ppr_saturation import PPRSaturation
from tf_earlyticket.detectors.weight_signals import SignalTracker
from tf_earlyticket.pruning.plan import Plan


@dataclasses.dataclass(frozen=True)
class Look:
    """What was seen at the end of an epoch.

    Attributes:
        observation: Signals, and accuracies where a probe was made.
        decision: The detector's.
        reason: Why pruning starts, if it starts here.
    """

    observation: Observation
    decision: Decision
    reason: str

    @property
    def logs(self) -> dict[str, float]:
        """What Keras' logs should tell of it."""
        accuracy = self.observation.ppr_accuracy
        return {} if accuracy is None else {"ppr_accuracy": accuracy}


class StartSearch:
    """Looks at the dense network at the end of each epoch; `EarlyTicket` contains one.

    Args:
        probe: Makes the probes.
        detector: Decides; None: `PPRSaturation` until the latest start epoch.

    Attributes:
        detector: The detector in use.
        signals: `WeightSignals` by epoch, from 1.
    """

    def __init__(
        self,
        probe: PPRProbe,
        *,
        detector: Detector | None,
    ):
        self.detector = detector
        self.forget()
        self._probe = probe
        self._own_detector = detector is None

    def forget(self) -> None:
        """Forgets the signals of an earlier `fit`."""
        self.signals: dict[int, WeightSignals] = {}
        self._tracker: SignalTracker | None = None

    def begin(self, adapter: PrunedModel, plan: Plan) -> None:
        """Starts the search of a `fit` anew."""
        self._adapter, self._plan = adapter, plan
        latest = plan.latest_start_epoch
        self._probe.epochs, self._probe.fraction = plan.probe_epochs, plan.probe_fraction
        if self._own_detector:
            self.detector = PPRSaturation(latest, lead_epochs=plan.ramp_epochs)
        self.detector.reset()
        self.forget()
        self._tracker = SignalTracker(adapter.final_sparsity(), adapter.criterion)

    def look(self, epoch: int) -> Look:
        """Looks at the network at the end of `epoch` (from 1), which is left as it was."""
        signals = self.signals[epoch] = self._tracker.update(self._adapter.weights())
        observation = Observation()
        if epoch in self._probe.epochs and self.detector.wants_probe(epoch, signals):
            observation = self._probe.probe(epoch).observation
        observation = dataclasses.replace(observation, signals=signals)
        decision = self.detector.update(epoch, observation)
        reason = f"saturated: {decision.reason}"
        if not decision.saturated:
            reason = (
                f"no saturation seen by epoch {epoch}, the last that leaves room for "
                f"{self._plan.ramp_epochs} ramp and {self._plan.hold_epochs} further epochs "
                f"({decision.reason}; {self._probe.latest()})"
            )
        return Look(observation, decision, reason)

    def get_state(self) -> dict:
        """Returns what a restart needs, as plain JSON values."""
        return {
            "probes": [dataclasses.asdict(result) for result in self._probe.results],
            "probe_learning_rate": self._probe.learning_rate,
            "probe_fraction": self._probe.fraction,
            "signals": {
                "epochs": list(self.signals),
                "values": [dataclasses.asdict(signals) for signals in self.signals.values()],
            },
        }

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Returns what a restart needs besides, while the search lasts."""
        return self._tracker.get_arrays() if self._tracker else {}

    def restore(self, state: dict, arrays: Mapping[str, np.ndarray], *, searching: bool) -> None:
        """Continues an earlier search after `begin`.

        Args:
            state: The result of `get_state`.
            arrays: The result of `get_arrays`.
            searching: Whether the detector has still to decide, and so has to see it all again.
        """
        self._probe.results = [ProbeResult.from_dict(values) for values in state["probes"]]
        self._probe.learning_rate = state["probe_learning_rate"]
        self._probe.fraction = state["probe_fraction"]
        recorded = state["signals"]
        self.signals = {
            epoch: WeightSignals.from_dict(values)
            for epoch, values in zip(recorded["epochs"], recorded["values"], strict=True)
        }
        if not searching:
            return
        self._tracker.set_arrays(arrays)
        probed = {result.epoch: result.observation for result in self._probe.results}
        for epoch, signals in self.signals.items():
            observation = probed.get(epoch, Observation())
            self.detector.update(epoch, dataclasses.replace(observation, signals=signals))
