"""The configuration of a run: typed fields with their defaults; `preflight.py` checks them.

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

import msgspec

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError, suggestion

# `Optional[int]`, not `int | None`: the command line's override parser knows only the former.
# ruff: noqa: UP045


@dataclass
class DataConfig:
    """Which examples.

    Attributes:
        name: "digits" (bundled), "cifar10" or "imagenet2012" (through TFDS); "folder": pictures in
            folders, "arrays": a .npz file, "tfds/NAME": any prepared set of pictures of TFDS, all
            under `--data_dir`.
        image_size: Side in pixels; None: the data set's usual one.
        validation_examples: Held out from the training set for probing; None: the usual number.
        train_examples: Use only so many training examples; None: all.
        deterministic: Hand on examples in an order that depends on seed and epoch only, so that
            a restart sees what an uninterrupted run saw. False: streamed data (ImageNet) come in
            the order in which reading and decoding finish, unless `train.deterministic`.
        pad: Pixels added on each side before training images are cropped at random; None: the
            usual ones, 0 for sets that their files describe.
        flip: Whether training images are mirrored at random; None: as usual, not for sets that
            their files describe.
        corrupt: Pictures in folders that cannot be read: "refuse", or "skip" and say which.
        fingerprint: Set by the program, for sets that their files describe: a hash of names and
            sizes of the files. A run goes on only with the same.
    """

    name: str = "digits"
    image_size: Optional[int] = None
    validation_examples: Optional[int] = None
    train_examples: Optional[int] = None
    deterministic: bool = True
    pad: Optional[int] = None
    flip: Optional[bool] = None
    corrupt: str = "refuse"
    fingerprint: Optional[str] = None


@dataclass
class ModelConfig:
    """Which network.

    Attributes:
        name: "resnet20", "resnet56", "resnet18", "resnet50", ..., or a network of
            `keras.applications` such as "applications/MobileNetV2(alpha=0.5)", with random weights.
        file: A network of yours, saved by Keras as `.keras` or `.h5`, in place of `name`: training
            begins with its weights (fine-tuning). Its types of numbers are those of the file.
        fingerprint: Set by the program: a hash of `file`. A run goes on only with the same.
        synchronized_batch_norm: On several devices, compute batch statistics over the whole batch
            instead of each device's part.
        keras: "tf_keras" (Keras 2, in TensorFlow Model Optimization's wrappers) or "keras" (Keras
            3, on the backend that the environment variable KERAS_BACKEND names).
    """

    name: str = "resnet20"
    file: Optional[str] = None
    fingerprint: Optional[str] = None
    keras: str = "tf_keras"
    synchronized_batch_norm: bool = False


@dataclass
class TrainConfig:
    """How the network trains; by default SGD with momentum, its learning rate dropping in steps.

    Attributes:
        epochs: Epochs of the full schedule.
        batch_size: Global batch, divided among all replicas.
        optimizer: "sgd", "adam", "adamw", "nadam", "adamax", "rmsprop" or "lion", maybe with
            parameters, such as "adamw(weight_decay=0.05, beta_2=0.98)" or "sgd(nesterov=True)".
        learning_rate: Highest value, from which the schedule begins.
        schedule: Of the learning rate: "steps" (see `drop_epochs`), "cosine" (down to zero at the
            end of the epochs) or "constant".
        restart: Whether the learning rate begins anew when the ramp has ended, and falls evenly to
            zero; the dense baseline then has the same learning rates.
        distillation: Weight of a soft loss from the start of pruning on, beside the usual one: the
            network of the start epoch teaches the pruned one. 0: none. It takes two copies of
            the weights in memory and one more forward pass a step.
        distillation_temperature: By which logits are divided in that loss.
        recalibrate_batch_norm: Batches of training data over which the statistics of BatchNorm are
            estimated anew when training has ended, before the test; for the dense baseline too.
        warmup_epochs: Epochs in which the learning rate rises evenly to what the schedule says.
        clip_norm: Scale gradients down to this norm of all together; None: leave them.
        label_smoothing: Part of each label that is spread evenly over all classes, in [0, 1).
        scale_with_replicas: Multiply batch size and learning rate by the number of replicas
            (linear scaling), so that `batch_size` is that of each.
        drop_epochs: With schedule "steps": epochs after which the learning rate is multiplied by
            `drop_factor`.
        drop_factor: In (0, 1].
        momentum: Of "sgd".
        weight_decay: The paper's lambda, a part of the loss, on the kernels of convolutions and
            dense layers. With "adamw(weight_decay=...)", which has its own, set it to 0.
        dtype_policy: "float32", "mixed_bfloat16" or "mixed_float16".
        jit_compile: Compile the training step with XLA.
        steps_per_execution: Training steps between two callbacks.
        deterministic: Make a run repeatable bit for bit, at some cost in speed.
        dense_baseline: Also finish the dense training from the start epoch on, for comparison.
    """

    epochs: int = 60
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "steps"
    restart: bool = False
    distillation: float = 0.0
    distillation_temperature: float = 4.0
    recalibrate_batch_norm: int = 0
    warmup_epochs: int = 0
    clip_norm: Optional[float] = None
    label_smoothing: float = 0.0
    scale_with_replicas: bool = False
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
        final_sparsity: Fraction of prunable weights that are zero at the end. In a command several,
            such as 0.5,0.8,0.9, make a family of tickets from one dense training.
        family: Set by several values of `final_sparsity`, whose place it takes.
        goal: What the ticket has to reach, in place of a sparsity: "accuracy>=dense-0.5" (points,
            on held-out data), "accuracy>=97.5" (percent), "size<=100kB", "macs<=0.5",
            "latency<=2ms@litert", joined by commas. Tickets are made of `family`, or of the usual
            sparsities, until one meets it.
        initial_sparsity: Fraction pruned at once at the start of the ramp.
        schedule: How sparsity rises in the ramp: "cubic" (the paper's), "linear",
            "polynomial(power=2)", "one_shot" (at once, as `ramp_epochs=0`), or "one_cycle", which
            takes the whole training and looks for no start epoch.
        ramp_epochs: Length of the ramp, 0 is one-shot; None: a fifth of the epochs.
        hold_epochs: Epochs at the final sparsity at least; None: 15 % of the epochs, with whole
            channels half of them.
        frequency: Steps between mask updates; None: about 20 updates in the ramp.
        ranking: "global", "layerwise" or "erk", of magnitudes or of another score, such as
            "global(score='taylor', batches=8)"; "lamp"; or "budgets(file='sensitivity.json')".
        group_size: Weights along the input channels that live or die together.
        structure: What else lives or dies together, such as "channels": whole channels, which the
            exported network is without. None: as `group_size` says.
        target: Of "channels": "macs:0.5" leaves half of the multiply-adds, in place of
            `final_sparsity`, which is then the part that goes. "macs:0.5,0.25" makes a family.
        channel_multiple: Of "channels": their number is a multiple of it; None: 8, or 16 in
            bfloat16.
        channel_floor: Of "channels": part of each family of channels that stays; None: 0.1.
        update: What becomes of masks during the ramp: "shrink" (pruned weights never return),
            "regrow" (they train on and may), "alternate" (sparse and dense phases by turns) or
            "swap" (weak weights are exchanged for those with large gradients), with parameters if
            need be: "regrow(threshold='feather')", "swap(fraction=0.2)".
        shrink_after_ramp: Of "channels": when the ramp ends, take the channels out that nothing
            reads and train on without them, faster; False: they are masked until the export.
        rewind_epoch: Epochs after which the ticket's rewind weights are taken; 0: initial ones.
    """

    mode: str = "continue"
    final_sparsity: float = 0.8
    family: tuple[float, ...] = ()
    goal: Optional[str] = None
    initial_sparsity: float = 0.0
    schedule: str = "cubic"
    ramp_epochs: Optional[int] = None
    hold_epochs: Optional[int] = None
    frequency: Optional[int] = None
    ranking: str = "global"
    group_size: int = 1
    structure: Optional[str] = None
    target: Optional[str] = None
    channel_multiple: Optional[int] = None
    channel_floor: Optional[float] = None
    update: str = "shrink"
    shrink_after_ramp: bool = False
    rewind_epoch: int = 0


@dataclass
class ProbeConfig:
    """How the start epoch is found.

    Attributes:
        detector: Who decides: "ppr_saturation", "gated_ppr", "mask_distance",
            "layer_rate_convergence", "subnet_similarity" or "fixed_epoch"; with parameters of its
            own if need be, such as "mask_distance(threshold=0.05)" or "fixed_epoch(epoch=12)".
        every_epochs: Epochs between probes; None: at most 20 probes, evenly spaced.
        first_epoch: Epoch of the first probe, from 1; None: `every_epochs`.
        fraction: Part of an epoch that a probe retrains for, in (0, 1]; None: what keeps all
            probes together within 5 % of the epochs, but at least 20 steps.
        validation_fraction: Part of the held-out data that a probe evaluates on, in (0, 1]; None:
            as many batches as it retrains for.
        learning_rate: Of the probe's retraining; None: a tenth of `train.learning_rate`.
        tolerance: Old, as are those below; now a parameter of the detector's name.
        threshold: See `tolerance`.
        start_epoch: See `tolerance`.
    """

    detector: str = "ppr_saturation"
    every_epochs: Optional[int] = None
    first_epoch: Optional[int] = None
    fraction: Optional[float] = None
    validation_fraction: Optional[float] = None
    learning_rate: Optional[float] = None
    tolerance: Optional[float] = None
    threshold: Optional[float] = None
    start_epoch: Optional[int] = None


@dataclass
class Config:
    """A whole run. The defaults are those of the digits job, whose command holds out 300 examples.

    Attributes:
        data: Which examples.
        model: Which network.
        train: How it trains.
        pruning: What is pruned, how far and when.
        probe: How the start epoch is found.
        seed: Of weights, data order and probes.
        ticket: Directory of a ticket to train instead of searching for one, such as one found on
            another data set; probes and `pruning` then do not count.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    seed: int = 0
    ticket: Optional[str] = None

    def to_dict(self) -> dict:
        """Returns nested plain values that JSON can hold."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def run_name(self) -> str:
        """Returns a folder name that tells configs apart, such as "digits_resnet20-1a2b3c4d".

        Only what differs from the defaults counts: a field that is added changes no name.
        """
        usual = flatten(Config().to_dict())
        own = {name: v for name, v in flatten(self.to_dict()).items() if v != usual[name]}
        digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
        names = (self.data.name, self.model.name.partition("(")[0])
        return f"{'_'.join(names).replace('/', '-')}-{digest}"


def config_from_dict(values: dict) -> Config:
    """Returns a config from what `Config.to_dict` gave; fields that are missing have defaults.

    Raises:
        InputError: For a field that does not exist or a value of another type. Ranges are
            `check_config`'s.
    """
    _refuse_unknown(values, Config().to_dict(), "config")
    try:
        config = msgspec.convert(values, Config)
    except msgspec.ValidationError as error:
        # Such as "Expected `int | null`, got `str` - at `$.train.epochs[0]`".
        expected, _, place = str(error).partition(", got ")
        path = place.partition("$.")[2].partition("[")[0].strip("`")
        expected = expected.replace("`", "").removeprefix("Expected ").replace("null", "None")
        value = flatten(values).get(path)
        raise checks.refuse(f"config.{path}", value, f"a value of type {expected}") from None
    translate_old_fields(config.probe)
    return config


def translate_old_fields(probe: ProbeConfig) -> str:
    """Turns the fields that detectors once shared into parameters of the detector's name.

    Returns:
        What to write from now on; "" where no such field was set.
    """
    # 0.01 was the default of the field, and is that of the parameter.
    tolerance = None if probe.tolerance == 0.01 else probe.tolerance
    threshold, start_epoch = probe.threshold, probe.start_epoch
    gate = None if threshold is None else f"layer_rate_convergence(tolerance={threshold})"
    parameters: dict[str, dict[str, object]] = {
        "ppr_saturation": {"tolerance": tolerance},
        "gated_ppr": {"gate": gate, "tolerance": tolerance},
        "mask_distance": {"threshold": threshold},
        "layer_rate_convergence": {"tolerance": threshold},
        "subnet_similarity": {"threshold": threshold},
        "fixed_epoch": {"epoch": start_epoch},
    }
    told = any(value is not None for value in (tolerance, threshold, start_epoch))
    given = parameters.get(probe.detector, {})
    given = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    if given:
        probe.detector = f"{probe.detector}({', '.join(given)})"
    probe.tolerance = probe.threshold = probe.start_epoch = None
    if not told:
        return ""
    return (
        "config.probe.tolerance, threshold and start_epoch are parameters of the detector's name "
        f'now: write --config.probe.detector="{probe.detector}".'
    )


def apply_target(pruning: PruningConfig) -> None:
    """Sets the final sparsity to what `target` says, if it says something.

    Raises:
        InputError: If the target has another form, or the final sparsity is another one already.
    """
    if pruning.target is None:
        return
    unit, _, part = pruning.target.partition(":")
    try:
        left = float(part)
    except ValueError:
        left = math.nan
    if unit != "macs" or not 0 < left <= 1:
        expected = "macs:PART, such as macs:0.5, where PART in (0, 1] of the multiply-adds stays"
        raise checks.refuse("config.pruning.target", pruning.target, expected)
    sparsity = round(1 - left, 12)
    if pruning.final_sparsity not in (PruningConfig.final_sparsity, sparsity):
        expected = f"none, or {sparsity}, beside target={pruning.target!r}"
        raise checks.refuse("config.pruning.final_sparsity", pruning.final_sparsity, expected)
    pruning.final_sparsity = sparsity


def _refuse_unknown(values: dict, known: dict, path: str) -> None:
    if not isinstance(values, dict):
        raise checks.refuse(path, values, "a mapping of fields")
    for name, value in values.items():
        if name not in known:
            raise InputError(
                f"{path}.{name} is not a field of the config.{suggestion(name, known)}"
            )
        if isinstance(known[name], dict):
            _refuse_unknown(value, known[name], f"{path}.{name}")


def check_fields(config: Config) -> None:
    """Checks what a config file may have set: only fields that exist, of their types.

    Raises:
        InputError: For the first one that is not.
    """
    config_from_dict(_fields_of(config))


def _fields_of(section) -> dict:
    return {
        name: _fields_of(value) if dataclasses.is_dataclass(value) else value
        for name, value in vars(section).items()
    }


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
