"""From a config to a compiled, wrapped model and its pruning schedule."""

import contextlib

import tensorflow as tf

from tf_earlyticket.adapters.optimizers import OverridableSchedule
from tf_earlyticket.adapters.pruning import wrap_for_pruning
from tf_earlyticket.adapters.schedule import EarlyTicketPolynomialDecay
from tf_earlyticket.config import Config, TrainConfig
from tf_earlyticket.data.catalog import DatasetSpec, describe
from tf_earlyticket.keras_compat import keras
from tf_earlyticket.models.registry import build_model


def dataset_spec(config: Config) -> DatasetSpec:
    """Returns what the config's data set looks like, without reading it."""
    return describe(
        config.data.name,
        image_size=config.data.image_size,
        validation_examples=config.data.validation_examples,
        train_examples=config.data.train_examples,
    )


@contextlib.contextmanager
def dtype_policy(name: str):
    """Sets Keras' global dtype policy and puts the former one back."""
    former = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(former)


def learning_rate_schedule(config: TrainConfig, steps_per_epoch: int):
    """Returns the learning rate as a function of optimizer steps: constant, dropped in steps."""
    drops = [epoch for epoch in config.drop_epochs if epoch < config.epochs]
    if not drops:
        return config.learning_rate
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        # Keras keeps a value up to and including its boundary.
        boundaries=[epoch * steps_per_epoch - 1 for epoch in drops],
        values=[config.learning_rate * config.drop_factor**n for n in range(len(drops) + 1)],
    )
    # In place from the start, all phases of a run share one compiled training step.
    return OverridableSchedule(schedule)


def build_plain_model(config: Config):
    """Returns the network of the config, seeded by it, neither wrapped nor compiled."""
    spec = dataset_spec(config)
    keras.utils.set_random_seed(config.seed)
    with dtype_policy(config.train.dtype_policy):
        return build_model(
            config.model.name,
            spec.image_shape,
            spec.num_classes,
            config.train.weight_decay,
            config.model.synchronized_batch_norm,
        )


def build_wrapped_model(config: Config, steps_per_epoch: int, strategy: tf.distribute.Strategy):
    """Returns the network of the config in pruning wrappers, compiled, under `strategy`."""
    with strategy.scope():
        plain = build_plain_model(config)
        schedule = EarlyTicketPolynomialDecay(
            config.pruning.final_sparsity,
            initial_sparsity=config.pruning.initial_sparsity,
            frequency=config.pruning.frequency,
        )
        model = wrap_for_pruning(
            plain,
            schedule,
            ranking=config.pruning.ranking,
            group_size=config.pruning.group_size,
        )
        optimizer = keras.optimizers.SGD(
            learning_rate_schedule(config.train, steps_per_epoch), momentum=config.train.momentum
        )
        if config.train.dtype_policy == "mixed_float16":
            optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=config.train.jit_compile,
            steps_per_execution=config.train.steps_per_execution,
        )
    return model
