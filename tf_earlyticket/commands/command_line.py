"""What the command-line programs share: flags, parsing, errors in one line, exit status.

Importing this imports neither TensorFlow nor Keras: a mistake is reported at once.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from tf_earlyticket.backends import check_installed
from tf_earlyticket.commands import notices
from tf_earlyticket.config import Config, field_paths
from tf_earlyticket.errors import InputError, Interrupted, RunError, suggestion
from tf_earlyticket.job import default_config
from tf_earlyticket.job.devices import STRATEGIES
from tf_earlyticket.job.preflight import check_config


def define_common_flags(config_file: str = default_config.__file__) -> None:
    """Defines the flags that every program has which trains by a config.

    Args:
        config_file: Default of --config, FILE.py or FILE.py:variant.
    """
    config_flags.DEFINE_config_file(
        "config",
        config_file,
        "Config file, FILE.py or FILE.py:variant. Single fields: "
        "--config.pruning.final_sparsity=0.9",
    )
    flags.DEFINE_string("data_dir", None, "Where TFDS data sets lie; default TFDS's own directory")
    flags.DEFINE_string("strategy", "auto", f"Devices: {', '.join(STRATEGIES)}")
    flags.DEFINE_bool("dry_run", False, "Print config, prunable layers, steps, schedule, and exit")


def checked_config(argv: list[str], seed: int | None = None, keras: str | None = None) -> Config:
    """Returns the config of --config, good as far as can be told without its data.

    Args:
        argv: What is left of the command line besides flags.
        seed: Replaces the config's, if given.
        keras: Replaces the config's, if given.

    Raises:
        InputError: For an argument that is no flag, and for a config that cannot be used.
    """
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}: expected flags only.")
    config = flags.FLAGS.config
    if not isinstance(config, Config):
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        reason = f"returns a {type(config).__name__}" if Path(name).is_file() else "is no file"
        raise InputError(
            f"--config={name}: {reason}; expected a Python file whose get_config() returns a "
            "Config."
        )
    if seed is not None:
        config.seed = seed
    if keras is not None:
        config.model.keras = keras
    check_config(config)
    check_installed(config.model.keras)
    return config


def print_dry_run(config: Config) -> None:
    """Prints what a run of the config would do. Imports TensorFlow."""
    import_tensorflow()

    from tf_earlyticket.commands.dry_run import describe_run

    print(describe_run(config))


def quiet_tensorflow() -> None:
    """Hides TensorFlow's notices, which would bury what a program says, unless asked for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)


def import_tensorflow() -> None:
    """Imports TensorFlow without the notices it gives before its log level counts.

    On a machine without an NVIDIA device, also without the error that there is none.
    """
    if flags.FLAGS["verbosity"].present:
        return
    with notices.hidden():
        # Looks for devices, which it would otherwise do, and tell, in the midst of a run.
        importlib.import_module("tensorflow").config.list_physical_devices()


def console() -> Console:
    """Returns a console for tables, wide enough for names where the output is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 120)


def parse(argv: list[str], define: Callable[[], None]) -> list[str]:
    """Defines the flags and parses the command line.

    Raises:
        InputError: For an unknown flag or field, or a value of the wrong type.
    """
    try:
        # The config's fields become flags of their own while it is defined, so that fails too.
        define()
        _show_in_help(argv[0])
        return flags.FLAGS(argv)
    except SystemExit:
        # absl ends --help with status 1; asking for help is no failure.
        sys.exit(0)
    except Exception as error:
        raise InputError(_explain(error, argv)) from error


def _show_in_help(program: str) -> None:
    """Makes --help show the flags of the program, which its body and this module define."""
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("tf_earlyticket."):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(program, flag)


def _explain(error: Exception, argv: list[str]) -> str:
    # absl quotes a config file that raises with its traceback: the last line says what is wrong.
    text = str(error.args[0] if error.args else error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    in_config_file = "parsing config file" in text
    if isinstance(error, flags.Error) and not in_config_file:
        message = re.sub(r"invalid literal for int.*", "expected an integer.", lines[0])
        message = re.sub(r"\(.Non-boolean arg.*", "expected true or false.", message)
        message = re.sub(r"could not convert string to float.*", "expected a number.", message)
        return message.removeprefix("ERROR:: ")
    unknown = _unknown_field(argv)
    if unknown and isinstance(error, (KeyError, AttributeError)) and not in_config_file:
        return unknown
    given = [argument for argument in argv[1:] if argument.startswith("--config=")]
    lines[-1] = lines[-1].rstrip(".")
    reason = lines[-1] if in_config_file else f"{type(error).__name__}: {lines[-1]}"
    return (
        f"{' '.join(given) or '--config'}: {reason}; expected a Python file whose get_config() "
        "returns a Config."
    )


def _unknown_field(argv: list[str]) -> str:
    known = field_paths(Config())
    for argument in flags.FLAGS.read_flags_from_files(argv[1:]):
        name = argument.lstrip("-").split("=")[0]
        if name.startswith("config.") and name.removeprefix("config.") not in known:
            field = name.removeprefix("config.")
            return f"--{name} is not a field of the config.{suggestion(field, known)}"
    return ""


def run_program(define: Callable[[], None], program_main: Callable[[list[str]], None]) -> None:
    """Runs an absl program; for an `InputError` prints one line on stderr and exits with 2."""

    def guarded(function, *arguments):
        try:
            return function(*arguments)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except Interrupted as error:
            print(f"\nterminated, {error}: the same command continues the run.", file=sys.stderr)
            sys.exit(1)
        except RunError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except OSError as error:
            print(f"error: {error}; what was finished before is kept.", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            print("\ninterrupted: the same command continues the run.", file=sys.stderr)
            sys.exit(1)

    app.run(
        lambda argv: guarded(program_main, argv),
        flags_parser=lambda argv: guarded(parse, argv, define),
    )
