"""The program `train`: the main job."""

from absl import flags

from tf_earlyticket.commands import command_line
from tf_earlyticket.errors import RunError
from tf_earlyticket.job.build import family_of
from tf_earlyticket.job.devices import check_strategy, is_chief
from tf_earlyticket.job.log import PROGRESS_MODES, Display
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.masks import sparsity_in_words


def define_flags() -> None:
    """Defines the flags. A function, since a module may be imported under two names."""
    command_line.define_common_flags()
    flags.DEFINE_string("workdir", None, "Directory of the run; default runs/<data>_<model>-<hash>")
    flags.DEFINE_integer("seed", None, "Seed; default config.seed")
    flags.DEFINE_string("tpu", None, "Name or address of the TPU, for --strategy=tpu")
    flags.DEFINE_enum(
        "progress",
        "auto",
        PROGRESS_MODES,
        "What to print meanwhile: one live line, a plain line per epoch, a JSON object per line "
        "for programs, or nothing; auto: line on a terminal, else plain",
    )
    flags.DEFINE_bool("histograms", False, "Histograms of all weights for TensorBoard, per epoch")


def main(argv: list[str]) -> None:
    """Runs the job of the flags."""
    values = flags.FLAGS
    config = command_line.checked_config(argv, values.seed)
    check_strategy(values.strategy)
    if values.dry_run:
        command_line.print_dry_run(config)
        return
    check_run(config, values.data_dir, values.strategy)
    workdir, arguments = command_line.workdir_of(config)
    paths = RunPaths(workdir)
    paths.check(config)
    display = Display(values.progress, values.histograms)
    display.say(f"Run directory: {workdir}")
    display.tell("run", workdir=str(workdir))

    command_line.import_tensorflow()
    from tf_earlyticket.job.family import train_family
    from tf_earlyticket.job.job import train_and_evaluate

    members = family_of(config)
    train = train_family if members else train_and_evaluate
    report = train(
        config,
        workdir,
        data_dir=values.data_dir,
        strategy=values.strategy,
        tpu=values.tpu,
        command=command_line.training_command("train", config, arguments),
        flags="".join(f"{argument}\n" for argument in arguments),
        display=display,
    )
    if members:
        display.say(family_summary(report, paths))
        goal = report["goal"]
        display.tell("finished", report=str(paths.report), family=report["family"], goal=goal)
        if goal and not goal["met"]:
            raise RunError(
                f"config.pruning.goal={goal['text']!r} is not met: the nearest ticket, "
                f"{paths.workdir / goal['ticket']}, has {' and '.join(goal['missed'])}."
            )
    elif is_chief(values.strategy):
        display.say(summary(report, paths))
        display.tell(
            "finished",
            report=str(paths.report),
            saved_model=str(paths.saved_model),
            **{part: report[part] for part in ("start_epoch", "start_reason", "ticket", "cost")},
        )


def family_summary(report: dict, paths: RunPaths) -> str:
    """Returns the outcome of a family, a line for each ticket."""
    lines, dense, cost = [], report["dense"], report["cost"]
    for member in report["family"]:
        sparsity = sparsity_in_words(member["sparsity"], member["network_sparsity"])
        lines.append(
            f"Ticket {member['goal']}: {sparsity} sparse, test accuracy "
            f"{100 * member['test_accuracy']:.2f} %, pruned from epoch {member['start_epoch']} on, "
            f"in {paths.workdir / member['ticket']}"
        )
    if goal := report["goal"]:
        words = "is met by" if goal["met"] else "is not met; the nearest is"
        lines.append(f"Goal: {goal['text']} {words} {paths.workdir / goal['ticket']}.")
    if dense:
        lines.append(f"Dense: test accuracy {100 * dense['test_accuracy']:.2f} %.")
    lines += [
        f"Cost: {cost['total_epochs']:.1f} epochs, {cost['dense_epochs']:.0f} of them in the dense "
        f"training that all share; a run for each ticket would take "
        f"{cost['single_runs_epochs']:.1f}.",
        f"Report: {paths.report_html}",
    ]
    return "\n".join(lines)


def summary(report: dict, paths: RunPaths) -> str:
    """Returns the outcome in a few lines."""
    ticket, cost = report["ticket"], report["cost"]
    sparsity = sparsity_in_words(ticket["sparsity"], ticket.get("network_sparsity"))
    macs = report.get("macs")
    start = f"Pruning started after epoch {report['start_epoch']}: "
    if report["start_epoch"] is None:
        start = "Pruning: "
    lines = [
        f"{start}{report['start_reason']}.",
        f"Ticket: {sparsity} sparse"
        + (f", {100 * macs['ticket'] / macs['dense']:.0f} % of the multiply-adds" if macs else "")
        + f", test accuracy "
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
