"""The plan of a `fit`, from what the schedule, the callback and `fit` itself were given."""

import math
from collections.abc import Mapping

from tf_earlyticket.errors import InputError
from tf_earlyticket.pruning.plan import RampPlan, plan_ramp
from tf_earlyticket.pruning.schedule import PolynomialSparsity


def plan_run(
    schedule,
    *,
    epochs: int,
    steps_per_epoch: int | None,
    ramp_epochs: int | None,
    hold_epochs: int | None,
    rewind_epoch: int,
) -> RampPlan:
    """Divides the epochs of a `fit` between probing, ramp and training at full sparsity.

    Args:
        schedule: An `EarlyTicketPolynomialDecay`; its `ramp_steps` count before `ramp_epochs`.
        epochs: As given to `fit`.
        steps_per_epoch: As Keras knows them before the first epoch, None if it does not.
        ramp_epochs: As given to `EarlyTicket`.
        hold_epochs: As given to `EarlyTicket`.
        rewind_epoch: As given to `EarlyTicket`.

    Raises:
        InputError: If the epochs do not suffice or an argument is out of range.
    """
    if schedule.ramp_steps is not None:
        if steps_per_epoch is None:
            raise InputError(
                f"ramp_steps={schedule.ramp_steps} of the schedule needs a known number of steps "
                "per epoch: pass fit(steps_per_epoch=...) or leave ramp_steps unset."
            )
        ramp_epochs = math.ceil(schedule.ramp_steps / steps_per_epoch)
    plan = plan_ramp(epochs, ramp_epochs=ramp_epochs, hold_epochs=hold_epochs)
    latest = plan.latest_start_epoch
    if not 0 <= rewind_epoch < latest:
        raise InputError(
            f"rewind_epoch={rewind_epoch}: expected one from 0 to {latest - 1}, before {latest}, "
            "the latest epoch at which pruning can start."
        )
    return plan


def check_epochs_left(
    schedule: PolynomialSparsity | None,
    plan: RampPlan | None,
    initial_epoch: int,
    params: Mapping,
    step: int,
) -> None:
    """Checks that a `fit` that continues training can still end at the final sparsity.

    Args:
        schedule: The schedule in force, None while its begin is unset.
        plan: The plan of this `fit`; used while the begin is unset.
        initial_epoch: Epochs done.
        params: Keras' "epochs" and "steps" of this `fit`.
        step: Optimizer steps done.

    Raises:
        InputError: If the epochs do not suffice.
    """
    if schedule is None:
        if initial_epoch >= plan.latest_start_epoch:
            raise InputError(
                f"initial_epoch={initial_epoch}: the final sparsity cannot be reached in the "
                f"epochs left; expected at most {plan.latest_start_epoch - 1}, or more epochs."
            )
        return
    epochs = params["epochs"]
    last_step = step + (epochs - initial_epoch) * (params.get("steps") or math.inf)
    if last_step < schedule.end_step:
        raise InputError(
            f"epochs={epochs}: training would end at step {last_step}, before the final "
            f"sparsity is reached at step {schedule.end_step}; expected more epochs."
        )
