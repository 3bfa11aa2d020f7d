"""Compares ways to prune at equal epochs, probes counted, with the dense network and each other.

    python -m tf_earlyticket.study_updates --config=configs/digits_resnet20.py:study \\
        --seeds=0,1,2 --sparsities=0.8,0.9 --workdir=runs/updates

Trains each of --variants at each sparsity with each seed, as runs of the main job, and the dense
network once a seed; prints accuracies, and differences with their intervals. The same command
continues it.
"""

from pathlib import Path

from absl import flags

from tf_earlyticket.commands import command_line
from tf_earlyticket.job.devices import check_strategy
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.paper.update_study import (
    DEFAULT_VARIANTS,
    ITERATIVE,
    PARTS,
    RANDOM_MASKS,
    check_arguments,
    dense_of,
    difference_text,
    study_updates,
)


def define_flags() -> None:
    """Defines the flags."""
    command_line.define_common_flags()
    flags.DEFINE_string("workdir", None, "Directory of the study; default runs/updates-<data>_<..>")
    flags.DEFINE_list("seeds", ["0"], "Seeds, a dense run each: --seeds=0,1,2")
    flags.DEFINE_list("sparsities", ["0.8", "0.9", "0.95"], "Final sparsities")
    flags.DEFINE_list(
        "variants",
        list(DEFAULT_VARIANTS),
        f"What is compared, the first with all others: parts joined by +, such as swap+restart, of "
        f"{', '.join(PARTS)}; or {RANDOM_MASKS}, or {ITERATIVE}, which takes many times the epochs",
    )
    flags.DEFINE_string("dense_from", None, "study.json whose dense networks are not trained again")
    flags.DEFINE_bool("finished_only", False, "Train nothing; use the runs that are finished")


def main(argv: list[str]) -> None:
    """Runs the study of the flags."""
    values = flags.FLAGS
    config = command_line.checked_config(argv)
    seeds = command_line.numbers("seeds", values.seeds)
    sparsities = command_line.numbers("sparsities", values.sparsities, float)
    check_strategy(values.strategy)
    arguments = (values.variants, sparsities, seeds)
    check_arguments(config, *arguments, values.data_dir, values.strategy)
    if values.dry_run:
        command_line.print_dry_run(config)
        return
    check_run(config, values.data_dir, values.strategy)
    if values.dense_from:
        dense_of(Path(values.dense_from), config, seeds)
    workdir, given = command_line.workdir_of(config, "updates-")
    print(f"Directory of the study: {workdir}", flush=True)

    command_line.import_tensorflow()
    study = study_updates(
        config,
        workdir,
        variants=values.variants,
        sparsities=sparsities,
        seeds=seeds,
        data_dir=values.data_dir,
        strategy=values.strategy,
        command=command_line.training_command("study_updates", config, given),
        finished_only=values.finished_only,
        dense_from=values.dense_from,
    )
    print_table(study)
    print(f"Results: {workdir / 'study.json'}   Figures: {workdir / 'figures'}")


def print_table(study: dict) -> None:
    """Prints the row of each variant and sparsity; differences are points of test accuracy."""
    first = study["variants"][0]
    columns = ("variant", "sparsity", "seeds", "epochs", "accuracy %", "less dense")
    rows = [
        [
            row["variant"],
            f"{100 * row['goal']:g} %",
            str(row["seeds"]),
            f"{row['epochs']:.1f}",
            f"{100 * row['accuracy']:.2f}",
            difference_text(row, "difference"),
            difference_text(row, "gain"),
        ]
        for row in study["summary"]
    ]
    command_line.print_table([*columns, f"less {first}"], rows)
