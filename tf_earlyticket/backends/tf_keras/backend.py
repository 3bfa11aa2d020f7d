"""The back end of tf_keras (Keras 2): models in TFMOT's wrappers and out again, and their state."""

import contextlib
import io

import tensorflow as tf

from tf_earlyticket.backends.base import Backend, in_float32, kept_object
from tf_earlyticket.backends.tf_keras.compat import PruneLowMagnitude, keras, tfmot
from tf_earlyticket.backends.tf_keras.optimizers import OverridableSchedule
from tf_earlyticket.backends.tf_keras.pruned_model import (
    TfKerasPrunedModel,
    named_layers,
    named_weights,
    plain_layer,
)
from tf_earlyticket.backends.tf_keras.wrapper import (
    EarlyTicketPolynomialDecay,
    MaskedPruneLowMagnitude,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import sync, write_text

_OWN_METHODS = ("call", "train_step", "test_step", "compute_loss")


class TfKerasBackend(Backend):
    """Models whose prunable layers are in `MaskedPruneLowMagnitude` wrappers."""

    framework = "tf_keras"
    keras = keras
    schedule_class = EarlyTicketPolynomialDecay
    schedule_kind = tfmot.sparsity.keras.PruningSchedule
    starts_within_epochs = True
    state_index, state_others = ".index", ".data-*"

    def pruned(self, model):
        return kept_object(model) or TfKerasPrunedModel(model)

    def named_layers(self, model):
        return {name: plain_layer(layer) for name, layer in named_layers(model)}

    def named_weights(self, model):
        return named_weights(model)

    def _check_model(self, model):
        models = [model, *(m for m in model.submodules if isinstance(m, keras.Model))]
        for part in models:
            if not (isinstance(part, keras.Sequential) or part._is_graph_network):
                raise InputError(
                    f"Model {part.name!r} is subclassed ({type(part).__name__}): expected a "
                    "functional or sequential model."
                )
            if not part.built or not part.inputs:
                raise InputError(
                    f"Model {part.name!r} is not built: give its first layer an input shape."
                )
        if any(isinstance(layer, PruneLowMagnitude) for layer in model.submodules):
            raise InputError(
                f"Model {model.name!r} is wrapped for pruning already: expected a plain model."
            )

    def _wrapped(self, model, schedule, chosen, criterion):
        layers = dict(named_layers(model))
        ids = {id(layers[name]) for name in chosen}

        def wrap_layer(layer):
            copy = _copy_layer(layer)
            if id(layer) not in ids:
                return copy
            return MaskedPruneLowMagnitude(copy, schedule, **criterion.names)

        with _resettable_random_state():
            copy = _clone(model, wrap_layer)
        for method in _OWN_METHODS:
            if getattr(type(copy), method) is not getattr(type(model), method):
                raise InputError(
                    f"Model {model.name!r} is a {type(model).__name__} with a {method} of its own, "
                    "which its copy would lose: expected a class with keras.Model's constructor, "
                    "(inputs, outputs, name)."
                )
        # By which losses and metrics are given; a wrapper has another name.
        copy.output_names = list(model.output_names)
        return copy

    def strip(self, model):
        return _clone(model, lambda layer: _copy_layer(plain_layer(layer)))

    def float32_copy(self, model):
        return _clone(model, lambda layer: _copy_layer(layer, in_float32))

    def _remade(self, model, change):
        def make(layer):
            return _copy_layer(layer, lambda config: change(layer, config))

        return _clone(model, make, with_weights=False)

    def _inputs_as_given(self, model):
        nested = getattr(model, "_nested_inputs", None)
        return model.inputs if nested is None else nested

    def save_model(self, model, directory):
        # Not by model.export, which takes a dict's inputs as a list in the order of their names.
        specs = tf.nest.map_structure(
            lambda entry: tf.TensorSpec((None, *entry.shape[1:]), entry.dtype, entry.name),
            self.inputs_of(model),
        )
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", model.__call__, [specs])
        # Keras prints the list of everything it captured.
        with contextlib.redirect_stdout(io.StringIO()):
            archive.write_out(str(directory))

    def write_state(self, model, path):
        try:
            _checkpoint(model).write(str(path))
        except tf.errors.OpError as error:
            reason = " ".join(str(error.message).split())
            raise OSError(f"{path} cannot be written: {reason:.200}") from error
        # TensorFlow leaves that to the operating system.
        for written in path.parent.glob(f"{path.name}.*"):
            sync(written)
        sync(path.parent)

    def read_state(self, model, path):
        try:
            _checkpoint(model).read(str(path)).assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError) as error:
            raise ValueError(str(error)) from error

    def point_to(self, directory, name):
        # Where tf.train.latest_checkpoint looks.
        write_text(directory / "checkpoint", f'model_checkpoint_path: "{name}"\n')

    def start_within(self, model, step):
        model._training_state = _StartWithin(step) if step else None

    def metric_values(self, model):
        return [value.tolist() for value in keras.backend.batch_get_value(_counts(model))]

    def set_metric_values(self, model, values):
        for variable, value in zip(_counts(model), values, strict=True):
            variable.assign(value)

    @contextlib.contextmanager
    def dtype_policy(self, name):
        former = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy(name)
        try:
            yield
        finally:
            keras.mixed_precision.set_global_policy(former)

    def sgd(self, learning_rate, momentum, *, loss_scale=False):
        optimizer = keras.optimizers.SGD(learning_rate, momentum=momentum)
        return keras.mixed_precision.LossScaleOptimizer(optimizer) if loss_scale else optimizer

    def stepwise_learning_rate(self, boundaries, values):
        # In place from the start, all phases of a run share one compiled training step.
        return OverridableSchedule(super().stepwise_learning_rate(boundaries, values))


BACKEND = TfKerasBackend()


def _counts(model) -> list:
    return [variable for metric in model.metrics for variable in metric.variables]


def _checkpoint(model) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(model=model, optimizer=model.optimizer)


class _StartWithin:
    """Tells Keras at which step of the first epoch a `fit` begins."""

    def __init__(self, step: int):
        self._step = step

    def maybe_load_initial_counters_from_ckpt(self, steps_per_epoch, initial_epoch, mode=None):
        return initial_epoch, self._step


@contextlib.contextmanager
def _resettable_random_state():
    # Keras' older random operations keep their state inside the compiled step, where a probe
    # could not put it back.
    backend = keras.backend.experimental
    enabled = backend.is_tf_random_generator_enabled()
    backend.enable_tf_random_generator()
    try:
        yield
    finally:
        if not enabled:
            backend.disable_tf_random_generator()


def _copy_layer(layer, change=lambda config: config):
    config = change(layer.get_config())
    # The kind of random state that wrap_for_pruning chose.
    config.pop("rng_type", None)
    if getattr(layer, "synchronized", False):
        # Keras' batch norm leaves this out of its config.
        config["synchronized"] = True
    try:
        return type(layer).from_config(config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"Layer {layer.name!r} of type {type(layer).__name__} cannot be copied by "
            f"get_config/from_config: {error}"
        ) from error


def _clone(model, make_layer, with_weights=True):
    # By identity: a layer may be shared by a model and another inside it.
    copies = {}

    def clone_layer(layer):
        if id(layer) not in copies:
            if isinstance(layer, keras.Model):
                copy = keras.models.clone_model(layer, clone_function=clone_layer)
            else:
                copy = make_layer(layer)
            copies[id(layer)] = layer, copy
        return copies[id(layer)][1]

    with model.distribute_strategy.scope():
        copy = keras.models.clone_model(model, clone_function=clone_layer)
        for old, new in copies.values():
            if with_weights and not isinstance(new, keras.Model):
                new.set_weights(old.get_weights())
    return copy
