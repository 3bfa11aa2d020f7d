"""The configuration of a run: typed fields with their defaults, checked before work starts.

Config files are Python files whose `get_config(variant)` returns a `Config`; every field can be
set on the command line (`--config.pruning.final_sparsity=0.9`). Importing this module imports
neither TensorFlow nor Keras.
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Optional

from tf_earlyticket.core.plan import plan_ramp, probe_epochs
from tf_earlyticket.data.catalog import describe
from tf_earlyticket.errors import InputError, suggestion
from tf_earlyticket.models.names import check_model_name

# `Optional[int]`, not `int | None`: the command line's override parser knows only the former.
# ruff: noqa: UP045


@dataclass
class DataConfig:
    """Which examples.

    Attributes:
        name: "digits" (bundled), "cifar10" or "imagenet2012" (through TFDS).
        image_size: Side in pixels; None: the data set's usual one.
        validation_examples: Held out from the training set for probing; None: the usual number.
        train_examples: Use only so many training examples; None: all.
    """

    name: str = "digits"
    image_size: Optional[int] = None
    validation_examples: Optional[int] = None
    train_examples: Optional[int] = None


@dataclass
class ModelConfig:
    """Which network: "resnet20", "resnet56", "resnet18", "resnet50", ..."""

    name: str = "resnet20"


@dataclass
class TrainConfig:
    """How the network trains: SGD with momentum and a learning rate that drops in steps.

    Attributes:
        epochs: Epochs of the full schedule.
        batch_size: Global batch, over all replicas.
        learning_rate: Until the first drop.
        drop_epochs: Epochs after which the learning rate is multiplied by `drop_factor`.
        drop_factor: In (0, 1].
        momentum: Of SGD.
        weight_decay: The paper's lambda, on the kernels of convolutions and dense layers.
        dtype_policy: "float32", "mixed_bfloat16" or "mixed_float16".
        jit_compile: Compile the training step with XLA.
        steps_per_execution: Training steps between two callbacks.
        deterministic: Make a run repeatable bit for bit, at some cost in speed.
        dense_baseline: Also finish the dense training from the start epoch on, for comparison.
    """

    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 0.1
    drop_epochs: tuple[int, ...] = (36, 48)
    drop_factor: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dtype_policy: str = "float32"
    jit_compile: bool = False
    steps_per_execution: int = 1
    deterministic: bool = False
    dense_baseline: bool = True


@dataclass
class PruningConfig:
    """What is pruned, how far and when.

    Attributes:
        mode: "continue" (gradual pruning goes on in the same run) or "rewind" (the mask of the
            start epoch on the weights of `rewind_epoch`, retrained with the full schedule).
        final_sparsity: Fraction of prunable weights that are zero at the end.
        initial_sparsity: Fraction pruned at once at the start of the ramp.
        ramp_epochs: Length of the ramp, 0 is one-shot; None: a fifth of the epochs.
        hold_epochs: Epochs at the final sparsity at least; None: 15 % of the epochs.
        frequency: Steps between mask updates; None: about 20 updates in the ramp.
        ranking: "global" or "layerwise" magnitude.
        group_size: Weights along the input channels that live or die together.
        rewind_epoch: Epochs after which the ticket's rewind weights are taken; 0: initial ones.
    """

    mode: str = "continue"
    final_sparsity: float = 0.8
    initial_sparsity: float = 0.0
    ramp_epochs: Optional[int] = None
    hold_epochs: Optional[int] = None
    frequency: Optional[int] = None
    ranking: str = "global"
    group_size: int = 1
    rewind_epoch: int = 0


@dataclass
class ProbeConfig:
    """How the start epoch is found.

    Attributes:
        every_epochs: Epochs between probes; None: at most 20 probes, evenly spaced.
        first_epoch: Epoch of the first probe, from 1; None: `every_epochs`.
        fraction: Part of an epoch that a probe retrains for, in (0, 1]; None: what keeps all
            probes together within 5 % of the epochs.
        learning_rate: Of the probe's retraining; None: a tenth of `train.learning_rate`.
        tolerance: PPR accuracy not worth waiting for, as a fraction.
    """

    every_epochs: Optional[int] = None
    first_epoch: Optional[int] = None
    fraction: Optional[float] = None
    learning_rate: Optional[float] = None
    tolerance: float = 0.01


@dataclass
class Config:
    """A whole run. The defaults are the digits job that runs without any flag."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    seed: int = 0

    def to_dict(self) -> dict:
        """Returns nested plain values that JSON can hold."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def run_name(self) -> str:
        """Returns a folder name that tells configs apart, such as "digits_resnet20-1a2b3c4d"."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{self.data.name}_{self.model.name}-{digest}"


def validate(config: Config) -> None:
    """Checks every field.

    Raises:
        InputError: For the first field that is out of range, named with its full path.
    """
    check_model_name(config.model.name)
    describe(
        config.data.name,
        image_size=config.data.image_size,
        validation_examples=config.data.validation_examples,
        train_examples=config.data.train_examples,
    )
    train, pruning, probe = config.train, config.pruning, config.probe
    _range("train.epochs", train.epochs, low=1)
    _range("train.batch_size", train.batch_size, low=1)
    _range("train.learning_rate", train.learning_rate, above=0)
    _range("train.drop_factor", train.drop_factor, above=0, high=1)
    _range("train.momentum", train.momentum, low=0, below=1)
    _range("train.weight_decay", train.weight_decay, low=0)
    _range("train.steps_per_execution", train.steps_per_execution, low=1)
    drops = list(train.drop_epochs)
    if drops != sorted(set(drops)) or any(d < 1 for d in drops):
        raise InputError(f"config.train.drop_epochs={train.drop_epochs}: expected rising epochs.")
    _choice(
        "train.dtype_policy", train.dtype_policy, ("float32", "mixed_bfloat16", "mixed_float16")
    )
    _choice("pruning.mode", pruning.mode, ("continue", "rewind"))
    _choice("pruning.ranking", pruning.ranking, ("global", "layerwise"))
    _range("pruning.final_sparsity", pruning.final_sparsity, low=0, below=1)
    _range("pruning.initial_sparsity", pruning.initial_sparsity, low=0, high=pruning.final_sparsity)
    _range("pruning.group_size", pruning.group_size, low=1)
    _range("pruning.rewind_epoch", pruning.rewind_epoch, low=0, high=train.epochs)
    if pruning.frequency is not None:
        _range("pruning.frequency", pruning.frequency, low=1)
        if pruning.frequency % train.steps_per_execution:
            raise InputError(
                f"config.pruning.frequency={pruning.frequency}: expected a multiple of "
                f"train.steps_per_execution={train.steps_per_execution}."
            )
    _range("probe.tolerance", probe.tolerance, above=0, below=1)
    if probe.fraction is not None:
        _range("probe.fraction", probe.fraction, above=0, high=1)
    if probe.learning_rate is not None:
        _range("probe.learning_rate", probe.learning_rate, above=0)
    _range("seed", config.seed, low=0, high=2**31 - 1)
    plan = plan_ramp(train.epochs, ramp_epochs=pruning.ramp_epochs, hold_epochs=pruning.hold_epochs)
    if pruning.rewind_epoch >= plan.latest_start_epoch:
        raise InputError(
            f"config.pruning.rewind_epoch={pruning.rewind_epoch}: expected one before "
            f"{plan.latest_start_epoch}, the latest epoch at which pruning can start."
        )
    probe_epochs(plan.latest_start_epoch, every=probe.every_epochs, first=probe.first_epoch)


def _range(name, value, *, low=None, above=None, high=None, below=None):
    accepted = " and ".join(
        f"{sign} {bound}"
        for sign, bound in ((">=", low), (">", above), ("<=", high), ("<", below))
        if bound is not None
    )
    good = (
        isinstance(value, (int, float))
        and math.isfinite(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (high is None or value <= high)
        and (below is None or value < below)
    )
    if not good:
        raise InputError(f"config.{name}={value}: expected a number {accepted}.")


def _choice(name, value, accepted):
    if value not in accepted:
        raise InputError(
            f"config.{name}={value!r}: expected one of {', '.join(accepted)}."
            f"{suggestion(str(value), accepted)}"
        )


def field_paths(config: Config) -> list[str]:
    """Returns the dotted path of every field, such as "pruning.final_sparsity"."""
    return list(flatten(config.to_dict()))


def flatten(nested: dict, prefix: str = "") -> dict:
    """Returns {"pruning.final_sparsity": 0.8, ...} of a nested dict."""
    flat = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
