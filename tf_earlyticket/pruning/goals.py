"""Goals in place of a sparsity: what a ticket has to reach, and which one to train next."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tf_earlyticket import checks

# Sparsities of weights, and parts of the multiply-adds that stay with whole channels.
USUAL_SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95)
USUAL_MACS = (0.7, 0.5, 0.35, 0.25)
_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2}
_EXPECTED = (
    "such as accuracy>=dense-0.5 (points), accuracy>=97.5 (percent), size<=100kB, macs<=0.5 (part "
    "of the dense network's) or latency<=2ms@litert, joined by commas, each once"
)
# Of a difference of two floats; of accuracies, which a run keeps with seven digits.
_ROUNDING, _ACCURACY_ROUNDING = 1e-9, 1e-6
_FORMS = {
    "loss": r"accuracy>=dense(?:-(\d+(?:\.\d+)?))?",
    "accuracy": r"accuracy>=(\d+(?:\.\d+)?)",
    "bytes": r"size<=(\d+(?:\.\d+)?)(B|kB|MB)",
    "macs": r"macs<=(\d+(?:\.\d+)?)",
    "latency": r"latency<=(\d+(?:\.\d+)?)ms@(\w+)",
}


@dataclass(frozen=True)
class Measured:
    """What a ticket has, or is predicted to have.

    Attributes:
        accuracy: On held-out data, a fraction.
        dense_accuracy: Of the dense network on the same data, a fraction.
        bytes: Of the SavedModel, its files compressed one by one.
        macs: Part of the dense network's multiply-adds.
        latency: Milliseconds of one example.

    What is not known is None.
    """

    accuracy: float | None = None
    dense_accuracy: float | None = None
    bytes: int | None = None
    macs: float | None = None
    latency: float | None = None


@dataclass(frozen=True)
class Goal:
    """What a ticket has to reach; None: whatever it is.

    Attributes:
        text: As it was given.
        loss: What it may lose of the dense network's accuracy, a fraction.
        accuracy: What it has to have at least, a fraction.
        bytes: At most, of the SavedModel, its files compressed one by one.
        macs: At most, a part of the dense network's multiply-adds.
        latency: At most, milliseconds of one example.
        runtime: Where the latency is measured.
        examples: So many tell the accuracies, and a goal of accuracy is met where it would be with
            one of them less; None: as many as need be. No ticket has to be more accurate than the
            dense network for that.
    """

    text: str
    loss: float | None = None
    accuracy: float | None = None
    bytes: float | None = None
    macs: float | None = None
    latency: float | None = None
    runtime: str | None = None
    examples: int | None = None

    @property
    def of_accuracy(self) -> bool:
        """Whether a denser ticket may be needed for it."""
        return self.loss is not None or self.accuracy is not None

    def is_above(self, dense: float) -> bool:
        """Whether not even the dense network, with an accuracy `dense`, has what is asked for."""
        return self.accuracy is not None and self.accuracy > dense + _ACCURACY_ROUNDING

    def missed(self, found: Measured) -> list[str]:
        """Returns what is missed, in words; what is not known is not missed.

        Example:
            >>> parse_goal("accuracy>=dense-0.5").missed(Measured(0.97, 0.98))
            ['accuracy 97.00 %, 1.00 points below dense']
        """
        return [*self._missed_accuracy(found), *self._missed_cost(found)]

    def _missed_accuracy(self, found: Measured) -> list[str]:
        words: list[str] = []
        if found.accuracy is None:
            return words
        lost = (found.dense_accuracy or 0.0) - found.accuracy
        one = 1 / self.examples if self.examples else 0.0
        near = f", too near to the goal for {self.examples} examples"
        if self.loss is not None and lost > max(0.0, self.loss - one) + _ACCURACY_ROUNDING:
            words.append(
                f"accuracy {100 * found.accuracy:.2f} %, {100 * lost:.2f} points below dense"
                + near * (lost <= self.loss + _ACCURACY_ROUNDING)
            )
        dense = 1.0 if found.dense_accuracy is None else found.dense_accuracy
        accuracy = self.accuracy
        if accuracy is not None and found.accuracy < (
            min(accuracy + one, max(accuracy, dense)) - _ACCURACY_ROUNDING
        ):
            words.append(
                f"accuracy {100 * found.accuracy:.2f} %"
                + near * (found.accuracy >= accuracy - _ACCURACY_ROUNDING)
            )
        return words

    def _missed_cost(self, found: Measured) -> list[str]:
        def above(value: float | None, most: float | None) -> bool:
            return value is not None and most is not None and value > most + _ROUNDING

        words: list[str] = []
        if above(found.bytes, self.bytes):
            words.append(f"size {found.bytes:,} bytes")
        if above(found.macs, self.macs):
            words.append(f"{found.macs:.3f} of the multiply-adds")
        if above(found.latency, self.latency):
            words.append(f"latency {found.latency:.3g} ms")
        return words


def parse_goal(text: str) -> Goal:
    """Returns the goal that a text names.

    Args:
        text: Such as "accuracy>=dense-0.5" or "size<=100kB,accuracy>=97".

    Raises:
        InputError: If it is none, or names one measure twice.

    Example:
        >>> parse_goal("accuracy>=dense-0.5,size<=100kB").bytes
        100000.0
    """
    fields: dict[str, float | str] = {}
    for part in text.replace(" ", "").split(","):
        found = {
            name: match for name, form in _FORMS.items() if (match := re.fullmatch(form, part))
        }
        if not found or any(name in fields for name in found):
            raise checks.refuse("goal", text, _EXPECTED)
        ((name, match),) = found.items()
        value = float(match[1] or 0)
        if name == "bytes":
            value *= _UNITS[match[2]]
        if name in ("loss", "accuracy"):
            value /= 100
        if name == "latency":
            fields["runtime"] = match[2]
        fields[name] = value
    goal = Goal(text, **fields)  # type: ignore[arg-type]
    if (goal.accuracy or 0) > 1:
        raise checks.refuse("goal", text, "an accuracy of at most 100 percent")
    if 0 in (goal.macs, goal.bytes, goal.latency) or (goal.macs or 0) > 1:
        raise checks.refuse("goal", text, "numbers above 0, and macs of at most 1")
    return goal


def next_to_train(
    goal: Goal,
    predicted: Mapping[str, Measured],
    trained: Mapping[str, Measured],
) -> str | None:
    """Returns which ticket to train next; None where the one that is wanted is found, or none is.

    With a goal of accuracy that is the sparsest that meets it, else the densest. The first to be
    trained is the one that should be it by what is predicted. Probes are harder on sparse networks
    than gradual pruning is, so from then on outcomes alone count: by bisection, taking it that
    denser tickets are no less accurate and sparser ones cost no more.

    Args:
        goal: What is to be met.
        predicted: What is known of each ticket before it is trained, from the densest on.
        trained: What those have that were trained.

    Example:
        >>> goal = parse_goal("accuracy>=dense-1")
        >>> predicted = {"0.5": Measured(0.98, 0.98), "0.9": Measured(0.9, 0.98)}
        >>> next_to_train(goal, predicted, {})
        '0.5'
        >>> next_to_train(goal, predicted, {"0.5": Measured(0.98, 0.98)})
        '0.9'
    """
    names = list(predicted)
    low, high = 0, len(names)
    for place, name in enumerate(names):
        if name not in trained:
            continue
        met = not goal.missed(trained[name])
        if goal._missed_accuracy(trained[name]) or (met and not goal.of_accuracy):
            high = min(high, place)
        if goal._missed_cost(trained[name]) or (met and goal.of_accuracy):
            low = max(low, place + 1)
    left = names[low:high]
    if not left or trained:
        return left[len(left) // 2] if left else None
    should = [name for name in left if not goal.missed(predicted[name])] or left[:1]
    return should[-1 if goal.of_accuracy else 0]


def best(goal: Goal, trained: Mapping[str, Measured], names: Sequence[str]) -> str:
    """Returns the ticket that is wanted: see `next_to_train`; else the one that comes nearest.

    Of those that miss, the one that misses least many measures, then the most accurate, or, of a
    goal of cost alone, the sparsest.

    Args:
        goal: What is to be met.
        trained: What those have that were trained.
        names: Of all, from the densest on.
    """

    def rank(name: str) -> tuple[int, float]:
        missed, place = len(goal.missed(trained[name])), names.index(name)
        if missed and not goal.of_accuracy:
            return missed, -place
        if missed:
            return missed, -(trained[name].accuracy or 0.0)
        return 0, -place if goal.of_accuracy else place

    return min(trained, key=rank)
