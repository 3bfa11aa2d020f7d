"""What the command-line programs share: flags, parsing, errors in one line, tables, exit status.

Importing this imports neither TensorFlow nor Keras: a mistake is reported at once.
"""

import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from tf_earlyticket import checks
from tf_earlyticket.backends import FRAMEWORKS, backend_named, check_installed
from tf_earlyticket.backends.strategies import STRATEGIES
from tf_earlyticket.commands import notices
from tf_earlyticket.config import Config, field_paths
from tf_earlyticket.data.catalog import is_found
from tf_earlyticket.errors import InputError, Interrupted, RunError, suggestion
from tf_earlyticket.job import default_config
from tf_earlyticket.job.build import describe_run, family_of
from tf_earlyticket.job.preflight import check_config

_EXPECTED = {"int": "an integer", "float": "a number", "bool": "true or false"}


def define_common_flags(config_file: str = default_config.__file__) -> None:
    """Defines the flags that every program has which trains by a config.

    Args:
        config_file: Default of --config, FILE.py or FILE.py:variant.
    """
    load_extensions()
    config_flags.DEFINE_config_file(
        "config",
        config_file,
        "Config file, FILE.py or FILE.py:variant. Single fields: "
        "--config.pruning.final_sparsity=0.9; --dry_run prints them all, docs/config.md says what "
        "they are",
    )
    flags.DEFINE_string("data_dir", None, "Where TFDS data sets lie; default TFDS's own directory")
    flags.DEFINE_string("strategy", "auto", f"Devices: {', '.join(STRATEGIES)}")
    flags.DEFINE_enum(
        "keras",
        None,
        FRAMEWORKS,
        "Which Keras: tf_keras, or keras (Keras 3, on the backend of KERAS_BACKEND); default "
        "config.model.keras",
    )
    flags.DEFINE_bool("dry_run", False, "Print config, prunable layers, steps, schedule, and exit")


def load_extensions() -> None:
    """Defines --extensions and imports its files, before anything looks for the names in them.

    Raises:
        InputError: If one cannot be imported.
    """
    if "extensions" in flags.FLAGS:
        return
    flags.DEFINE_list("extensions", [], "Python files of yours that register names, imported first")
    for path in given("extensions").split(","):
        if not path:
            continue
        try:
            spec = importlib.util.spec_from_file_location(Path(path).stem, path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        # A file that ends the program would do so silently, as if all were done.
        except (Exception, SystemExit) as error:
            line = " ".join(str(error).split())
            reason = line if isinstance(error, InputError) else f"{type(error).__name__}: {line}"
            expected = f"Python files that can be imported, got {reason.rstrip('.')}"
            raise checks.refuse("--extensions", path, expected) from error


def given_arguments() -> list[str]:
    """Returns the command line; flag files are written out, a run's own may be among them.

    Raises:
        InputError: If a flag file, or an argument, is no text.
    """
    for argument in sys.argv:
        if not argument.isprintable():
            raise InputError(f"{argument!r}: expected an argument in printable characters.")
    try:
        return flags.FLAGS.read_flags_from_files(sys.argv[1:])
    except UnicodeDecodeError as error:
        raise InputError(f"--flagfile: expected a text file, a flag a line, got: {error}") from None


def given(flag: str) -> str:
    """Returns the value of a flag on the command line before flags are parsed, "" if not there.

    Of a flag that is there more than once it is the last, which counts.
    """
    arguments, found = given_arguments(), ""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, joined, value = argument.lstrip("-").partition("=")
        if name == flag and argument.startswith("-"):
            found = value if joined else following
    return found


def checked_config(argv: list[str], seed: int | None = None) -> Config:
    """Returns the config of --config, good as far as can be told without its data.

    Args:
        argv: What is left of the command line besides flags.
        seed: Replaces the config's, if given.

    Raises:
        InputError: For an argument that is no flag, and for a config that cannot be used.
    """
    flags_only(argv)
    config = flags.FLAGS.config
    if not isinstance(config, Config):
        name = config_flags.get_config_filename(flags.FLAGS["config"])
        reason = f"returns a {type(config).__name__}" if Path(name).is_file() else "is no file"
        if ":" in str(Path(name).parent):
            reason = "its path has a colon, and what follows a colon is the name of a variant"
        raise InputError(
            f"--config={name}: {reason}; expected a Python file whose get_config() returns a "
            "Config."
        )
    if seed is not None:
        config.seed = seed
    if flags.FLAGS.keras is not None:
        config.model.keras = flags.FLAGS.keras
    overridden = config_flags.get_override_values(flags.FLAGS["config"])
    if is_found(config.data.name) and "data.name" in overridden:
        # Those of the config file were of its own data set.
        config.data.validation_examples = overridden.get("data.validation_examples")
    check_config(config, getattr(flags.FLAGS, "data_dir", None))
    check_installed(config.model.keras)
    return config


def flags_only(argv: list[str]) -> None:
    """Checks that nothing but flags is on the command line.

    Raises:
        InputError: If there is.
    """
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}: expected flags only.")


def check_file(flag: str, path: str | None, ending: str = "") -> None:
    """Checks that a flag names what can be written at the end: a file, or none.

    Raises:
        InputError: If it is a directory, or has another ending.
    """
    if path and (Path(path).is_dir() or not path.endswith(ending)):
        kind = f"a file that ends in {ending}, or none" if ending else "a file, got a directory"
        raise checks.refuse(f"--{flag}", path, kind)


def workdir_of(config: Config, prefix: str = "") -> tuple[Path, list[str]]:
    """Returns the directory of a run, and the arguments that say the same command again.

    Args:
        config: Names the directory where there is no --workdir.
        prefix: In front of that name.
    """
    arguments = given_arguments()
    if flags.FLAGS.workdir is not None:
        return Path(flags.FLAGS.workdir), arguments
    workdir = Path("runs") / f"{prefix}{config.run_name()}"
    return workdir, [*arguments, f"--workdir={workdir}"]


def command(program: str, arguments: Sequence[str]) -> str:
    """Returns the command line of a program, for a shell."""
    return shlex.join(["python", "-m", f"tf_earlyticket.{program}", *arguments])


def training_command(program: str, config: Config, arguments: Sequence[str]) -> str:
    """Returns the same for a program that trains: it computes with the same. Imports Keras."""
    return backend_named(config.model.keras).command_prefix + command(program, arguments)


def numbers(flag: str, texts: Sequence[str] | None, kind: type = int) -> tuple | None:
    """Returns the numbers of a list flag; None for one that was not given.

    Raises:
        InputError: If one is no number of that kind.
    """
    try:
        return None if texts is None else tuple(kind(text) for text in texts)
    except ValueError:
        wanted = "integers, such as 1,2" if kind is int else "numbers, such as 0.1,0.01"
        raise InputError(f"--{flag}={','.join(texts)}: expected {wanted}.") from None


def print_dry_run(config: Config) -> None:
    """Prints what a run of the config would do. Imports TensorFlow."""
    import_tensorflow()
    family = family_of(config)
    if family:
        print(f"a family of {len(family)} tickets, {', '.join(family)}; of the last:")
        config = [*family.values()][-1]
    print(describe_run(config))


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    texts: int = 1,
    title: str | None = None,
    total: Sequence[str] = (),
) -> None:
    """Prints a table, wide enough for names where the output is no terminal.

    Args:
        columns: Headings.
        rows: Cells, as text.
        texts: So many columns on the left hold text, the others numbers.
        title: Above the table.
        total: Cells of a last row, set apart.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for place, column in enumerate(columns):
        justify = "left" if place < texts else "right"
        table.add_column(column, justify=justify, overflow="ellipsis" if place else "fold")
    for row in rows:
        table.add_row(*row)
    if total:
        table.add_section()
        table.add_row(*total)
    # Names of directories are no markup.
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False, emoji=False)
    console.print(table)


def hide_notices() -> None:
    """Hides libraries' notices, which would bury what a program says, unless asked for."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)


def import_tensorflow() -> None:
    """Imports TensorFlow without the notices it gives before its log level counts.

    On a machine without an NVIDIA device, also without the error that there is none.
    """
    if not flags.FLAGS["verbosity"].present:
        with notices.hidden():
            # Looks for devices, which it would otherwise do, and tell, in the midst of a run.
            importlib.import_module("tensorflow").config.list_physical_devices()


def parse(argv: list[str], define: Callable[[], None]) -> list[str]:
    """Defines the flags and parses the command line.

    Raises:
        InputError: For an unknown flag or field, or a value of the wrong type.
    """
    try:
        sys.argv[1:] = arguments = _families(given_arguments())
        # The config's fields become flags of their own while it is defined, so that fails too.
        define()
        _show_in_help(argv[0])
        return flags.FLAGS([*argv[:1], *arguments])
    except SystemExit as error:
        # absl ends --help with status 1; asking for help is no failure.
        if any(argument.lstrip("-").startswith("help") for argument in arguments):
            sys.exit(0)
        raise InputError(
            f"--config={given('config')}: the file ends the program; expected one whose "
            "get_config() returns a Config."
        ) from error
    except InputError:
        raise
    except Exception as error:
        raise InputError(_explain(error)) from error


def _families(arguments: list[str]) -> list[str]:
    """Returns arguments with several final sparsities as the field that takes them."""
    single, found = "config.pruning.final_sparsity", []
    for argument in arguments:
        if found and found[-1].lstrip("-") == single:
            # The value is an argument of its own.
            argument = f"{found.pop()}={argument}"
        name, _, value = argument.partition("=")
        several = name.lstrip("-") == single and "," in value
        found.append(f"--config.pruning.family={value}" if several else argument)
    return found


def _show_in_help(program: str) -> None:
    """Makes --help show the flags of the program, which its body and this module define."""
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith("tf_earlyticket."):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(program, flag)


def _explain(error: Exception) -> str:
    # absl quotes a config file that raises with its traceback: the last line says what is wrong.
    text = str(error.args[0] if error.args else error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    in_config_file = "parsing config file" in text
    if isinstance(error, flags.Error) and not in_config_file:
        # "flag --seed=x: why not", of which only the type of the flag says what is accepted.
        setting = lines[0].partition(": ")[0].removeprefix("flag ")
        name = setting.lstrip("-").partition("=")[0]
        kind = flags.FLAGS[name].flag_type() if name in flags.FLAGS else None
        if kind not in _EXPECTED:
            return lines[0]
        low = getattr(flags.FLAGS[name].parser, "lower_bound", None)
        least = "" if low is None else f" of at least {low}"
        return f"{setting}: expected {_EXPECTED[kind]}{least}."
    unknown = _unknown_field()
    if unknown and isinstance(error, (KeyError, AttributeError)) and not in_config_file:
        return unknown
    reason = lines[-1].rstrip(".")
    reason = reason if in_config_file else f"{type(error).__name__}: {reason}"
    return (
        f"--config={given('config')}: {reason}; expected a Python file whose get_config() returns "
        "a Config."
    )


def _unknown_field() -> str:
    known = field_paths(Config())
    for argument in given_arguments():
        name = argument.lstrip("-").split("=")[0]
        if name.startswith("config.") and name.removeprefix("config.") not in known:
            field = name.removeprefix("config.")
            return f"--{name} is not a field of the config.{suggestion(field, known)}"
    return ""


def run_program(define: Callable[[], None], program_main: Callable[[list[str]], None]) -> None:
    """Runs an absl program; for an `InputError` prints one line on stderr and exits with 2."""

    # A closed standard output or error stays silent.
    sys.stdout, sys.stderr = (
        stream or open(os.devnull, "w")  # noqa: SIM115
        for stream in (sys.stdout, sys.stderr)
    )

    def guarded(function, *arguments):
        try:
            return function(*arguments)
        except (InputError, RunError) as error:
            message, status = f"error: {error}", 2 if isinstance(error, InputError) else 1
        except Interrupted as error:
            message, status = f"\nterminated, {error}: the same command continues the run.", 1
        except OSError as error:
            message, status = f"error: {error}; what was finished before is kept.", 1
        except KeyboardInterrupt:
            message, status = "\ninterrupted: the same command continues the run.", 1
        print(message, file=sys.stderr)
        sys.exit(status)

    def quiet_main(argv):
        hide_notices()
        program_main(argv)

    app.run(
        lambda argv: guarded(quiet_main, argv),
        flags_parser=lambda argv: guarded(parse, argv, define),
    )
