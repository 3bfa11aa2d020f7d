"""`python -m tf_earlyticket.train`: the main job. Only flags and exit status; see `run.py`.

TensorFlow is imported after the flags and the config were found good, so that a mistake is
reported at once.
"""

import os
import shlex
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from tf_earlyticket import default_config
from tf_earlyticket.config import Config, field_paths, validate
from tf_earlyticket.data.catalog import check_available
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.paths import RunPaths, write_text

PROGRAM = "python -m tf_earlyticket.train"
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


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
    except flags.Error as error:
        # A config file that raises is quoted with its traceback: the last line says what is wrong.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise InputError(lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}") from error
    except (KeyError, AttributeError) as error:
        raise InputError(_unknown_field(argv)) from error
    except (OSError, ValueError, TypeError, SyntaxError, ImportError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        given = [argument for argument in argv if argument.startswith("--config")]
        raise InputError(
            f"{' '.join(given)}: {lines[-1] if lines else error}; expected a Python file whose "
            "get_config() returns a Config."
        ) from error


def _unknown_field(argv: list[str]) -> str:
    known = field_paths(Config())
    for argument in argv[1:]:
        name = argument.lstrip("-").split("=")[0]
        if name.startswith("config.") and name.removeprefix("config.") not in known:
            # A field is easiest to mistype in its last part.
            field = name.removeprefix("config.")
            hint = suggestion(field, known)
            return f"--{name} is not a field of the config.{hint.replace(repr(field), '')}"
    return "the config has no such field; see --dry_run for all of them."


def main(argv: list[str]) -> None:
    """Runs the job of the flags."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}: expected flags only.")
    values = flags.FLAGS
    config = values.config
    if not isinstance(config, Config):
        raise InputError(
            f"--config={config_flags.get_config_filename(values['config'])} cannot be loaded; "
            "expected a Python file whose get_config() returns a Config."
        )
    if values.seed is not None:
        config.seed = values.seed
    if values.strategy not in STRATEGIES:
        raise InputError(
            f"--strategy={values.strategy}: expected one of {', '.join(STRATEGIES)}."
            f"{suggestion(values.strategy, STRATEGIES)}"
        )
    validate(config)
    # TensorFlow's notices would bury what this program says; --verbosity brings them back.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not values["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    if values.dry_run:
        from tf_earlyticket.dry_run import describe_run

        print(describe_run(config))
        return
    check_available(config.data.name, values.data_dir)
    workdir = Path(values.workdir or Path("runs") / config.run_name())
    paths = RunPaths(workdir)
    paths.claim(config)
    arguments = [*sys.argv[1:]]
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

    app.run(
        lambda argv: guarded(program_main, argv),
        flags_parser=lambda argv: guarded(parse, argv, define),
    )


if __name__ == "__main__":
    run_program(define_flags, main)
