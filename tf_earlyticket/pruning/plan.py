"""How the epochs of one run are divided: probing, ramp, training at full sparsity."""

import math
from dataclasses import dataclass

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.schedule import check_integer

# Shares of the run used when the user gives no lengths. The paper leaves them open; its
# start epochs (75 or 100 of 200, 45 of 90) stay reachable with these.
_RAMP_SHARE = 0.2
_HOLD_SHARE = 0.15


@dataclass(frozen=True)
class RampPlan:
    """The division of a run into epochs, as `plan_ramp` made it.

    Attributes:
        epochs: Epochs of the whole run.
        ramp_epochs: Epochs over which sparsity rises; 0 is one-shot pruning.
        hold_epochs: Epochs of training at the final sparsity.
        latest_start_epoch: Last epoch (from 1) after which pruning may start.
    """

    epochs: int
    ramp_epochs: int
    hold_epochs: int
    latest_start_epoch: int


def plan_ramp(
    epochs: int,
    *,
    ramp_epochs: int | None = None,
    hold_epochs: int | None = None,
    first_start_epoch: int = 1,
) -> RampPlan:
    """Plans gradual pruning so that a run of `epochs` ends at the final sparsity.

    Epochs count from 1. A start epoch s means that pruning starts at the END of epoch s:
    mask m_s is taken from the weights after s epochs. Sparsity then rises for
    `ramp_epochs`, and `hold_epochs` of training follow at the final sparsity.

    Args:
        epochs: Epochs of the whole run, >= 1.
        ramp_epochs: Length of the ramp, >= 0; 0 is one-shot. None: a fifth of the run, at
            least 1, less where it would not fit.
        hold_epochs: Epochs at the final sparsity, >= 0. None: 15 % of the run, at least 1,
            less where it would not fit.
        first_start_epoch: Earliest start epoch the caller needs to be possible, >= 1.

    Returns:
        The plan, with `latest_start_epoch = epochs - ramp_epochs - hold_epochs`.

    Raises:
        InputError: An argument is out of range, or the epochs do not suffice.
    """
    epochs = check_integer("epochs", epochs, 1)
    first_start_epoch = check_integer("first_start_epoch", first_start_epoch, 1)
    if ramp_epochs is None:
        ramp = max(1, round(_RAMP_SHARE * epochs))
    else:
        ramp = check_integer("ramp_epochs", ramp_epochs, 0)
    if hold_epochs is None:
        hold = max(1, round(_HOLD_SHARE * epochs))
    else:
        hold = check_integer("hold_epochs", hold_epochs, 0)

    # Only lengths that the user did not ask for give way, the hold before the ramp.
    room = epochs - first_start_epoch
    if hold_epochs is None:
        hold = max(1, min(hold, room - ramp))
    if ramp_epochs is None:
        ramp = max(1, min(ramp, room - hold))
    latest_start_epoch = epochs - ramp - hold
    if latest_start_epoch < first_start_epoch:
        raise InputError(
            f"epochs must be >= {first_start_epoch + ramp + hold} to start pruning after epoch "
            f"{first_start_epoch}, with {ramp} ramp_epochs and {hold} hold_epochs, got {epochs}"
        )
    return RampPlan(epochs, ramp, hold, latest_start_epoch)


def update_frequency(ramp_steps: int, steps_per_execution: int = 1, updates: int = 20) -> int:
    """Returns the steps between mask updates that give about `updates` of them in a ramp.

    Args:
        ramp_steps: Length of the ramp in optimizer steps, >= 0.
        steps_per_execution: Steps that Keras runs between two batch callbacks, >= 1; masks
            can only be updated at its multiples.
        updates: Wanted number of updates, >= 1.

    Returns:
        A multiple of `steps_per_execution`, at least that.

    Raises:
        InputError: An argument is out of range.
    """
    ramp_steps = check_integer("ramp_steps", ramp_steps, 0)
    steps_per_execution = check_integer("steps_per_execution", steps_per_execution, 1)
    updates = check_integer("updates", updates, 1)
    return max(1, round(ramp_steps / (updates * steps_per_execution))) * steps_per_execution


def probe_epochs(
    latest_start_epoch: int,
    *,
    every: int | None = None,
    first: int | None = None,
    probes: int = 20,
) -> list[int]:
    """Returns the epochs (from 1) at whose end to probe, evenly spaced.

    Args:
        latest_start_epoch: Last epoch at which a probe can still start pruning, >= 1.
        every: Epochs between two probes, >= 1. None: as few as give at most `probes` of
            them.
        first: Epoch of the first probe, >= 1. None: `every`.
        probes: Wanted number of probes, >= 1; used only where `every` is None.

    Returns:
        Rising epochs, at least one, none above `latest_start_epoch`.

    Raises:
        InputError: An argument is out of range, or the first probe would come too late.
    """
    latest_start_epoch = check_integer("latest_start_epoch", latest_start_epoch, 1)
    probes = check_integer("probes", probes, 1)
    if every is None:
        spacing = math.ceil(latest_start_epoch / probes)
    else:
        spacing = check_integer("every", every, 1)
    start = spacing if first is None else check_integer("first", first, 1)
    if start > latest_start_epoch:
        raise InputError(
            f"{'every' if first is None else 'first'} must be <= the latest start epoch "
            f"{latest_start_epoch}, or no probe is made, got {start}"
        )
    return list(range(start, latest_start_epoch + 1, spacing))
