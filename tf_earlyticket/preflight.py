"""Checks of a run's input, before any slow import and before anything is written."""

import dataclasses
import typing

from tf_earlyticket.config import Config, validate
from tf_earlyticket.data.catalog import check_available, describe
from tf_earlyticket.errors import InputError, suggestion

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


def check_config(config: Config) -> None:
    """Checks every field of the config, and those that must fit the size of the data set.

    Raises:
        InputError: For the first field that cannot be used.
    """
    _check_fields(config, "config")
    validate(config)
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


def _check_fields(section, path: str) -> None:
    """Checks what a config file may have set: only fields that exist, of their types."""
    types = typing.get_type_hints(type(section))
    for name, value in vars(section).items():
        if name not in types:
            raise InputError(
                f"{path}.{name} is not a field of the config.{suggestion(name, types)}"
            )
        if dataclasses.is_dataclass(types[name]):
            if not isinstance(value, types[name]):
                raise InputError(f"{path}.{name}={value!r}: expected a {types[name].__name__}.")
            _check_fields(value, f"{path}.{name}")
        elif not _has_type(value, types[name]):
            expected = getattr(types[name], "__name__", str(types[name]))
            if typing.get_origin(types[name]):
                expected = str(types[name]).removeprefix("typing.")
            raise InputError(f"{path}.{name}={value!r}: expected a value of type {expected}.")


def _has_type(value, kind) -> bool:
    if typing.get_origin(kind) is typing.Union:
        return any(_has_type(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return isinstance(value, (tuple, list)) and all(_has_type(part, item) for part in value)
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def check_strategy(name: str) -> None:
    """Checks the value of --strategy.

    Raises:
        InputError: If it is unknown.
    """
    if name not in STRATEGIES:
        raise InputError(
            f"--strategy={name}: expected one of {', '.join(STRATEGIES)}."
            f"{suggestion(name, STRATEGIES)}"
        )


def check_run(config: Config, data_dir, strategy: str) -> None:
    """Checks everything that a run needs and that can be checked without opening the data.

    Raises:
        InputError: For the first thing that cannot be used.
    """
    check_config(config)
    check_strategy(strategy)
    check_available(config.data.name, data_dir)
