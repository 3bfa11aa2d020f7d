"""What a run would do, as text, without reading data or training."""

import json

import numpy as np

from tf_earlyticket.backends.wrapping import prunable_layer_names
from tf_earlyticket.callbacks.ppr_probe import default_fraction, retraining_steps
from tf_earlyticket.config import Config
from tf_earlyticket.job.setup import build_plain_model, dataset_spec
from tf_earlyticket.pruning.masks import kept_count
from tf_earlyticket.pruning.plan import plan_ramp, probe_epochs, update_frequency


def describe_run(config: Config) -> str:
    """Returns the resolved config, the prunable layers, the steps and the schedule."""
    spec = dataset_spec(config)
    train, pruning = config.train, config.pruning
    steps_per_epoch = spec.train_examples // train.batch_size
    plan = plan_ramp(train.epochs, ramp_epochs=pruning.ramp_epochs, hold_epochs=pruning.hold_epochs)
    probes = probe_epochs(
        plan.latest_start_epoch, every=config.probe.every_epochs, first=config.probe.first_epoch
    )
    ramp_steps = plan.ramp_epochs * steps_per_epoch
    frequency = pruning.frequency or update_frequency(ramp_steps, train.steps_per_execution)
    fraction = config.probe.fraction or default_fraction(train.epochs, len(probes))
    probe_steps = retraining_steps(fraction, steps_per_epoch)
    model = build_plain_model(config)
    names = prunable_layer_names(model)
    shapes = {name: model.get_layer(name).kernel.shape.as_list() for name in names}
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    kept = kept_count(total, pruning.final_sparsity)
    layers = [f"  {name:<28} {shape}" for name, shape in shapes.items()]
    return "\n".join(
        [
            "config:",
            json.dumps(config.to_dict(), indent=2),
            f"data: {spec.train_examples:,} training, {spec.validation_examples:,} held-out, "
            f"{spec.test_examples:,} test examples of shape {list(spec.image_shape)}",
            f"model: {config.model.name}, {model.count_params():,} parameters",
            f"prunable layers: {len(names)} with {total:,} weights, of which {kept:,} are kept",
            *layers,
            f"steps: {steps_per_epoch} per epoch, {steps_per_epoch * train.epochs} in "
            f"{train.epochs} epochs",
            f"probes: at most {len(probes)}, at epochs {', '.join(map(str, probes))}, each "
            f"retraining for {probe_steps} of {steps_per_epoch} steps",
            f"schedule: mode {pruning.mode}; sparsity {pruning.initial_sparsity} to "
            f"{pruning.final_sparsity} over {ramp_steps} steps ({plan.ramp_epochs} epochs), an "
            f"update every {frequency} steps, starting after epoch {plan.latest_start_epoch} at "
            "the latest",
        ]
    )
