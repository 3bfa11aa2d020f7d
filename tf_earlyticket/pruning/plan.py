"""The plan of a run: its epochs divided, its probes, its ramp in steps; every default is here.

Also what iterative pruning to the same sparsity would take, with which a run is compared.
"""

import math
from dataclasses import dataclass

from tf_earlyticket import checks

# Shares of the run used when the user gives no lengths. The paper leaves them open; its
# start epochs (75 or 100 of 200, 45 of 90) stay reachable with these.
_RAMP_SHARE = 0.2
_HOLD_SHARE = 0.15
# A network without whole channels has more to learn anew: tickets from late starts were worse
# (docs/detectors.md).
_HOLD_SHARE_OF_CHANNELS = 0.5
_PROBES = 20
_UPDATES = 20
# Retraining for fewer steps tells little, however large the batch.
_LEAST_PROBE_STEPS = 20
# Left unset, probing costs about this part of the run's epochs, unless these are that short.
_PROBE_BUDGET = 0.05
# The paper probes at learning rate 0.01 in a training that starts at 0.1.
LEARNING_RATE_SHARE = 0.1


@dataclass(frozen=True)
class Plan:
    """How a run is divided between probing, ramp and training at full sparsity.

    Epochs count from 1. A start epoch s means that pruning starts at the END of epoch s: mask m_s
    is taken from the weights after s epochs.

    Attributes are what `resolve_plan` takes, with nothing left open but what needs the steps of an
    epoch or the learning rate where these are not known yet (None), and:
        latest_start_epoch: Last epoch after which pruning may start.
        probe_epochs: The epochs at whose end a probe may be made, rising.
        probe_steps: Steps that a probe retrains for, where its data have as many.
    """

    epochs: int
    ramp_epochs: int
    hold_epochs: int
    latest_start_epoch: int
    rewind_epoch: int
    probe_epochs: tuple[int, ...]
    probe_fraction: float
    probe_learning_rate: float | None
    steps_per_epoch: int | None
    ramp_steps: int | None
    frequency: int | None
    probe_steps: int | None


def resolve_plan(
    epochs: int,
    *,
    steps_per_epoch: int | None = None,
    steps_per_execution: int = 1,
    ramp_epochs: int | None = None,
    ramp_steps: int | None = None,
    hold_epochs: int | None = None,
    frequency: int | None = None,
    rewind_epoch: int = 0,
    probe_every: int | None = None,
    probe_first: int | None = None,
    probe_fraction: float | None = None,
    probe_learning_rate: float | None = None,
    learning_rate: float | None = None,
    from_first_step: bool = False,
    one_shot: bool = False,
    of_channels: bool = False,
) -> Plan:
    """Plans gradual pruning so that a run of `epochs` ends at the final sparsity.

    Args:
        epochs: Epochs of the whole run, >= 1.
        steps_per_epoch: Optimizer steps of an epoch, >= 1; None if they are not known yet.
        steps_per_execution: Steps that Keras runs between two callbacks, >= 1; masks can only be
            updated at its multiples.
        ramp_epochs: Length of the ramp, >= 0; 0 is one-shot. None: a fifth of the run, at least
            1, less where it would not fit.
        ramp_steps: The same in optimizer steps; counts before `ramp_epochs`.
        hold_epochs: Epochs at the final sparsity, >= 0. None: 15 % of the run, of whole channels
            half of it, at least 1, less where it would not fit.
        frequency: Steps between mask updates, a multiple of `steps_per_execution`; None: about 20
            updates in the ramp.
        rewind_epoch: Epochs after which weights are kept for the ticket; pruning starts later.
        probe_every: Epochs between two probes, >= 1; None: as few as give at most 20 probes.
        probe_first: Epoch of the first probe, >= 1; None: `probe_every`.
        probe_fraction: Part of an epoch that a probe retrains for, in (0, 1]; None: what keeps
            all probes together within 5 % of the epochs.
        probe_learning_rate: Of a probe's retraining; None: a tenth of `learning_rate`.
        learning_rate: At the start of the training, None if it is not known yet.
        from_first_step: The ramp begins with the training, without a probe, and takes all epochs
            but those at the final sparsity.
        one_shot: The ramp has no length.
        of_channels: Whole channels are pruned.

    Raises:
        InputError: An argument is out of range, or the epochs do not suffice.
    """
    epochs = checks.integer("epochs", epochs, 1)
    checks.integer("steps_per_execution", steps_per_execution, 1)
    if steps_per_epoch is not None:
        checks.integer("steps_per_epoch", steps_per_epoch, 1)
    if one_shot:
        for name, given in (("ramp_epochs", ramp_epochs), ("ramp_steps", ramp_steps)):
            if given not in (None, 0):
                raise checks.refuse(name, given, "None or 0 with a schedule in one shot")
        ramp_epochs, ramp_steps = 0, None
    if ramp_steps is not None:
        checks.integer("ramp_steps", ramp_steps, 0)
        if steps_per_epoch is None:
            raise checks.refuse(
                "ramp_steps",
                ramp_steps,
                "None while the steps per epoch are not known; pass fit(steps_per_epoch=...)",
            )
        ramp_epochs = math.ceil(ramp_steps / steps_per_epoch)
    share = _HOLD_SHARE_OF_CHANNELS if of_channels else _HOLD_SHARE
    if from_first_step:
        hold = hold_epochs
        if hold is None:
            hold = min(max(1, round(share * epochs)), epochs - 1)
        hold = checks.integer("hold_epochs", hold, 0, epochs - 1)
        ramp, latest = epochs - hold, 0
        for name, given, own in (
            ("ramp_epochs", ramp_epochs, ramp),
            ("rewind_epoch", rewind_epoch, 0),
        ):
            if given not in (None, own):
                expected = f"None or {own} with a schedule that begins with the training"
                raise checks.refuse(name, given, expected)
    else:
        ramp, hold = _lengths(epochs, ramp_epochs, hold_epochs, share)
        latest = epochs - ramp - hold
    if not from_first_step and checks.integer("rewind_epoch", rewind_epoch) not in range(latest):
        expected = f"an integer from 0 to {latest - 1}, before the latest epoch to start pruning at"
        raise checks.refuse("rewind_epoch", rewind_epoch, expected)
    if frequency is not None and ramp:
        check_frequency(frequency, steps_per_execution)
    probes = () if from_first_step else _probe_epochs(latest, probe_every, probe_first)
    if probe_fraction is None:
        probe_fraction = min(1.0, _PROBE_BUDGET * epochs / max(1, len(probes)))
    else:
        probe_fraction = checks.number("probe_fraction", probe_fraction, above=0, high=1)
    if probe_learning_rate is not None:
        checks.number("probe_learning_rate", probe_learning_rate, above=0)
    elif learning_rate is not None:
        probe_learning_rate = LEARNING_RATE_SHARE * learning_rate
    probe_steps = None
    if steps_per_epoch is not None:
        probe_steps = retraining_steps(probe_fraction, steps_per_epoch)
        ramp_steps = ramp * steps_per_epoch if ramp_steps is None else ramp_steps
        frequency = frequency or update_frequency(ramp_steps, steps_per_execution)
    return Plan(
        epochs=epochs,
        ramp_epochs=ramp,
        hold_epochs=hold,
        latest_start_epoch=latest,
        rewind_epoch=rewind_epoch,
        probe_epochs=probes,
        probe_fraction=probe_fraction,
        probe_learning_rate=probe_learning_rate,
        steps_per_epoch=steps_per_epoch,
        ramp_steps=ramp_steps,
        frequency=frequency,
        probe_steps=probe_steps,
    )


def _lengths(
    epochs: int, ramp_epochs: int | None, hold_epochs: int | None, hold_share: float
) -> tuple[int, int]:
    """Returns the epochs of the ramp and at the final sparsity."""
    ramp = max(1, round(_RAMP_SHARE * epochs))
    hold = max(1, round(hold_share * epochs))
    if ramp_epochs is not None:
        ramp = checks.integer("ramp_epochs", ramp_epochs, 0)
    # Only lengths that the user did not ask for give way, the hold before the ramp.
    if hold_epochs is not None:
        hold = checks.integer("hold_epochs", hold_epochs, 0)
    else:
        hold = max(1, min(hold, epochs - 1 - ramp))
    if ramp_epochs is None:
        ramp = max(1, min(ramp, epochs - 1 - hold))
    if epochs < 1 + ramp + hold:
        raise checks.refuse(
            "epochs",
            epochs,
            f"an integer of at least {1 + ramp + hold}, to start pruning after epoch 1 with "
            f"{ramp} ramp_epochs and {hold} hold_epochs",
        )
    return ramp, hold


def _probe_epochs(latest: int, every: int | None, first: int | None) -> tuple[int, ...]:
    if every is None:
        every = math.ceil(latest / _PROBES)
    else:
        checks.integer("probe_every", every, 1)
    start = every if first is None else checks.integer("probe_first", first, 1)
    if start > latest:
        expected = f"an integer from 1 to {latest}, the latest epoch to start pruning at"
        raise checks.refuse("probe_every" if first is None else "probe_first", start, expected)
    return tuple(range(start, latest + 1, every))


def update_frequency(ramp_steps: int, steps_per_execution: int = 1) -> int:
    """Returns the steps between mask updates that give about 20 of them in a ramp.

    Args:
        ramp_steps: Length of the ramp in optimizer steps, >= 0.
        steps_per_execution: The result is a multiple of it, at least that.
    """
    return max(1, round(ramp_steps / (_UPDATES * steps_per_execution))) * steps_per_execution


def check_frequency(frequency: int, steps_per_execution: int) -> None:
    """Checks that Keras calls back at the steps of the mask updates."""
    if checks.integer("frequency", frequency, 1) % steps_per_execution:
        expected = f"a multiple of steps_per_execution={steps_per_execution}"
        raise checks.refuse("frequency", frequency, expected)


def retraining_steps(fraction: float, steps_per_epoch: int) -> int:
    """Returns the steps of a probe's retraining for `fraction` of an epoch, at most an epoch."""
    return min(max(round(fraction * steps_per_epoch), _LEAST_PROBE_STEPS), steps_per_epoch)


def iterative_sparsities(final_sparsity: float, prune_fraction: float = 0.2) -> list[float]:
    """Returns the sparsity after each round of iterative pruning (IP+WT), rising.

    Every round removes `prune_fraction` of the remaining weights, the last one as many as
    `final_sparsity` asks for: the smallest n with (1 - prune_fraction)^n <= 1 - final_sparsity
    (Frankle & Carbin, 2018).

    Args:
        final_sparsity: Fraction of prunable weights removed at the end, in [0, 1).
        prune_fraction: Fraction of the remaining weights removed per round, in (0, 1).

    Raises:
        InputError: An argument is out of range.
    """
    checks.number("final_sparsity", final_sparsity, low=0, below=1)
    checks.number("prune_fraction", prune_fraction, above=0, below=1)
    # 0.36 at 0.2 per round is exactly 2 rounds: float error must not make it a third.
    rounds = math.ceil(math.log1p(-final_sparsity) / math.log1p(-prune_fraction) - 1e-9)
    return [
        *(1 - (1 - prune_fraction) ** n for n in range(1, rounds)),
        *[final_sparsity] * (rounds > 0),
    ]


def iterative_pruning_epochs(
    final_sparsity: float, epochs: int, prune_fraction: float = 0.2
) -> int:
    """Returns the training epochs of iterative pruning (IP+WT): (rounds + 1) * epochs.

    Dense training for `epochs`, then one retraining of `epochs` per round, the last of which
    trains the ticket itself (the comparison of the paper's Table 4).

    Args:
        final_sparsity: As for `iterative_sparsities`, like `prune_fraction`.
        epochs: Epochs of one full training, >= 1.
    """
    rounds = len(iterative_sparsities(final_sparsity, prune_fraction))
    return (rounds + 1) * checks.integer("epochs", epochs, 1)
