"""The gradual schedule whose begin is set later, by a probe: its fields and steps, no Keras."""

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.plan import update_frequency
from tf_earlyticket.pruning.schedule import PolynomialSparsity


class EarlyTicketSchedule:
    """Gradual pruning (paper eq. 6, Zhu & Gupta) that waits until it is told to begin.

    `begin_step` may be unset: nothing is pruned until `begin` is called. The end step always
    updates, so `final_sparsity` is reached whatever the frequency, and begin == end (one-shot) is
    defined. `wrap_for_pruning` copies the schedule, so call `begin` before it.

    Args:
        final_sparsity: Fraction in [0, 1) of the prunable weights that are zero at the end.
        initial_sparsity: Fraction in [0, final_sparsity] pruned at the begin step.
        begin_step: Optimizer step at which pruning starts; None until a probe sets it.
        ramp_steps: Optimizer steps from begin to end; 0 is one-shot; None: chosen by
            `et.EarlyTicket` from the epochs that `fit` was given.
        frequency: Optimizer steps between mask updates; None: about 20 updates in the ramp.
        power: Exponent of the polynomial, 3 in the paper.

    Raises:
        InputError: If a value is out of range, or `begin_step` is given without `ramp_steps`.

    Example:
        >>> schedule = EarlyTicketSchedule(0.8, ramp_steps=1000, frequency=100)
        >>> schedule.begin(5000)
    """

    def __init__(
        self,
        final_sparsity: float = 0.8,
        *,
        initial_sparsity: float = 0.0,
        begin_step: int | None = None,
        ramp_steps: int | None = None,
        frequency: int | None = None,
        power: float = 3,
    ):
        self.initial_sparsity = initial_sparsity
        self.final_sparsity = final_sparsity
        self.power = power
        self.ramp_steps = ramp_steps
        self.begin_step = begin_step
        self.frequency = frequency
        if begin_step is not None and ramp_steps is None:
            raise InputError(
                f"begin_step={begin_step} needs ramp_steps as well (0 for one-shot pruning)."
            )
        self.polynomial(begin_step or 0, ramp_steps or 0, frequency)

    def polynomial(
        self, begin_step: int, ramp_steps: int, frequency: int | None
    ) -> PolynomialSparsity:
        """Returns eq. 6 as a pure function of steps, for the given begin, length and frequency."""
        if frequency is None:
            frequency = update_frequency(ramp_steps)
        return PolynomialSparsity(
            initial_sparsity=self.initial_sparsity,
            final_sparsity=self.final_sparsity,
            begin_step=begin_step,
            end_step=begin_step + ramp_steps,
            frequency=frequency,
            power=self.power,
        )

    @property
    def end_step(self) -> int | None:
        """The step at which `final_sparsity` is reached; None while the begin is unset."""
        return None if self.begin_step is None else self.begin_step + self.ramp_steps

    def begin(
        self, step: int, *, ramp_steps: int | None = None, frequency: int | None = None
    ) -> None:
        """Sets the begin step, and the ramp's length and frequency where they were left unset.

        Args:
            step: Optimizer step at which pruning starts.
            ramp_steps: Used if the schedule was built without; 0 is one-shot.
            frequency: Used if the schedule was built without.

        Raises:
            InputError: If a value is negative or the ramp's length is not known from anywhere.
        """
        ramp_steps = self.ramp_steps if ramp_steps is None else ramp_steps
        frequency = self.frequency if frequency is None else frequency
        if ramp_steps is None:
            raise InputError("ramp_steps is unset: give it to begin() or to the schedule.")
        frequency = self.polynomial(step, ramp_steps, frequency).frequency
        self.begin_step, self.ramp_steps, self.frequency = step, ramp_steps, frequency

    def sparsity(self) -> PolynomialSparsity | None:
        """Returns the schedule as a pure function of steps, or None while the begin is unset."""
        if self.begin_step is None:
            return None
        return self.polynomial(self.begin_step, self.ramp_steps, self.frequency)

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """Returns the sparsity of the last update due in (after_step, step], None if none is."""
        sparsity = self.sparsity()
        due = sparsity.last_update_step(step) if sparsity else None
        return None if due is None or due <= after_step else sparsity.sparsity_at(due)

    def get_config(self):
        """Returns TFMOT's nested form {"class_name", "config"}."""
        return {
            "class_name": "tf_earlyticket>EarlyTicketPolynomialDecay",
            "config": {
                "final_sparsity": self.final_sparsity,
                "initial_sparsity": self.initial_sparsity,
                "begin_step": self.begin_step,
                "ramp_steps": self.ramp_steps,
                "frequency": self.frequency,
                "power": self.power,
            },
        }

    @classmethod
    def from_config(cls, config):
        """Accepts the nested form that `get_config` returns, and its inner part alone."""
        return cls(**config.get("config", config))
