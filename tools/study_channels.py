"""Channel tickets against the same small network trained from scratch, and against dense.

    python tools/study_channels.py --config=configs/cifar10_resnet20.py:study --data_dir=DIR \
        --config.pruning.structure=channels --config.pruning.target=macs:0.5 \
        --seeds=0,1,2 --workdir=runs/channels/cifar10_resnet20

For each seed: a run finds a ticket of whole channels and finishes the dense network beside it; then
the network of the ticket's shape begins anew, from initial weights of its own, and trains with the
same number of epochs and the same recipe. It is trained within the large network, whose other
channels are masked: the same function and the same gradients, at the same speed in any number type.
Dense networks of another study with the same data, network, recipe and seeds are not trained again
with `--dense_from=STUDY.json`. The same command continues what was interrupted. Writes `study.json`
into the directory; `tools/collect_channels.py` makes the page of it.
"""

import copy
import sys
from pathlib import Path

import numpy as np
from absl import flags

import tf_earlyticket as et
from tf_earlyticket.backends import backend_named
from tf_earlyticket.commands import command_line
from tf_earlyticket.config import Config
from tf_earlyticket.deploy.remove_channels import without_channels
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import write_json
from tf_earlyticket.job.build import build_plain_model, criterion_of
from tf_earlyticket.job.preflight import check_run
from tf_earlyticket.paper.update_study import dense_of
from tf_earlyticket.pruning.channels import ChannelGraph
from tf_earlyticket.pruning.masks import Mask
from tf_earlyticket.report.report import environment
from tf_earlyticket.tickets.ticket import Ticket


def one_seed(config: Config, workdir: Path, dense: float | None, **options) -> dict:
    """Makes or continues the runs of one seed.

    Args:
        config: Of whole channels, with its seed.
        workdir: Of this seed.
        dense: The test accuracy of the dense network where that was trained before, a fraction.
        options: For `train_and_evaluate`.

    Returns:
        The test accuracies "dense", "ticket" and "scratch" as fractions, what is left ("macs",
        "parameters", and of each family of channels how many), and where pruning started.
    """
    found = et.train_and_evaluate(config, workdir / "ticket", **options)
    ticket = Ticket.load(workdir / "ticket" / "ticket")
    plain = build_plain_model(config)
    et.load_trained_weights(plain, ticket)
    small, graph, kept = without_channels(plain)
    again = copy.deepcopy(config)
    again.ticket, again.train.dense_baseline = str(workdir / "from_scratch"), False
    if not (workdir / "from_scratch" / "ticket.json").exists():
        weights = begun_anew(config, small, graph, kept)
        Ticket(ticket.masks, weights, 0).save(workdir / "from_scratch")
    scratch = et.train_and_evaluate(again, workdir / "scratch", **options)
    return {
        "dense": found["dense"]["test_accuracy"] if dense is None else dense,
        "ticket": found["ticket"]["test_accuracy"],
        "scratch": scratch["ticket"]["test_accuracy"],
        "start_epoch": found["start_epoch"],
        "start_reason": found["start_reason"],
        "probe_epochs": found["cost"]["probe_epochs"],
        "macs": {"dense": graph.multiply_adds(), "ticket": graph.multiply_adds(kept)},
        "parameters": {"dense": graph.parameters(), "ticket": graph.parameters(kept)},
        "families": [
            {
                "name": family.name,
                "size": family.size,
                "kept": int(np.count_nonzero(kept[family.channels])),
            }
            for family in graph.removable
        ],
        "seconds": {
            "ticket": found["seconds"]["train"] + found["seconds"]["probe"],
            "dense_after_start": found["seconds"]["dense_baseline"] if dense is None else None,
            "scratch": scratch["seconds"]["train"],
        },
    }


def begun_anew(config: Config, small, graph: ChannelGraph, kept: Mask) -> dict[str, np.ndarray]:
    """Returns initial weights of the small network in the places that they have in the large one.

    Args:
        config: Of the large network; the seed of the initial weights.
        small: The large network without the channels that are not kept.
        graph: Of the large network.
        kept: Bool [channels].
    """
    backend = backend_named(config.model.keras)
    weights = {
        name: weight.numpy()
        for name, weight in backend.named_weights(build_plain_model(config)).items()
    }
    backend.set_random_seed(config.seed)
    initial = backend.named_weights(backend.keras.models.clone_model(small))
    for name, variable in initial.items():
        weights[name] = graph.put_back(name, variable.numpy(), weights[name], kept)
    return {name: weights[name] * graph.mask(name, kept) for name in weights}


def difference(seeds: list[dict], one: str, other: str) -> dict:
    """Returns the mean difference of two accuracies over seeds, and its 95 % interval (Student)."""
    values = np.array([seed[one] - seed[other] for seed in seeds])
    found = {"mean": float(values.mean()), "low": None, "high": None}
    if len(values) > 1:
        from scipy import stats

        half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        found |= {"low": found["mean"] - half, "high": found["mean"] + half}
    return {name: None if value is None else float(value) for name, value in found.items()}


def define_flags() -> None:
    """Defines the flags."""
    command_line.define_common_flags()
    flags.DEFINE_string("workdir", None, "Directory of the study")
    flags.DEFINE_string("dense_from", None, "study.json whose dense networks are not trained again")
    flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds, one of each kind of run for each")


def main(argv: list[str]) -> None:
    """Makes the runs of all seeds, and writes what is finished after each."""
    values = flags.FLAGS
    config = command_line.checked_config(argv)
    if not criterion_of(config.pruning).of_channels:
        raise InputError("--config.pruning.structure: expected 'channels', with parameters or not.")
    if not values.workdir:
        raise InputError("--workdir is missing: expected a directory for the runs.")
    seeds, workdir = command_line.numbers("seeds", values.seeds), Path(values.workdir)
    before = dense_of(Path(values.dense_from), config, seeds) if values.dense_from else None
    config.train.dense_baseline = before is None
    check_run(config, values.data_dir, values.strategy)
    command_line.import_tensorflow()
    found: dict[str, dict] = {}
    for seed in seeds:
        own = copy.deepcopy(config)
        own.seed = seed
        print(f"seed {seed}", flush=True)
        found[str(seed)] = one_seed(
            own,
            workdir / f"seed_{seed}",
            None if before is None else before[seed],
            data_dir=values.data_dir,
            strategy=values.strategy,
        )
        rows = list(found.values())
        study = {
            "command": command_line.command("study_channels", sys.argv[1:]).replace(
                "-m tf_earlyticket.study_channels", "tools/study_channels.py"
            ),
            "config": config.to_dict(),
            "environment": environment(values.strategy, 1),
            "planned_seeds": list(seeds),
            "dense_from": values.dense_from,
            "seeds": found,
            "differences": {
                "ticket-scratch": difference(rows, "ticket", "scratch"),
                "ticket-dense": difference(rows, "ticket", "dense"),
                "scratch-dense": difference(rows, "scratch", "dense"),
            },
        }
        write_json(workdir / "study.json", study)
        shown = ", ".join(
            f"{name} {100 * found[str(seed)][name]:.2f} %"
            for name in ("dense", "ticket", "scratch")
        )
        print(f"seed {seed}: {shown}", flush=True)


if __name__ == "__main__":
    command_line.run_program(define_flags, main)
