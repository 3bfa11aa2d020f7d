"""What a run would do, as text, without reading data or training."""

import json

import numpy as np

from tf_earlyticket.backends import backend_of
from tf_earlyticket.config import Config
from tf_earlyticket.job.build import build_plain_model, dataset_spec, plan_of
from tf_earlyticket.pruning.masks import kept_count


def describe_run(config: Config) -> str:
    """Returns the resolved config, the prunable layers, the steps and the schedule."""
    spec = dataset_spec(config)
    pruning, plan = config.pruning, plan_of(config)
    steps_per_epoch, probes = plan.steps_per_epoch, plan.probe_epochs
    model = build_plain_model(config)
    names = backend_of(model).prunable_layers(model)
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
            f"steps: {steps_per_epoch} per epoch, {steps_per_epoch * plan.epochs} in "
            f"{plan.epochs} epochs",
            f"probes: at most {len(probes)}, at epochs {', '.join(map(str, probes))}, each "
            f"retraining for {plan.probe_steps} of {steps_per_epoch} steps",
            f"schedule: mode {pruning.mode}; sparsity {pruning.initial_sparsity} to "
            f"{pruning.final_sparsity} over {plan.ramp_steps} steps ({plan.ramp_epochs} "
            f"epochs), an update every {plan.frequency} steps, starting after epoch "
            f"{plan.latest_start_epoch} at the latest",
        ]
    )
