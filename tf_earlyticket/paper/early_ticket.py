"""The toolkit's own way, as a cell of Table 4: probe, detect, prune gradually, in one run."""

from dataclasses import replace

from tf_earlyticket.backends import pruned
from tf_earlyticket.job.phases import search
from tf_earlyticket.job.run_state import Run
from tf_earlyticket.job.workdir import RunPaths
from tf_earlyticket.pruning.masks import mask_sparsity


def early_ticket(run: Run, phase: str) -> dict:
    """Trains from the start as `python -m tf_earlyticket.train` does, with probes and a detector.

    Args:
        run: Its config says how.
        phase: Name under which the run keeps the result.

    Returns:
        {"test_accuracy", "sparsity" (fractions), "start_epoch", "start_reason", "probe_epochs",
        "epochs"}: the passes over the training set in probes, and in all.
    """
    finished = run.result(phase)
    if finished is not None:
        return finished
    pruning = replace(run.config.pruning, mode="continue")
    own = replace(
        run,
        config=replace(run.config, pruning=pruning),
        paths=RunPaths(run.paths.workdir / "early_ticket"),
    )
    own.paths.claim(own.config)
    found = own.result("search") or search(own)
    own.restore("search")
    test = run.data.test(run.config.train.batch_size)
    evaluation = own.model.evaluate(test, verbose=0, return_dict=True)
    adapter = pruned(own.model)
    probe_epochs = sum(probe["cost_epochs"] for probe in found["probes"])
    return run.finish(
        phase,
        {
            "test_accuracy": evaluation["accuracy"],
            "sparsity": mask_sparsity(adapter.masks()),
            "start_epoch": found["start_epoch"],
            "start_reason": found["start_reason"],
            "probe_epochs": probe_epochs,
            "epochs": adapter.step() / run.steps_per_epoch + probe_epochs,
        },
    )
