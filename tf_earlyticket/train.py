"""Trains a network, finds out when to prune, prunes it and exports the ticket with a report.

TensorFlow is imported after the flags and the config were found good, so that a mistake is
reported at once.
"""

import os
import re
import shlex
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from tf_earlyticket import default_config
from tf_earlyticket.config import Config, field_paths
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.paths import RunPaths, write_text
from tf_earlyticket.preflight import STRATEGIES, check_config, check_run, check_strategy

PROGRAM = "python -m tf_earlyticket.train"


def define_flags() -> None:
    """Defines the flags. A function, since a module may be imported under two names."""
    config_flags.DEFINE_config_file(
        "config",
        str(Path(default_config.__file__)),
        "Config file, FILE.py or FILE.py:variant; default: digits, ResNet20. Single fields: "
        "--config.pruning.final_sparsity=0.9",
    )
    flags.DEFINE_string("workdir", None, "Directory of the run; default runs/<data>_<model>-<hash>")
    flags.DEFINE_string("data_dir", None, "Where TFDS data sets lie; default TFDS's own directory")
    flags.DEFINE_integer("seed", None, "Seed; default config.seed")
    flags.DEFINE_string("strategy", "auto", f"Devices: {', '.join(STRATEGIES)}")
    flags.DEFINE_string("tpu", None, "Name or address of the TPU, for --strategy=tpu")
    flags.DEFINE_bool("dry_run", False, "Print config, prunable layers, steps, schedule, and exit")


def parse(argv: list[str], define) -> list[str]:
    """Defines the flags and parses the command line.

    Raises:
        InputError: For an unknown flag or field, or a value of the wrong type.
    """
    try:
        # The config's fields become flags of their own while it is defined, so that fails too.
        define()
        return flags.FLAGS(argv)
    except SystemExit:
        # absl ends --help with status 1; asking for help is no failure.
        sys.exit(0)
    except Exception as error:
        raise InputError(_explain(error, argv)) from error


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


def main(argv: list[str]) -> None:
    """Runs the job of the flags."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}: expected flags only.")
    values = flags.FLAGS
    config = values.config
    if not isinstance(config, Config):
        name = config_flags.get_config_filename(values["config"])
        reason = f"returns a {type(config).__name__}" if Path(name).is_file() else "is no file"
        raise InputError(
            f"--config={name}: {reason}; expected a Python file whose get_config() returns a "
            "Config."
        )
    if values.seed is not None:
        config.seed = values.seed
    check_config(config)
    check_strategy(values.strategy)
    # TensorFlow's notices would bury what this program says; --verbosity brings them back.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not values["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    if values.dry_run:
        from tf_earlyticket.dry_run import describe_run

        print(describe_run(config))
        return
    check_run(config, values.data_dir, values.strategy)
    workdir = Path(values.workdir or Path("runs") / config.run_name())
    paths = RunPaths(workdir)
    paths.claim(config)
    # Flag files are written out: this one may itself be among them.
    arguments = values.read_flags_from_files(sys.argv[1:])
    if values.workdir is None:
        arguments.append(f"--workdir={workdir}")
    write_text(paths.flags, "".join(f"{argument}\n" for argument in arguments))
    print(f"Run directory: {workdir}", flush=True)

    from tf_earlyticket.run import train_and_evaluate

    report = train_and_evaluate(
        config,
        workdir,
        data_dir=values.data_dir,
        strategy=values.strategy,
        tpu=values.tpu,
        command=shlex.join([*PROGRAM.split(), *arguments]),
    )
    print(summary(report, paths))


def summary(report: dict, paths: RunPaths) -> str:
    """Returns the outcome in a few lines."""
    ticket, cost = report["ticket"], report["cost"]
    lines = [
        f"Pruning started after epoch {report['start_epoch']}: {report['start_reason']}.",
        f"Ticket: {100 * ticket['sparsity']:.1f} % sparse, test accuracy "
        f"{100 * ticket['test_accuracy']:.2f} %"
        + (
            f" (dense {100 * report['dense']['test_accuracy']:.2f} %)."
            if report["dense"]
            else "; the dense network was not trained."
        ),
        f"Cost: {cost['total_epochs']:.1f} epochs, {cost['probe_epochs']:.1f} of them in probes; "
        f"iterative pruning would take {cost['iterative_pruning_epochs']:.0f} (analytic).",
        f"Report: {paths.report_html}   SavedModel: {paths.saved_model}",
    ]
    return "\n".join(lines)


def run_program(define, program_main) -> None:
    """Runs an absl program; for an `InputError` prints one line on stderr and exits with 2."""

    def guarded(function, *arguments):
        try:
            return function(*arguments)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("\ninterrupted: the same command continues the run.", file=sys.stderr)
            sys.exit(1)

    app.run(
        lambda argv: guarded(program_main, argv),
        flags_parser=lambda argv: guarded(parse, argv, define),
    )


if __name__ == "__main__":
    run_program(define_flags, main)
