"""Sparsity as a function of the training step, and the argument checks the core shares."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

from tf_earlyticket.errors import InputError


def check_integer(name: str, value: object, minimum: int) -> int:
    """Returns `value` as an int, or raises `InputError` if it is no integer >= `minimum`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise InputError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return int(value)


def check_number(
    name: str, value: object, low: float, high: float, *, open_low: bool = False
) -> float:
    """Returns `value` as a float, or raises `InputError` if it is not in [low, high).

    Args:
        name: How the error message calls the value.
        value: What to check. NaN, bools and anything that is not a real number are refused.
        low: Smallest accepted value.
        high: Smallest value that is too large; `math.inf` refuses only infinity.
        open_low: Whether `low` itself is refused too.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not low <= value < high or (open_low and value == low):
        interval = f"{'(' if open_low else '['}{low:g}, {high:g})"
        raise InputError(f"{name} must be a number in {interval}, got {value!r}")
    return float(value)


@dataclass(frozen=True)
class PolynomialSparsity:
    """Gradual pruning: sparsity rises along a polynomial of the step (paper, eq. 6).

    s_t = s_f + (s_i - s_f) * (1 - (t - t0) / (n * dt)) ** power, with t0 = `begin_step` and
    n * dt = `end_step` - `begin_step`. The formula is that of Zhu & Gupta (2017), whose
    power is 3. Unlike TFMOT's `PolynomialDecay`, masks are also due at `end_step` when
    `frequency` does not divide the ramp, so that the ramp ends at `final_sparsity`.
    `begin_step == end_step` is one-shot pruning: `final_sparsity` at that step.

    All methods are defined for every integer step, negative ones included.

    Attributes:
        initial_sparsity: s_i, a fraction in [0, `final_sparsity`].
        final_sparsity: s_f, a fraction in [0, 1).
        begin_step: First step with a mask update, in optimizer steps from 0.
        end_step: Last step with a mask update, >= `begin_step`.
        frequency: Steps between two mask updates, >= 1.
        power: Exponent of the polynomial, > 0.

    Raises:
        InputError: A field is out of its range.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    frequency: int = 100
    power: float = 3

    def __post_init__(self) -> None:
        """Checks the fields and turns NumPy scalars into Python numbers."""
        checked = {
            "initial_sparsity": check_number("initial_sparsity", self.initial_sparsity, 0, 1),
            "final_sparsity": check_number("final_sparsity", self.final_sparsity, 0, 1),
            "begin_step": check_integer("begin_step", self.begin_step, 0),
            "end_step": check_integer("end_step", self.end_step, 0),
            "frequency": check_integer("frequency", self.frequency, 1),
            "power": check_number("power", self.power, 0, math.inf, open_low=True),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.initial_sparsity > self.final_sparsity:
            raise InputError(
                f"initial_sparsity must be <= final_sparsity = {self.final_sparsity}, "
                f"got {self.initial_sparsity}"
            )
        if self.begin_step > self.end_step:
            raise InputError(
                f"begin_step must be <= end_step = {self.end_step}, got {self.begin_step}"
            )

    def sparsity_at(self, step: int) -> float:
        """Returns the sparsity (fraction) of eq. 6 at `step`.

        It is exactly `initial_sparsity` up to `begin_step` and exactly `final_sparsity`
        from `end_step` on; at a common begin and end the final one counts.
        """
        if step >= self.end_step:
            return self.final_sparsity
        if step <= self.begin_step:
            return self.initial_sparsity
        progress = (step - self.begin_step) / (self.end_step - self.begin_step)
        span = self.initial_sparsity - self.final_sparsity
        sparsity = self.final_sparsity + span * (1 - progress) ** self.power
        # Rounding may leave the interval by one unit in the last place.
        return min(max(sparsity, self.initial_sparsity), self.final_sparsity)

    def is_update_step(self, step: int) -> bool:
        """Returns whether masks are due at `step`: every `frequency` steps and at the end."""
        if not self.begin_step <= step <= self.end_step:
            return False
        return (step - self.begin_step) % self.frequency == 0 or step == self.end_step

    def update_steps(self) -> list[int]:
        """Returns all steps at which masks are due, rising; the last one is `end_step`."""
        return [*range(self.begin_step, self.end_step, self.frequency), self.end_step]

    def last_update_step(self, step: int) -> int | None:
        """Returns the largest update step <= `step`, or None before `begin_step`."""
        if step < self.begin_step:
            return None
        if step >= self.end_step:
            return self.end_step
        return step - (step - self.begin_step) % self.frequency

    def held_sparsity(self, step: int) -> float:
        """Returns the sparsity (fraction) in force at `step`, i.e. since the last update.

        Before `begin_step` nothing has been pruned: 0.0, whatever `initial_sparsity` is.
        """
        last = self.last_update_step(step)
        return 0.0 if last is None else self.sparsity_at(last)
