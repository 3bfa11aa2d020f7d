"""Compares all detectors of the start epoch on recorded dense runs and the tickets made from them.

    python -m tf_earlyticket.study_detectors --config=configs/digits_resnet20.py:study \\
        --seeds=0,1,2 --workdir=runs/study

Records one dense run per seed (weights and a probe of every epoch), trains tickets from several
start epochs, replays every detector over the record, and prints what each one chose, what its
probes cost and how far its ticket is from the best one. The same command continues it.
"""

from absl import flags

from tf_earlyticket.commands import command_line
from tf_earlyticket.job.devices import check_strategy
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.paper.item import MODES


def define_flags() -> None:
    """Defines the flags."""
    command_line.define_common_flags()
    flags.DEFINE_string("workdir", None, "Directory of the study; default runs/study-<data>_<...>")
    flags.DEFINE_list("seeds", ["0"], "Seeds, one recorded dense run each: --seeds=0,1,2")
    flags.DEFINE_list(
        "start_epochs",
        None,
        "Epochs at whose end tickets start; default a third, two thirds and all of the epochs "
        "until the latest possible start",
    )
    flags.DEFINE_list("modes", list(MODES), f"Kinds of tickets: {', '.join(MODES)}")
    flags.DEFINE_bool("finished_only", False, "Train nothing; use the tickets that are finished")


def main(argv: list[str]) -> None:
    """Runs the study of the flags."""
    values = flags.FLAGS
    config = command_line.checked_config(argv)
    seeds = command_line.numbers("seeds", values.seeds)
    start_epochs = command_line.numbers("start_epochs", values.start_epochs)
    check_strategy(values.strategy)
    if values.dry_run:
        command_line.print_dry_run(config)
        return
    check_run(config, values.data_dir, values.strategy)
    workdir, arguments = command_line.workdir_of(config, "study-")
    print(f"Directory of the study: {workdir}", flush=True)

    command_line.import_tensorflow()
    from tf_earlyticket.paper.detector_study import study_detectors

    study = study_detectors(
        config,
        workdir,
        seeds=seeds,
        start_epochs=start_epochs,
        modes=values.modes,
        data_dir=values.data_dir,
        strategy=values.strategy,
        command=command_line.training_command("study_detectors", config, arguments),
        finished_only=values.finished_only,
    )
    print_table(study)
    print(f"Results: {workdir / 'study.json'}   Figures: {workdir / 'figures'}")


def print_table(study: dict) -> None:
    """Prints the row of each detector; distances are points of test accuracy below the best."""
    columns = ["detector", "start epochs", "decided", "probe cost (epochs)"]
    columns += [column for mode in MODES for column in (f"{mode} %", "below best")]
    rows = []
    for row in study["summary"]:
        cells = [
            row["detector"],
            " ".join(map(str, row["start_epochs"])),
            f"{row['detected']} of {len(row['start_epochs'])}",
            f"{row['probe_cost_epochs']:.2f}",
        ]
        for mode in MODES:
            cells += [_points(row[f"{mode}_accuracy"]), _points(row[f"{mode}_distance"])]
        rows.append(cells)
    command_line.print_table(columns, rows, texts=3)


def _points(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}"
