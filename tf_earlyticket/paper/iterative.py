"""Iterative magnitude pruning with rewinding (Frankle & Carbin, 2018): Table 4's baseline."""

from tf_earlyticket.backends import pruned
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.job.weights_file import load_weights, save_weights
from tf_earlyticket.paper.dense_record import record_dense, recorded_weights
from tf_earlyticket.paper.tickets import put, train_to_end
from tf_earlyticket.pruning.plan import iterative_sparsities
from tf_earlyticket.pruning.select import resolve_criterion

_WEIGHTS = "final_weights.npz"


def iterative_pruning(
    run: Run, phase: str, *, prune_fraction: float = 0.2, rewind_epoch: int = 0
) -> dict:
    """Prunes a part of the remaining weights, rewinds, trains in full, until the final sparsity.

    Each round ranks the weights with which the one before ended; weights pruned once stay so.

    Args:
        run: A run whose dense run is recorded: it is the first training.
        phase: Name under which the run keeps the result, and in front of its rounds'.
        prune_fraction: Of the remaining weights, per round.
        rewind_epoch: Epochs of the dense run after which the weights are taken, 0: initial ones.

    Returns:
        {"rounds": [{"sparsity", "test_accuracy", "total_epochs"}], "test_accuracy", "epochs"}:
        after each round the passes over the training set since the beginning, dense run included.
    """
    finished = run.result(phase)
    if finished is not None:
        return finished
    total = record_dense(run, probing=False)["epochs"]
    weights = recorded_weights(run, run.config.train.epochs)
    names = list(pruned(run.model).masks())
    rewound = recorded_weights(run, rewind_epoch)
    masks, rounds = None, []
    pruning = run.config.pruning
    criterion = resolve_criterion(pruning.ranking, pruning.group_size)
    sparsities = iterative_sparsities(pruning.final_sparsity, prune_fraction)
    for number, sparsity in enumerate(sparsities, start=1):
        masks = criterion.masks({name: weights[name] for name in names}, sparsity, masks)
        trained, weights = _round(run, f"{phase}-round{number:02d}", rewound, masks)
        total += trained["epochs"]
        rounds.append(
            {
                "sparsity": sparsity,
                "test_accuracy": trained["test_accuracy"],
                "total_epochs": total,
            }
        )
    return run.finish(
        phase,
        {"rounds": rounds, "test_accuracy": rounds[-1]["test_accuracy"], "epochs": total},
    )


def _round(run: Run, phase: str, rewound: dict, masks: dict) -> tuple[dict, dict]:
    """Returns the result of a round and the weights with which its training ended."""
    path = run.paths.checkpoints / f"{phase}-{_WEIGHTS}"

    def start() -> int:
        put(run, rewound, masks)
        return 0

    def keep_weights() -> None:
        save_weights(path, pruned(run.model).all_weights())

    return train_to_end(run, phase, start, {}, at_end=keep_weights), load_weights(path)
