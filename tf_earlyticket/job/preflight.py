"""Checks of a run's input, before any slow import and before anything is written."""

import logging
from operator import attrgetter
from pathlib import Path

from tf_earlyticket import checks
from tf_earlyticket.backends import FRAMEWORKS
from tf_earlyticket.backends.strategies import check_served
from tf_earlyticket.config import (
    Config,
    apply_target,
    check_fields,
    translate_old_fields,
)
from tf_earlyticket.data.catalog import check_available, is_found
from tf_earlyticket.deploy.bench import RUNTIMES
from tf_earlyticket.deploy.formats import INSTALL, missing
from tf_earlyticket.detectors.base import make_detector
from tf_earlyticket.files import sha256
from tf_earlyticket.job.build import (
    criterion_of,
    dataset_spec,
    family_of,
    goal_of,
    plan_of,
    shape_of,
)
from tf_earlyticket.job.devices import check_strategy
from tf_earlyticket.job.recipe import check_training
from tf_earlyticket.models import MODELS
from tf_earlyticket.models.applications import check_class
from tf_earlyticket.models.saved import check_file
from tf_earlyticket.pruning.updates import resolve_update
from tf_earlyticket.tickets.ticket import Ticket

logger = logging.getLogger(__name__)

_FLOAT32_MAX = 3.4e38
# What has other bounds than its type; the plan, the data set and others check fields of their own.
_BOUNDS = {
    "train.epochs": {"low": 1},
    "train.batch_size": {"low": 1},
    "train.learning_rate": {"above": 0, "high": _FLOAT32_MAX},
    "train.drop_factor": {"above": 0, "high": 1},
    "train.momentum": {"low": 0, "below": 1},
    "train.weight_decay": {"low": 0, "high": _FLOAT32_MAX},
    "train.steps_per_execution": {"low": 1},
    "pruning.final_sparsity": {"low": 0, "below": 1},
}
_CHOICES = {
    "model.keras": FRAMEWORKS,
    "train.dtype_policy": ("float32", "mixed_bfloat16", "mixed_float16"),
    "pruning.mode": ("continue", "rewind"),
}


def check_config(config: Config, data_dir=None) -> None:
    """Checks every field of the config, and those that must fit the size of the data set.

    Args:
        config: Gets the fingerprint of a set that its files describe.
        data_dir: Where such a set lies.

    Raises:
        InputError: For the first field that cannot be used, named with its full path.
    """
    check_fields(config)
    if old := translate_old_fields(config.probe):
        logger.warning("%s", old)
    find_data(config, data_dir)
    if family_of(config):
        _check_network(config)
        if config.ticket is not None:
            expected = "None with a family: a ticket that is given has its sparsity"
            raise checks.refuse("config.ticket", config.ticket, expected)
        if shape_of(config.pruning).from_first_step:
            expected = "one with a start epoch, such as 'cubic', with a family"
            raise checks.refuse("config.pruning.schedule", config.pruning.schedule, expected)
        if config.train.restart and config.train.dense_baseline:
            expected = (
                "false, or train.dense_baseline=false, with a family: ramps end at other steps"
            )
            raise checks.refuse("config.train.restart", True, expected)
        for member in family_of(config).values():
            check_config(member, data_dir)
        _check_goal(config)
        return
    apply_target(config.pruning)
    train, pruning, probe = config.train, config.pruning, config.probe
    for name, accepted in _CHOICES.items():
        checks.choice(f"config.{name}", attrgetter(name)(config), accepted)
    for name, bounds in _BOUNDS.items():
        checks.number(f"config.{name}", attrgetter(name)(config), **bounds)
    high = pruning.final_sparsity
    checks.number("config.pruning.initial_sparsity", pruning.initial_sparsity, low=0, high=high)
    if probe.validation_fraction is not None:
        name = "config.probe.validation_fraction"
        checks.number(name, probe.validation_fraction, above=0, high=1)
    if probe.learning_rate is not None:
        name = "config.probe.learning_rate"
        checks.number(name, probe.learning_rate, above=0, high=_FLOAT32_MAX)
    checks.integer("config.seed", config.seed, 0, 2**31 - 1)
    check_training(train)
    _check_network(config)
    criterion = criterion_of(pruning)
    of_channels = criterion.of_channels
    with checks.prefixed("config.pruning."):
        update = resolve_update(pruning.update)
        update.check(criterion)
        if update.grows and (pruning.mode == "rewind" or config.ticket is not None):
            raise checks.refuse(
                "update",
                pruning.update,
                "'shrink' with mode='rewind' or a ticket: there is no ramp",
            )
    if pruning.shrink_after_ramp and not (
        of_channels and pruning.mode == "continue" and config.ticket is None
    ):
        expected = "structure='channels' with it, mode='continue' and no ticket"
        raise checks.refuse("config.pruning.shrink_after_ramp", True, expected)
    with checks.prefixed("config.data."):
        spec = dataset_spec(config)
    if spec.validation_examples == 0:
        expected = "at least 1; the probes need them"
        raise checks.refuse("config.data.validation_examples", 0, expected)
    if train.batch_size > spec.train_examples:
        expected = f"at most the {spec.train_examples} training examples"
        raise checks.refuse("config.train.batch_size", train.batch_size, expected)
    at_once = shape_of(pruning).from_first_step
    if at_once and (pruning.mode == "rewind" or config.ticket is not None):
        expected = "one with a start epoch, such as 'cubic', with mode='rewind' or a ticket"
        raise checks.refuse("config.pruning.schedule", pruning.schedule, expected)
    if train.restart and (
        pruning.mode == "rewind" or config.ticket is not None or pruning.shrink_after_ramp
    ):
        expected = "false with mode='rewind', a ticket or shrink_after_ramp"
        raise checks.refuse("config.train.restart", True, expected)
    if train.distillation and (
        at_once
        or pruning.mode == "rewind"
        or config.ticket is not None
        or pruning.shrink_after_ramp
    ):
        expected = "0 with mode='rewind', a ticket, shrink_after_ramp or a schedule without a start"
        raise checks.refuse("config.train.distillation", train.distillation, expected)
    plan = plan_of(config)
    with checks.prefixed("config."):
        make_detector(probe.detector, max(1, plan.latest_start_epoch))
    if config.ticket is not None:
        _check_ticket(config)


def _check_network(config: Config) -> None:
    model = config.model
    if model.file is None:
        with checks.prefixed("config.model."):
            name, parameters = MODELS.parse(model.name)
            if name == "application":
                check_class(parameters["name"], model.keras)
        return
    with checks.prefixed("config.model."):
        check_file(model.file, model.keras)
    path = Path(model.file).expanduser()
    model.name, fingerprint = f"file/{path.stem}", sha256(path)[:16]
    if model.fingerprint not in (None, fingerprint):
        expected = f"{fingerprint!r}, of {path}, or the file it is of"
        raise checks.refuse("config.model.fingerprint", model.fingerprint, expected)
    model.fingerprint = fingerprint
    if config.train.dtype_policy != "float32":
        expected = "'float32' beside config.model.file, whose types are those of the file"
        raise checks.refuse("config.train.dtype_policy", config.train.dtype_policy, expected)
    if model.synchronized_batch_norm:
        raise checks.refuse("config.model.synchronized_batch_norm", True, "false beside file")


def find_data(config: Config, data_dir) -> None:
    """Checks that a set that its files describe is there, and the same; gives its fingerprint.

    Raises:
        InputError: If it is not.
    """
    data = config.data
    if not is_found(data.name):
        return
    # Not before it is needed: it imports what reads pictures.
    from tf_earlyticket.data.found import find

    fingerprint = find(data.name, data_dir)
    if data.fingerprint not in (None, fingerprint):
        expected = f"{fingerprint!r}, of the files in --data_dir={data_dir}, or those it is of"
        raise checks.refuse("config.data.fingerprint", data.fingerprint, expected)
    data.fingerprint = fingerprint


def _check_goal(config: Config) -> None:
    """Checks that a goal can be measured in a run of the config."""
    goal = goal_of(config.pruning)
    if goal is None:
        return

    def refuse(expected: str) -> None:
        raise checks.refuse("config.pruning.goal", goal.text, expected)

    if not config.train.dense_baseline:
        refuse("train.dense_baseline=true with it: the dense network is what tickets are held to")
    if goal.of_accuracy and config.train.recalibrate_batch_norm:
        refuse("train.recalibrate_batch_norm=0 with it: accuracies are those of the training")
    members = family_of(config).values()
    of_channels = all(criterion_of(member.pruning).of_channels for member in members)
    if goal.macs is not None:
        if not of_channels:
            refuse("structure='channels' with macs: single weights that are zero save none")
        if not all(member.pruning.target for member in members):
            refuse("target=macs:... with macs, in place of final_sparsity")
        parts = [1 - member.pruning.final_sparsity for member in members]
        if goal.macs < min(parts) - 1e-9:
            refuse(f"a target of at most {goal.macs:g} among those to choose from")
    if goal.runtime is not None:
        with checks.prefixed(f"config.pruning.goal={goal.text!r}: "):
            checks.choice("runtime", goal.runtime, RUNTIMES)
        if absent := missing(RUNTIMES[goal.runtime].needed):
            refuse(f"a runtime that is installed; {', '.join(absent)} is not: {INSTALL}")


def _check_ticket(config: Config) -> None:
    with checks.prefixed(f"config.ticket={config.ticket!r}: "):
        ticket = Ticket.load(config.ticket)
    if ticket.channels and config.pruning.structure is None:
        # Its masks are of other weights than those of single ones.
        made = ticket.provenance.get("pruning", {})
        config.pruning.structure = made.get("structure", "channels")
    try:
        made_of = ticket.provenance["config"]["model"]["name"]
    except (KeyError, TypeError):
        return
    if made_of != config.model.name:
        expected = f"{made_of!r}, the network of config.ticket={config.ticket!r}"
        raise checks.refuse("config.model.name", config.model.name, expected)


def check_one_ticket(config: Config) -> None:
    """Checks that a config asks for one ticket, where no more can be made.

    Raises:
        InputError: If it asks for several, or for what a ticket has to reach.
    """
    if family_of(config):
        pruning = config.pruning
        name = next(name for name in ("goal", "family", "target") if getattr(pruning, name))
        expected = "one ticket; et.train_family makes several"
        raise checks.refuse(f"config.pruning.{name}", getattr(pruning, name), expected)


def check_run(config: Config, data_dir, strategy: str) -> None:
    """Checks everything that a run needs and that can be checked without opening the data.

    Raises:
        InputError: For the first thing that cannot be used.
    """
    check_config(config, data_dir)
    check_strategy(strategy)
    check_served(config.model.keras, strategy)
    if strategy == "multi_worker" and not config.data.deterministic:
        expected = "true with --strategy=multi_worker, where workers share one order of examples"
        raise checks.refuse("config.data.deterministic", False, expected)
    if strategy == "multi_worker" and family_of(config):
        expected = "of one process with a family of tickets"
        raise checks.refuse("--strategy", strategy, expected)
    check_available(config.data.name, data_dir)
