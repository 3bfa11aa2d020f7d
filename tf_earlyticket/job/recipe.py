"""How a run trains: optimizer, learning rate and loss, by the names in its config."""

from collections.abc import Callable
from typing import Any, NamedTuple

from tf_earlyticket import checks
from tf_earlyticket.backends import backend_named
from tf_earlyticket.config import Config, TrainConfig
from tf_earlyticket.registry import Registry

SCHEDULES = ("steps", "cosine", "constant")


class Optimizer(NamedTuple):
    """A class of `keras.optimizers` and what to give it beside the learning rate."""

    name: str
    options: dict[str, Any]


OPTIMIZERS: Registry[Callable[..., Optimizer]] = Registry("optimizer")


def _sgd(momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    return Optimizer("SGD", {"momentum": momentum} | ({"nesterov": True} if nesterov else {}))


def _of_moments(name: str) -> Callable[..., Optimizer]:
    def make(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> Optimizer:
        return Optimizer(name, {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon})

    return make


def _adamw(
    weight_decay: float = 0.004, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7
) -> Optimizer:
    options = {"beta_1": beta_1, "beta_2": beta_2, "epsilon": epsilon}
    return Optimizer("AdamW", {"weight_decay": weight_decay, **options})


def _rmsprop(rho: float = 0.9, momentum: float = 0.0, epsilon: float = 1e-7) -> Optimizer:
    return Optimizer("RMSprop", {"rho": rho, "momentum": momentum, "epsilon": epsilon})


def _lion(beta_1: float = 0.9, beta_2: float = 0.99, weight_decay: float = 0.0) -> Optimizer:
    options = {"beta_1": beta_1, "beta_2": beta_2}
    return Optimizer("Lion", options | ({"weight_decay": weight_decay} if weight_decay else {}))


OPTIMIZERS.register("sgd", _sgd, own=True)
for _name, _class in (("adam", "Adam"), ("nadam", "Nadam"), ("adamax", "Adamax")):
    OPTIMIZERS.register(_name, _of_moments(_class), own=True)
OPTIMIZERS.register("adamw", _adamw, own=True)
OPTIMIZERS.register("rmsprop", _rmsprop, own=True)
OPTIMIZERS.register("lion", _lion, own=True)


def check_training(train: TrainConfig) -> None:
    """Checks what says how a run trains; imports nothing.

    Raises:
        InputError: For the first field that cannot be used, named with its full path.
    """
    with checks.prefixed("config.train."):
        _optimizer_of(train)
        checks.choice("schedule", train.schedule, SCHEDULES)
        checks.integer("recalibrate_batch_norm", train.recalibrate_batch_norm, 0)
        checks.integer("warmup_epochs", train.warmup_epochs, 0, train.epochs - 1)
        checks.number("distillation", train.distillation, low=0)
        checks.number("distillation_temperature", train.distillation_temperature, above=0)
        checks.number("label_smoothing", train.label_smoothing, low=0, below=1)
        if train.clip_norm is not None:
            checks.number("clip_norm", train.clip_norm, above=0)
        drops = train.drop_epochs
        if list(drops) != sorted(set(drops)) or any(epoch < 1 for epoch in drops):
            raise checks.refuse("drop_epochs", drops, "rising epochs, from 1")


def _optimizer_of(train: TrainConfig) -> Optimizer:
    name, given = OPTIMIZERS.parse(train.optimizer)
    made: Optimizer = OPTIMIZERS.make(train.optimizer)
    for field, value in made.options.items():
        if field != "nesterov":
            checks.number(f"optimizer={train.optimizer!r}: {field}", value, low=0)
    if name == "sgd" and "momentum" not in given:
        made.options["momentum"] = train.momentum
    return made


def learning_rate_schedule(train: TrainConfig, steps_per_epoch: int, framework: str = "tf_keras"):
    """Returns the learning rate, constant or as a function of optimizer steps."""
    backend, warmup = backend_named(framework), train.warmup_epochs * steps_per_epoch
    drops = [epoch for epoch in train.drop_epochs if epoch < train.epochs]
    if train.schedule == "cosine":
        whole = train.epochs * steps_per_epoch
        return backend.learning_rate_schedule(
            "CosineDecay", warmup, initial_learning_rate=train.learning_rate, decay_steps=whole
        )
    if train.schedule == "steps" and drops:
        return backend.learning_rate_schedule(
            "PiecewiseConstantDecay",
            warmup,
            # Keras keeps a value up to and including its boundary.
            boundaries=[epoch * steps_per_epoch - 1 for epoch in drops],
            values=[train.learning_rate * train.drop_factor**n for n in range(len(drops) + 1)],
        )
    if warmup:
        return backend.warmed_up(train.learning_rate, warmup)
    return train.learning_rate


def compile_model(model, config: Config, steps_per_epoch: int) -> None:
    """Compiles a model as the config says; under the scope of its strategy.

    Raises:
        InputError: If Keras would make more steps in an epoch than there are.
    """
    backend, train = backend_named(config.model.keras), config.train
    if steps_per_epoch % train.steps_per_execution and not backend.shortens_calls:
        expected = f"a divisor of the {steps_per_epoch} steps of an epoch with Keras 3"
        raise checks.refuse("config.train.steps_per_execution", train.steps_per_execution, expected)
    made = _optimizer_of(train)
    clipping = {} if train.clip_norm is None else {"global_clipnorm": train.clip_norm}
    optimizer = backend.optimizer(
        made.name,
        learning_rate_schedule(train, steps_per_epoch, config.model.keras),
        loss_scale=train.dtype_policy == "mixed_float16",
        **made.options,
        **clipping,
    )
    model.compile(
        optimizer,
        backend.classification_loss(train.label_smoothing),
        metrics=["accuracy"],
        jit_compile=train.jit_compile or backend.always_compiled,
        steps_per_execution=train.steps_per_execution,
    )
