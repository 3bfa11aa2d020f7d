"""Measures MLPerf Tiny's networks in 8 bits: dense, and as tickets of weights and of channels.

    python tools/benchmark_tiny.py
    python tools/benchmark_tiny.py --train --data_dir=DIR --workdir=runs/tiny

The tickets have no 80 % of the weights, or no channels with half of the multiply-adds. Weights are
random, ranked as they are: sizes and speed do not need more. `--train` finds ResNet8's tickets on
CIFAR-10 (some minutes; finished runs are taken as they are). LiteRT runs on this machine's
processor, Vela estimates an Ethos-U; both as `python -m tf_earlyticket.bench` has them. Needs
`pip install -e '.[bench,vela]'`.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import benchmarking
import numpy as np
from absl import app, flags
from benchmark_latency import INT8_TOLERANCE, ranked, small_network
from tiny_networks import NETWORKS

import tf_earlyticket as et
from tf_earlyticket.backends import backend_of, pruned
from tf_earlyticket.backends.tf_keras.compat import keras
from tf_earlyticket.commands.export import calibration_inputs, data_of, test_accuracy
from tf_earlyticket.deploy import bench
from tf_earlyticket.deploy.saved_model import filled_copy
from tf_earlyticket.tickets.storage import SAVED_MODEL

WEIGHTS, CHANNELS = "weights", "channels"
SPARSITY, SHARE, MULTIPLE = 0.8, 0.5, 8
_EXAMPLES = 64
_RECIPE = (
    "--config=configs/cifar10_resnet20.py:study",
    "--extensions=tools/tiny_networks.py",
    "--config.model.name=tiny_resnet8",
    "--config.train.epochs=16",
    "--config.train.drop_epochs=(10, 13)",
)
_TICKETS = {
    # With the dense network, which is the same beside both.
    WEIGHTS: ("--config.train.dense_baseline=true", f"--config.pruning.final_sparsity={SPARSITY}"),
    CHANNELS: (
        f"--config.pruning.structure=channels(multiple={MULTIPLE})",
        f"--config.pruning.target=macs:{SHARE}",
        # Counts are coarse, and channels want to start early.
        "--config.pruning.ranking=layerwise",
        "--config.probe.detector=mask_distance",
    ),
}


def random_networks(name: str, folder: Path) -> tuple[dict, dict[str, Path], np.ndarray]:
    """Writes a network with random weights and its tickets as SavedModels.

    Each one's BatchNorms know what comes in: signals that die away have no numbers of 8 bits.

    Returns:
        What each is, by "dense", "weights" and "channels", their directories, and inputs.
    """
    keras.utils.set_random_seed(0)
    dense = NETWORKS[name]()
    shape = (_EXAMPLES, *dense.input_shape[1:])
    inputs = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    no_labels, wrapped = np.zeros(len(inputs)), ranked(dense, SPARSITY)
    graph, masks = et.channel_graph(dense), pruned(wrapped).masks()
    about = {WEIGHTS: _cost(graph) | {"parameters": graph.parameters(masks=masks)}}
    models = {
        bench.DENSE: dense,
        WEIGHTS: et.strip_pruning(wrapped),
        CHANNELS: small_network(dense, SHARE, MULTIPLE),
    }
    for variant, model in models.items():
        et.recalibrate_batch_norm(model, (inputs, no_labels), 1, batch_size=len(inputs))
        backend_of(model).save_model(model, folder / variant)
        about.setdefault(variant, _cost(et.channel_graph(model)))
    return {"variants": about}, {variant: folder / variant for variant in models}, inputs


def _cost(graph) -> dict[str, int]:
    return {"parameters": graph.parameters(), "multiply_adds": graph.multiply_adds()}


def train(workdir: Path, data_dir: str) -> None:
    """Finds ResNet8's tickets, each in a run of its own; what is finished is not done again."""
    for variant, arguments in _TICKETS.items():
        command = [sys.executable, "-m", "tf_earlyticket.train", *_RECIPE, *arguments]
        command += [f"--data_dir={data_dir}", f"--workdir={workdir / variant}"]
        subprocess.run(command, check=True)


def trained_networks(workdir: Path, folder: Path) -> tuple[dict, dict[str, Path]]:
    """Returns what ResNet8 and its trained tickets are, and their directories.

    As `bench` does, it writes the dense network as the ticket with its pruned weights filled.
    """
    reports = {v: json.loads((workdir / v / "report.json").read_text()) for v in _TICKETS}
    about = {
        variant: {
            "parameters": report["parameters"]["ticket"],
            "multiply_adds": report["macs"]["removed" if variant == CHANNELS else "dense"],
            "accuracy": report["ticket"]["test_accuracy"],
        }
        for variant, report in reports.items()
    }
    first, ticket = reports[WEIGHTS], workdir / WEIGHTS / "ticket"
    about[bench.DENSE] = {
        "parameters": first["parameters"]["dense"],
        "multiply_adds": first["macs"]["dense"],
        "accuracy": first["dense"]["test_accuracy"],
    }
    places = {variant: workdir / variant / "ticket" / SAVED_MODEL for variant in _TICKETS}
    places[bench.DENSE] = folder / bench.DENSE
    filled_copy(places[WEIGHTS], et.Ticket.load(ticket), places[bench.DENSE])
    commands = [report["command"] for report in reports.values()]
    epochs = first["config"]["train"]["epochs"]
    return {"variants": about, "epochs": epochs, "commands": commands}, places


def measure(name: str, options: bench.Options, runs: Path | None, data_dir: str | None) -> dict:
    """Returns what a network and its tickets are, what was measured and what was estimated.

    Args:
        name: Of `NETWORKS`.
        options: What to measure, and how often.
        runs: Finished ones of `train`; None: random weights.
        data_dir: Where their data set lies.
    """
    accuracy = None
    with tempfile.TemporaryDirectory() as folder:
        if runs is None:
            about, places, inputs = random_networks(name, Path(folder))
            options = dataclasses.replace(options, int8_tolerance=INT8_TOLERANCE)
        else:
            about, places = trained_networks(runs, Path(folder))
            data = data_of(et.Ticket.load(runs / WEIGHTS / "ticket"), data_dir)
            inputs = calibration_inputs(data)

            def accuracy(run):
                return test_accuracy(data, run)

        tickets = {f"{name} {variant}": places[variant] for variant in _TICKETS}
        files = (tickets, places[bench.DENSE], inputs, options)
        return {
            "about": about | {"inputs": list(inputs.shape[1:]), "trained": runs is not None},
            "rows": bench.measure(*files, accuracy=accuracy),
            "estimates": bench.estimates(*files),
        }


def main(argv: list[str]) -> None:
    """Measures the networks."""
    del argv
    values = flags.FLAGS
    if values.train and not values.data_dir:
        raise app.UsageError("--train needs --data_dir, where CIFAR-10 lies.")
    runs = Path(values.workdir) if values.train else None
    options = bench.with_runtimes(
        bench.Options(("litert", "vela"), ("int8",), (1,), (1,), values.processes, values.rounds),
        print,
    )
    if runs:
        train(runs, values.data_dir)
    found = {
        name: measure(name, options, runs if name == "resnet8" else None, values.data_dir)
        for name in values.networks
    }
    results = {
        "networks": {name: each["about"] for name, each in found.items()},
        "rows": [row for each in found.values() for row in each["rows"]],
        "estimates": [row for each in found.values() for row in each["estimates"]],
        "options": vars(options),
        "sparsity": SPARSITY,
        "share": SHARE,
    }
    packages = [
        each for name in options.runtimes for each in bench.EVERY_RUNTIME[name].distributions
    ]
    benchmarking.write(Path(values.output), results, packages)


if __name__ == "__main__":
    flags.DEFINE_list("networks", list(NETWORKS), "Networks")
    flags.DEFINE_bool("train", False, "Train ResNet8 on CIFAR-10")
    flags.DEFINE_string("data_dir", None, "Where CIFAR-10 lies, as TFDS prepares it")
    flags.DEFINE_string("workdir", "runs/tiny", "For the runs of --train")
    flags.DEFINE_integer("processes", 5, "Fresh processes for each network")
    flags.DEFINE_integer("rounds", 10, "Rounds in each process")
    flags.DEFINE_string("output", str(benchmarking.RESULTS / "tiny.json"), "File for results")
    app.run(main)
