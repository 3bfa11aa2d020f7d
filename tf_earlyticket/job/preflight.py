"""Checks of a run's input, before any slow import and before anything is written."""

import contextlib
import logging
import math

from tf_earlyticket.backends import FRAMEWORKS
from tf_earlyticket.config import Config, check_fields, translate_old_fields
from tf_earlyticket.data.catalog import check_available, describe
from tf_earlyticket.detectors.base import make_detector
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.job.build import plan_of
from tf_earlyticket.job.devices import check_strategy
from tf_earlyticket.models import MODELS
from tf_earlyticket.pruning.select import resolve_criterion
from tf_earlyticket.tickets.ticket import Ticket

logger = logging.getLogger(__name__)


def check_config(config: Config) -> None:
    """Checks every field of the config, and those that must fit the size of the data set.

    Raises:
        InputError: For the first field that cannot be used.
    """
    check_fields(config)
    old = translate_old_fields(config.probe)
    if old:
        logger.warning("%s", old)
    _check_values(config)
    _check_ticket(config)
    data = config.data
    spec = describe(
        data.name,
        image_size=data.image_size,
        validation_examples=data.validation_examples,
        train_examples=data.train_examples,
    )
    if config.train.batch_size > spec.train_examples:
        raise InputError(
            f"config.train.batch_size={config.train.batch_size}: expected at most the "
            f"{spec.train_examples} training examples."
        )
    if spec.validation_examples == 0:
        raise InputError(
            "config.data.validation_examples=0: expected at least 1; the probes need them."
        )


def _check_ticket(config: Config) -> None:
    if config.ticket is None:
        return
    with _prefixed(f"config.ticket={config.ticket!r}: "):
        ticket = Ticket.load(config.ticket)
    try:
        made_of = ticket.provenance["config"]["model"]["name"]
    except (KeyError, TypeError):
        return
    if made_of != config.model.name:
        raise InputError(
            f"config.model.name={config.model.name!r}: expected {made_of!r}, the network of "
            f"config.ticket={config.ticket!r}."
        )


def _check_values(config: Config) -> None:
    """Checks every field.

    Raises:
        InputError: For the first field that is out of range, named with its full path.
    """
    with _prefixed("config.model."):
        MODELS.parse(config.model.name)
    _choice("model.keras", config.model.keras, FRAMEWORKS)
    with _prefixed("config.data."):
        describe(
            config.data.name,
            image_size=config.data.image_size,
            validation_examples=config.data.validation_examples,
            train_examples=config.data.train_examples,
        )
    train, pruning, probe = config.train, config.pruning, config.probe
    _range("train.epochs", train.epochs, low=1)
    _range("train.batch_size", train.batch_size, low=1)
    _range("train.learning_rate", train.learning_rate, above=0)
    _range("train.drop_factor", train.drop_factor, above=0, high=1)
    _range("train.momentum", train.momentum, low=0, below=1)
    _range("train.weight_decay", train.weight_decay, low=0)
    _range("train.steps_per_execution", train.steps_per_execution, low=1)
    drops = list(train.drop_epochs)
    if drops != sorted(set(drops)) or any(d < 1 for d in drops):
        raise InputError(f"config.train.drop_epochs={train.drop_epochs}: expected rising epochs.")
    _choice(
        "train.dtype_policy", train.dtype_policy, ("float32", "mixed_bfloat16", "mixed_float16")
    )
    _choice("pruning.mode", pruning.mode, ("continue", "rewind"))
    _range("pruning.final_sparsity", pruning.final_sparsity, low=0, below=1)
    _range("pruning.initial_sparsity", pruning.initial_sparsity, low=0, high=pruning.final_sparsity)
    with _prefixed("config.pruning."):
        resolve_criterion(pruning.ranking, pruning.group_size)
    if probe.validation_fraction is not None:
        _range("probe.validation_fraction", probe.validation_fraction, above=0, high=1)
    _range("seed", config.seed, low=0, high=2**31 - 1)
    plan = plan_of(config)
    with _prefixed("config."):
        make_detector(probe.detector, plan.latest_start_epoch)


@contextlib.contextmanager
def _prefixed(prefix: str):
    """Says in which part of the config a value is that a function of an earlier stage refuses."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error


def _range(name, value, *, low=None, above=None, high=None, below=None):
    accepted = " and ".join(
        f"{sign} {bound}"
        for sign, bound in ((">=", low), (">", above), ("<=", high), ("<", below))
        if bound is not None
    )
    good = (
        isinstance(value, (int, float))
        and math.isfinite(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )
    if not good:
        raise InputError(f"config.{name}={value}: expected a number {accepted}.")


def _choice(name, value, accepted):
    if value not in accepted:
        raise InputError(
            f"config.{name}={value!r}: expected one of {', '.join(accepted)}."
            f"{suggestion(str(value), accepted)}"
        )


def check_tf_keras(config: Config) -> None:
    """Checks that a config is one for tf_keras, which the paper's experiments are made with.

    Raises:
        InputError: If it is not.
    """
    if config.model.keras != "tf_keras":
        raise InputError(
            f"config.model.keras={config.model.keras!r}: expected 'tf_keras'; Keras 3 is for "
            "tf_earlyticket.train."
        )


def check_run(config: Config, data_dir, strategy: str) -> None:
    """Checks everything that a run needs and that can be checked without opening the data.

    Raises:
        InputError: For the first thing that cannot be used.
    """
    check_config(config)
    check_strategy(strategy)
    if config.model.keras == "keras" and strategy not in ("auto", "one_device"):
        raise InputError(
            f"--strategy={strategy}: expected one_device with config.model.keras='keras'; several "
            "devices are for tf_keras."
        )
    if strategy == "multi_worker" and not config.data.deterministic:
        raise InputError(
            "config.data.deterministic=False: expected true with --strategy=multi_worker, where "
            "each worker takes its part of one common order."
        )
    check_available(config.data.name, data_dir)
