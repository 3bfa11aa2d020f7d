"""Sparsity as a function of the training step."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from tf_earlyticket import checks
from tf_earlyticket.pruning.plan import update_frequency
from tf_earlyticket.registry import Registry


class Shape(ABC):
    """How sparsity rises between the ends of a ramp.

    Attributes:
        from_first_step: Whether it begins with the training, at no start epoch that is looked for.
        one_shot: Whether the ramp has no length: all is pruned at its begin.
    """

    from_first_step: ClassVar[bool] = False
    one_shot: ClassVar[bool] = False

    @abstractmethod
    def left(self, progress: Any) -> Any:
        """Returns which part of the ramp's sparsity is still to come.

        Args:
            progress: Part of the ramp that is done, in [0, 1]: a float, or a tensor.

        Returns:
            1 or less at 0, exactly 0 at 1, and never rising.
        """


@dataclass(frozen=True)
class Polynomial(Shape):
    """(1 - progress) ** power: `cubic` of the paper's eq. 6 (Zhu & Gupta, 2017), `linear` with 1.

    Attributes:
        power: > 0.

    Raises:
        InputError: It is not.
    """

    power: float = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "power", checks.number("power", self.power, above=0))

    def left(self, progress: Any) -> Any:
        return (1 - progress) ** self.power


@dataclass(frozen=True)
class OneCycle(Shape):
    """`one_cycle`: slow, fast, slow over the whole training (Hubens et al., 2021).

    The part reached is (1 + exp(-alpha + beta)) / (1 + exp(-alpha * progress + beta)). It needs no
    start epoch and no probe: it begins with the first step.

    Attributes:
        alpha: How fast, > 0.
        beta: How late: half is reached at beta / alpha of the ramp, >= 0.

    Raises:
        InputError: A value is out of range.
    """

    alpha: float = 14
    beta: float = 5
    from_first_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.number("alpha", self.alpha, above=0, high=100)
        checks.number("beta", self.beta, low=0, high=100)

    def left(self, progress: Any) -> Any:
        # A power and not exp, which holds for tensors too.
        late = math.exp(self.beta)
        end = 1 + late * math.e**-self.alpha
        return 1 - end / (1 + late * math.e ** (-self.alpha * progress))


class OneShot(Shape):
    """`one_shot`: the final sparsity at once, at the start epoch."""

    one_shot: ClassVar[bool] = True

    def left(self, progress: Any) -> Any:
        return 0.0 * progress


SHAPES: Registry[Callable[..., Shape]] = Registry("shape")
SHAPES.register("cubic", lambda: Polynomial(3), own=True)
SHAPES.register("linear", lambda: Polynomial(1), own=True)
SHAPES.register("polynomial", Polynomial, own=True)
SHAPES.register("one_cycle", OneCycle, own=True)
SHAPES.register("one_shot", OneShot, own=True)
# Parts of a ramp at which shapes of users are looked at.
_PARTS = 100
_ROUNDING = 1e-9


def register_schedule(name: str, make: Callable[..., Shape]) -> None:
    """Makes a schedule of your own known by a name.

    Args:
        name: A new name; one of yours that was registered before is replaced.
        make: The class, or a function that returns the object, an `et.Shape`. Its parameters, all
            with defaults, can be given with the name: `config.pruning.schedule="root(degree=3)"`.

    Raises:
        InputError: If the name is one of the toolkit's own, or `make` cannot be called.

    Example:
        >>> et.register_schedule("root", Root)
        >>> et.EarlyTicketPolynomialDecay(0.8, shape="root(degree=3)")
    """
    SHAPES.register(name, checks.function("make", make))


def resolve_shape(text: str, power: float = 3) -> Shape:
    """Returns the shape that a name stands for, maybe with parameters.

    Args:
        text: "cubic", "linear", "polynomial(power=2)", "one_cycle", "one_cycle(alpha=10)",
            "one_shot" or a registered name.
        power: Of "polynomial", unless its parameters say so.

    Raises:
        InputError: A name or parameter is unknown, a value is out of range, or a shape of the
            user's does not fall from 1 or less to 0.

    Example:
        >>> resolve_shape("linear").left(0.25)
        0.75
    """
    name, parameters = SHAPES.parse(text)
    given = {"power": power} if name == "polynomial" and "power" not in parameters else {}
    made: Shape = SHAPES.make(text, **given)
    if not isinstance(made, Shape):
        raise checks.refuse("shape", made, f"an et.Shape from what is registered as {name!r}")
    left = [float(made.left(part / _PARTS)) for part in range(_PARTS + 1)]
    falling = all(one >= other for one, other in itertools.pairwise([1 + _ROUNDING, *left]))
    if not falling or abs(left[-1]) > _ROUNDING:
        ends = f"left(0)={left[0]:g} and left(1)={left[-1]:g}"
        raise checks.refuse("shape", text, f"left() that falls from at most 1 to 0, got {ends}")
    return made


@dataclass(frozen=True)
class PolynomialSparsity:
    """Gradual pruning: sparsity rises along a polynomial of the step (paper, eq. 6).

    s_t = s_f + (s_i - s_f) * (1 - (t - t0) / (n * dt)) ** power, with t0 = `begin_step` and
    n * dt = `end_step` - `begin_step` (Zhu & Gupta, 2017). Unlike TFMOT's `PolynomialDecay`,
    masks are also due at `end_step` when `frequency` does not divide the ramp. Begin and end at
    the same step are one-shot pruning. All methods are defined for every integer step.

    Attributes:
        initial_sparsity: s_i, a fraction in [0, `final_sparsity`].
        final_sparsity: s_f, a fraction in [0, 1).
        begin_step: First step with a mask update, in optimizer steps from 0.
        end_step: Last step with a mask update, >= `begin_step`.
        frequency: Steps between two mask updates, >= 1.
        power: Exponent of the polynomial, > 0.
        shape: What takes the polynomial's place, as for `resolve_shape`.

    Raises:
        InputError: A field is out of its range.
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    frequency: int = 100
    power: float = 3
    shape: str = "polynomial"
    _shape: Shape = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        checked = {
            "final_sparsity": checks.number("final_sparsity", self.final_sparsity, low=0, below=1),
            "initial_sparsity": checks.number(
                "initial_sparsity", self.initial_sparsity, low=0, high=self.final_sparsity
            ),
            "begin_step": checks.integer("begin_step", self.begin_step, 0),
            "end_step": checks.integer("end_step", self.end_step, self.begin_step),
            "frequency": checks.integer("frequency", self.frequency, 1),
            "power": checks.number("power", self.power, above=0),
            "_shape": resolve_shape(self.shape, self.power),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

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
        sparsity = self.final_sparsity + span * self._shape.left(progress)
        # Rounding may leave the interval by one unit in the last place.
        return float(min(max(sparsity, self.initial_sparsity), self.final_sparsity))

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


Schedule = TypeVar("Schedule", bound="EarlyTicketSchedule")


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
        shape: What takes the polynomial's place: "linear", "one_shot", or "one_cycle", with which
            `et.EarlyTicket` looks for no start and prunes over the whole training.

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
        shape: str = "polynomial",
    ):
        self.shape, self._shape = shape, resolve_shape(shape, power)
        self.initial_sparsity = initial_sparsity
        self.final_sparsity = final_sparsity
        self.power = power
        if self.one_shot and ramp_steps is None:
            ramp_steps = 0
        self.ramp_steps = ramp_steps
        self.begin_step = begin_step
        self.frequency = frequency
        if ramp_steps is None and begin_step is not None:
            raise checks.refuse(
                "ramp_steps", None, f"it beside {begin_step=}, 0 for one-shot pruning"
            )
        self._steps: tuple[int, int, int | None] | None = None
        self._sparsity = self.polynomial(begin_step or 0, ramp_steps or 0, frequency)

    def polynomial(
        self, begin_step: int, ramp_steps: int, frequency: int | None
    ) -> PolynomialSparsity:
        """Returns eq. 6 as a pure function of steps, for the given begin, length and frequency."""
        ramp_steps = checks.integer("ramp_steps", ramp_steps, 0)
        if self.one_shot and ramp_steps:
            raise checks.refuse("ramp_steps", ramp_steps, f"0 or None with shape={self.shape!r}")
        if frequency is None:
            frequency = update_frequency(ramp_steps)
        return PolynomialSparsity(
            self.initial_sparsity,
            self.final_sparsity,
            begin_step,
            begin_step + ramp_steps,
            frequency,
            self.power,
            self.shape,
        )

    @property
    def from_first_step(self) -> bool:
        """Whether pruning begins with the training, at no start epoch that is looked for."""
        return self._shape.from_first_step

    @property
    def one_shot(self) -> bool:
        """Whether the ramp has no length, by its shape."""
        return self._shape.one_shot

    @property
    def end_step(self) -> int | None:
        """The step at which `final_sparsity` is reached; None while the begin is unset."""
        sparsity = self.sparsity()
        return None if sparsity is None else sparsity.end_step

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
            raise checks.refuse("ramp_steps", None, "it in begin() or in the schedule")
        frequency = self.polynomial(step, ramp_steps, frequency).frequency
        self.begin_step, self.ramp_steps, self.frequency = step, ramp_steps, frequency

    def sparsity(self) -> PolynomialSparsity | None:
        """Returns the schedule as a pure function of steps, or None while the begin is unset."""
        if self.begin_step is None or self.ramp_steps is None:
            return None
        # Asked for at every step, so not made and checked anew.
        steps = (self.begin_step, self.ramp_steps, self.frequency)
        if steps != self._steps:
            self._steps, self._sparsity = steps, self.polynomial(*steps)
        return self._sparsity

    def due_sparsity(self, after_step: int, step: int) -> float | None:
        """Returns the sparsity of the last update due in (after_step, step], None if none is."""
        sparsity = self.sparsity()
        due = None if sparsity is None else sparsity.last_update_step(step)
        if sparsity is None or due is None or due <= after_step:
            return None
        return sparsity.sparsity_at(due)

    def get_config(self) -> dict[str, Any]:
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
                # Tickets of before have none.
                **({} if self.shape == "polynomial" else {"shape": self.shape}),
            },
        }

    @classmethod
    def from_config(cls: type[Schedule], config: Mapping[str, Any]) -> Schedule:
        """Accepts the nested form that `get_config` returns, and its inner part alone."""
        return cls(**config.get("config", config))
