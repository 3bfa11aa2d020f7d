"""Pruning in several shots while the dense run goes on (paper, Table 1)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_earlyticket.backends import pruned
from tf_earlyticket.callbacks.mask_update import MaskUpdate
from tf_earlyticket.job.fit import fit
from tf_earlyticket.job.log import MetricsLog
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.job.weights_file import load_weights, save_weights
from tf_earlyticket.paper.dense_record import restore_epoch


def shot_sparsities(final_sparsity: float, shots: int) -> list[float]:
    """Returns the sparsity after each shot: equal steps up to the final one."""
    return [final_sparsity * (n + 1) / shots for n in range(shots)]


def pruned_in_shots(run: Run, epochs: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Returns every weight of the network right after each shot; makes them once.

    The dense run is pruned after `epochs[0]`, goes on sparse to `epochs[1]`, is pruned further,
    and so on to the config's final sparsity.

    Args:
        run: A run whose dense run is recorded.
        epochs: Rising, from 1; one for each shot.
    """
    phase = "shots-" + "-".join(f"{epoch:03d}" for epoch in epochs)
    sparsities = shot_sparsities(run.config.pruning.final_sparsity, len(epochs))
    paths = [run.directory(phase) / f"weights-{n:02d}.npz" for n in range(len(epochs))]
    for n, path in enumerate(paths):
        if not path.exists():
            _shoot(run, phase, epochs, n, sparsities[n], path)
    return [load_weights(path) for path in paths]


def _shoot(
    run: Run, phase: str, epochs: Sequence[int], n: int, sparsity: float, path: Path
) -> None:
    """Trains from the state after the shot before, prunes and writes the weights."""
    metrics_log = MetricsLog(None, None, phase)
    checkpoint = run.checkpoint(phase, metrics_log)
    done, _ = checkpoint.restore(run.model)
    if not done:
        restore_epoch(run, epochs[0])
        done = epochs[0]
    if done < epochs[n]:
        fit(run, done, [MaskUpdate(), metrics_log, checkpoint], phase, epochs[n])
    adapter = pruned(run.model)
    masks = adapter.ranked_masks(sparsity)
    adapter.set_masks(masks)
    # Before the weights: what continues from here has to be pruned already.
    checkpoint.set_model(run.model)
    checkpoint.save(epochs[n])
    save_weights(path, adapter.all_weights())
