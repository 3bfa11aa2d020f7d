"""What a config stands for: its data set, its plan, its network, compiled and wrapped.

Imports neither TensorFlow nor Keras before a network is built.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_named, pruned, wrap_for_pruning
from tf_earlyticket.config import Config, PruningConfig, apply_target, config_from_dict
from tf_earlyticket.data.catalog import DatasetSpec, describe
from tf_earlyticket.errors import InputError
from tf_earlyticket.job.recipe import compile_model
from tf_earlyticket.models import build_model
from tf_earlyticket.models.saved import load_network
from tf_earlyticket.pruning.goals import USUAL_MACS, USUAL_SPARSITIES, Goal, parse_goal
from tf_earlyticket.pruning.masks import kept_count, mask_sparsity, sparsity_in_words
from tf_earlyticket.pruning.plan import Plan, resolve_plan
from tf_earlyticket.pruning.schedule import Shape, resolve_shape
from tf_earlyticket.pruning.select import STRUCTURES, Criterion, resolve_criterion
from tf_earlyticket.pruning.structures import Channels
from tf_earlyticket.report.report import COST_COLUMNS, cost_rows

if TYPE_CHECKING:
    import tensorflow as tf

# The fields of the config by the argument of `resolve_plan` that they are.
_FIELDS = {
    "epochs": "train.epochs",
    "steps_per_execution": "train.steps_per_execution",
    "learning_rate": "train.learning_rate",
    "ramp_epochs": "pruning.ramp_epochs",
    "hold_epochs": "pruning.hold_epochs",
    "frequency": "pruning.frequency",
    "rewind_epoch": "pruning.rewind_epoch",
    "probe_every": "probe.every_epochs",
    "probe_first": "probe.first_epoch",
    "probe_fraction": "probe.fraction",
    "probe_learning_rate": "probe.learning_rate",
}


def dataset_spec(config: Config) -> DatasetSpec:
    """Returns what the config's data set looks like, without reading it."""
    return describe(
        config.data.name,
        image_size=config.data.image_size,
        validation_examples=config.data.validation_examples,
        train_examples=config.data.train_examples,
        pad=config.data.pad,
        flip=config.data.flip,
        corrupt=config.data.corrupt,
    )


def plan_of(config: Config, steps_per_epoch: int | None = None) -> Plan:
    """Returns the plan of a config's run.

    Args:
        config: As its devices train it.
        steps_per_epoch: Optimizer steps; None: what the data set has without a look at its files.

    Raises:
        InputError: For the first field that is out of range, named with its full path.
    """
    if steps_per_epoch is None:
        steps_per_epoch = max(1, dataset_spec(config).train_examples // config.train.batch_size)
    values = {name: attrgetter(path)(config) for name, path in _FIELDS.items()}
    shape = shape_of(config.pruning)
    of_channels = criterion_of(config.pruning).of_channels
    try:
        return resolve_plan(
            **values,
            steps_per_epoch=steps_per_epoch,
            from_first_step=shape.from_first_step,
            one_shot=shape.one_shot,
            of_channels=of_channels,
        )
    except InputError as error:
        name, _, rest = str(error).partition("=")
        raise InputError(f"config.{_FIELDS.get(name, name)}={rest}") from error


def shape_of(pruning: PruningConfig) -> Shape:
    """Returns how sparsity rises in the ramp.

    Raises:
        InputError: If the schedule is unknown.
    """
    with checks.prefixed(f"config.pruning.schedule={pruning.schedule!r}: "):
        return resolve_shape(pruning.schedule)


def goal_of(pruning: PruningConfig) -> Goal | None:
    """Returns what the ticket has to reach; None where the config says a sparsity.

    Raises:
        InputError: If the goal is of no known form.
    """
    if pruning.goal is None:
        return None
    with checks.prefixed("config.pruning."):
        return parse_goal(pruning.goal)


def family_of(config: Config) -> dict[str, Config]:
    """Returns the configs of the tickets of a family by goal, such as "0.8" or "macs-0.5".

    Each is the config of the run that makes this ticket alone; {} if one ticket is asked for. With
    `pruning.goal` they are those to choose from, the densest first.

    Raises:
        InputError: If goals are given twice, or together with a single one.

    Example:
        >>> config = Config()
        >>> config.pruning.family = (0.5, 0.9)
        >>> {goal: each.pruning.final_sparsity for goal, each in family_of(config).items()}
        {'0.5': 0.5, '0.9': 0.9}
    """
    pruning = config.pruning
    unit, _, parts = (pruning.target or "").partition(":")
    targets, sparsities = parts.split(",") if "," in parts else [], pruning.family
    goal = goal_of(pruning)
    if goal is not None and pruning.target and not targets:
        expected = "several to choose from beside a goal, such as macs:0.6,0.4"
        raise checks.refuse("config.pruning.target", pruning.target, expected)
    if goal is not None and not targets and not sparsities:
        if criterion_of(pruning).of_channels:
            parts_left = {*USUAL_MACS, goal.macs or USUAL_MACS[0]}
            fitting = [part for part in parts_left if part <= (goal.macs or 1)]
            unit, targets = "macs", [f"{part:g}" for part in sorted(fitting, reverse=True)]
        else:
            sparsities = USUAL_SPARSITIES
    if not targets and not sparsities:
        return {}
    if targets:
        members = {f"{unit}-{part}": {"target": f"{unit}:{part}"} for part in targets}
    else:
        members = {f"{goal:g}": {"final_sparsity": goal} for goal in sparsities}
    given = {"target": pruning.target} if targets else {"final_sparsity": sparsities}
    for name, value in given.items():
        fewest = 2 if goal is None else 1
        if len(members) < len(targets or sparsities) or len(members) < fewest:
            raise checks.refuse(f"config.pruning.{name}", value, "at least two goals, each once")
    if sparsities and (pruning.final_sparsity != PruningConfig.final_sparsity or pruning.target):
        expected = "them in place of final_sparsity and target"
        raise checks.refuse("config.pruning.family", sparsities, expected)
    family = {}
    for goal, fields in members.items():
        family[goal] = config_from_dict(config.to_dict())
        pruning = family[goal].pruning
        family[goal].pruning = replace(pruning, family=(), goal=None, **fields)
        apply_target(family[goal].pruning)
    return family


def check_sparsity(model, config: Config) -> None:
    """Checks that the network of a config has masks of the sparsity at which pruning ends.

    Args:
        model: The network, plain or wrapped.
        config: Of the run.

    Raises:
        InputError: If it has none.
    """
    criterion, final = criterion_of(config.pruning), _final_sparsity(config)
    with _named_fields(config.pruning):
        criterion.check_sparsity("final_sparsity", final, final=True)
        if criterion.of_channels:
            backend_named(config.model.keras).check_channels(model, final, criterion)


def structure_of(pruning: PruningConfig) -> str | None:
    """Returns the structure's name, with the parameters that are fields of their own.

    Raises:
        InputError: If the name is unknown, or a field is for another structure or given twice.
    """
    fields = {
        "of": ("target", "macs" if pruning.target else None),
        "multiple": ("channel_multiple", pruning.channel_multiple),
        "floor": ("channel_floor", pruning.channel_floor),
    }
    given = {name: field for name, field in fields.items() if field[1] is not None}
    if not given:
        return pruning.structure
    structure, parameters = None, {}
    if pruning.structure is not None:
        structure, parameters = STRUCTURES.parse(pruning.structure)
    for name, (field, _) in given.items():
        if structure != "channels" or name in parameters:
            expected = f"structure='channels' with it, got {pruning.structure!r}"
            raise checks.refuse(field, getattr(pruning, field), expected)
        parameters[name] = given[name][1]
    return f"channels({', '.join(f'{name}={value!r}' for name, value in parameters.items())})"


def criterion_of(pruning: PruningConfig) -> Criterion:
    """Returns which weights the config keeps.

    Raises:
        InputError: For the first field that cannot be used, named with its full path.
    """
    with checks.prefixed("config.pruning."):
        return resolve_criterion(pruning.ranking, pruning.group_size, structure_of(pruning))


def build_plain_model(config: Config):
    """Returns the network of the config, seeded by it, neither wrapped nor compiled."""
    spec = dataset_spec(config)
    backend = backend_named(config.model.keras)
    backend.set_random_seed(config.seed)
    # All models of a run, and of a run that goes on, have the same names.
    backend.reset_names()
    if config.model.file is not None:
        with checks.prefixed("config.model."):
            return load_network(
                config.model.file,
                spec.image_shape,
                spec.num_classes,
                config.train.weight_decay,
                config.model.keras,
            )
    with backend.dtype_policy(config.train.dtype_policy):
        return build_model(
            config.model.name,
            spec.image_shape,
            spec.num_classes,
            config.train.weight_decay,
            config.model.synchronized_batch_norm,
            config.model.keras,
        )


def build_wrapped_model(
    config: Config, steps_per_epoch: int, strategy: tf.distribute.Strategy, pruned_network=None
):
    """Returns the network of the config, wrapped for pruning and compiled, under `strategy`.

    Args:
        config: Of the run.
        steps_per_epoch: Optimizer steps.
        strategy: Its devices.
        pruned_network: A plain one that takes its place, of which nothing more is pruned.
    """
    with strategy.scope():
        model = _wrapped(config, pruned_network)
        compile_model(model, config, steps_per_epoch)
    return model


def _final_sparsity(config: Config) -> float:
    """Returns the schedule's end; the masks of a ticket that is given have no schedule."""
    given = config.ticket is not None and criterion_of(config.pruning).of_channels
    return 0.0 if given else config.pruning.final_sparsity


def _wrapped(config: Config, pruned_network=None):
    pruning, plain, final, initial = config.pruning, pruned_network, 0.0, 0.0
    if plain is None:
        plain = build_plain_model(config)
        final = _final_sparsity(config)
        initial = min(pruning.initial_sparsity, final)
    schedule = backend_named(config.model.keras).schedule_class(
        final,
        initial_sparsity=initial,
        frequency=pruning.frequency,
        # Eq. 6 by its own name, as in tickets of before.
        **({} if pruning.schedule == "cubic" else {"shape": pruning.schedule}),
    )
    with _named_fields(pruning):
        return wrap_for_pruning(
            plain,
            schedule,
            ranking=pruning.ranking,
            group_size=pruning.group_size,
            structure=structure_of(pruning),
            update=pruning.update,
        )


def _named_fields(pruning: PruningConfig) -> AbstractContextManager[None]:
    """Names fields of `pruning` with their full path in an InputError."""
    target = "" if pruning.target is None else f"target={pruning.target!r}: "
    return checks.prefixed(f"config.pruning.{target}")


def describe_run(config: Config) -> str:
    """Returns what a run would do: its config, prunable layers, steps and schedule."""
    spec = dataset_spec(config)
    pruning, plan = config.pruning, plan_of(config)
    steps_per_epoch, probes = plan.steps_per_epoch, plan.probe_epochs
    model = build_plain_model(config)
    backend = backend_named(config.model.keras)
    criterion = criterion_of(pruning)
    choice = backend.choose(model, None, criterion)
    weights = backend.prunable_weights(model, choice.chosen)
    shapes = {name: list(weight.shape) for name, weight in weights.items()}
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    kept = f"of which {kept_count(total, pruning.final_sparsity):,} are kept"
    channels = []
    check_sparsity(model, config)
    if criterion.of_channels:
        structure = backend.channels_of(model, criterion)
        whole = structure.cost(structure.network.everything(), weights)
        of = {"weights": "weights", "macs": "multiply-adds"}[structure.of]
        most = kept_count(whole, pruning.final_sparsity)
        kept = f"in whole channels, so that at most {most:,} of {whole:,} {of} are left"
        channels = describe_channels(structure)
    layers = [f"  {name:<28} {shape}" for name, shape in shapes.items()]
    adapter, ranked = pruned(_wrapped(config, model)), ", as the initial weights rank"
    try:
        masks = adapter.ranked_masks(_final_sparsity(config))
    except InputError:
        # A score of data that is not read here.
        masks, ranked = adapter.masks(), ", before data is read"
    words = sparsity_in_words(mask_sparsity(masks), adapter.network_sparsity(masks))
    costs = [COST_COLUMNS, *cost_rows(adapter.layer_costs(masks))]
    return "\n".join(
        [
            "config:",
            json.dumps(config.to_dict(), indent=2),
            f"data: {spec.train_examples:,} training, {spec.validation_examples:,} held-out, "
            f"{spec.test_examples:,} test examples of shape {list(spec.image_shape)}",
            f"model: {config.model.name}, {model.count_params():,} parameters",
            f"prunable layers: {len(choice.chosen)} with {total:,} weights, {kept}",
            *layers,
            *channels,
            "left dense:",
            *(
                f"  {name:<28} {reason}"
                for name, reason in backend.left_dense(model, criterion=criterion).items()
            ),
            f"at the end: sparsity {words}{ranked}",
            "multiply-adds of one example and parameters, whole, masked, with channels removed:",
            *("  {:<28}{:>15}{:>13}{:>13}{:>13}{:>13}{:>13}".format(*row) for row in costs),
            f"training: {config.train.optimizer}, learning rate {config.train.learning_rate:g}, "
            f"schedule {config.train.schedule}",
            f"steps: {steps_per_epoch} per epoch, {steps_per_epoch * plan.epochs} in "
            f"{plan.epochs} epochs",
            f"probes: at most {len(probes)}, at epochs {', '.join(map(str, probes))}, each "
            f"retraining for {plan.probe_steps} of {steps_per_epoch} steps"
            if probes
            else "probes: none",
            f"schedule: mode {pruning.mode}; sparsity {pruning.initial_sparsity} to "
            f"{pruning.final_sparsity} over {plan.ramp_steps} steps ({plan.ramp_epochs} "
            f"epochs), an update every {plan.frequency} steps, "
            + (
                f"starting after epoch {plan.latest_start_epoch} at the latest"
                if plan.latest_start_epoch
                else "from the first step on"
            ),
        ]
    )


def describe_channels(structure: Channels) -> list[str]:
    """Returns lines that tell of the families of channels, and of those that stay and why."""
    graph = structure.network
    lines = [
        f"channels: {len(graph.removable)} families, of each a multiple of {structure.multiple} "
        f"and at least {100 * structure.floor:g} % are kept"
    ]
    for family in graph.removable:
        made, read = (
            f"{len(weights)} weights" if len(weights) > 1 else weights[0]
            for weights in (family.makes, family.reads)
        )
        lines.append(f"  {family.name:<28} {family.size:>5}, made by {made}, read by {read}")
    lines.append("channels that stay:")
    for family in graph.pinned:
        lines.append(f"  {family.name or '(input)':<28} {family.size:>5}, {family.pinned}")
    return lines
