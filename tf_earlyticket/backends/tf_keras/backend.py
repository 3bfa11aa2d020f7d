"""The back end of tf_keras (Keras 2): models in TFMOT's wrappers and out again, and their state."""

import contextlib
import functools
import io
import zipfile

import h5py
import tensorflow as tf

from tf_earlyticket.backends.base import Backend, kept_object
from tf_earlyticket.backends.copying import Copier, weights_were_written
from tf_earlyticket.backends.layers import (
    layers_inside,
    named_layers,
    named_weights,
    recurrent_states,
    variables_of,
)
from tf_earlyticket.backends.tf_keras.compat import PruneLowMagnitude, is_network, keras, tfmot
from tf_earlyticket.backends.tf_keras.optimizers import OverridableSchedule, WarmUp
from tf_earlyticket.backends.tf_keras.pruned_model import (
    TfKerasPrunedModel,
    generators,
)
from tf_earlyticket.backends.tf_keras.wrapper import (
    EarlyTicketPolynomialDecay,
    MaskedPruneLowMagnitude,
)
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import sync, write_text


class TfKerasBackend(Backend):
    """Models whose prunable layers are in `MaskedPruneLowMagnitude` wrappers."""

    framework = "tf_keras"
    keras = keras
    schedule_class = EarlyTicketPolynomialDecay
    schedule_kind = tfmot.sparsity.keras.PruningSchedule
    starts_within_epochs = shortens_calls = True
    prunes_in_place = False
    instead = ", and of a model one that takes (inputs, outputs, name)"
    state_index, state_others = ".index", ".data-*"

    def pruned(self, model):
        kept = kept_object(model)
        if kept is None:
            kept = TfKerasPrunedModel(model)
            self._let_load_plain_weights(model, kept)
        return kept

    def _let_load_plain_weights(self, model, pruned) -> None:
        """Lets a wrapped model read files of plain ones too, which leave its masks as they are.

        By name, or from a checkpoint, Keras would pass over all that is in a wrapper.
        """
        load_weights = model.load_weights

        def load(filepath, *arguments, **options):
            if _holds_masks(str(filepath)):
                return load_weights(filepath, *arguments, **options)
            plain = self.strip(model)
            status = plain.load_weights(filepath, *arguments, **options)
            values = keras.backend.batch_get_value(list(named_weights(plain).values()))
            # By place: Keras numbers weights without a name anew.
            pruned.set_all_weights(dict(zip(named_weights(model), values, strict=True)))
            return status

        # Past Keras' tracking.
        object.__setattr__(model, "load_weights", load)

    def _check_model(self, model):
        # Not TensorFlow's submodules: it cannot walk masks of recurrent dropout.
        parts = layers_inside(model)
        for part in (each for each in parts if isinstance(each, keras.Model)):
            if not (isinstance(part, keras.Sequential) or part._is_graph_network):
                raise InputError(
                    f"Model {part.name!r} is subclassed ({type(part).__name__}): expected a "
                    "functional or sequential model."
                )
            if not part.built or not part.inputs:
                raise InputError(
                    f"Model {part.name!r} is not built: give its first layer an input shape."
                )
        if any(isinstance(layer, PruneLowMagnitude) for layer in parts):
            raise InputError(
                f"Model {model.name!r} is wrapped for pruning already: expected a plain model."
            )

    def _wrapped(self, model, schedule, chosen, criterion, update, copy):
        layers = named_layers(model)
        ids = {id(layers[name]) for name in chosen}

        def wrap(layer, copy):
            parts = layers_inside(layer)
            inside = [place for place, each in enumerate(parts) if id(each) in ids]
            if not inside:
                return copy
            # Of a layer that others hold as well, one wrapper has the mask.
            ids.difference_update(map(id, parts))
            pairs = list(zip(layers_inside(layer), layers_inside(copy), strict=False))
            for old, new in pairs if inside != [0] else ():
                # Attention, for one, makes its layers' weights at its first call only.
                if variables_of(old) and not new.built and new is not copy:
                    new.build_from_config(old.get_build_config())
            return MaskedPruneLowMagnitude(
                copy, schedule, inside=inside, update=update, **criterion.names
            )

        with _resettable_random_state():
            wrapped = Copier(self, wrap=wrap).copy(model)
        self.pruned(wrapped)
        return wrapped

    def is_network(self, layer):
        return is_network(layer)

    def copy_network(self, model, copied):
        if isinstance(model, keras.Sequential) and not model._has_explicit_input_shape:
            # Built by a call: for any number of examples, not only for as many.
            given = model.inputs[0]
            inputs = keras.Input(given.shape[1:], dtype=given.dtype)
            return keras.Sequential([inputs, *map(copied, model.layers)], name=model.name)
        copy = keras.models.clone_model(model, clone_function=copied)
        # By which losses and metrics are given; a wrapper has another name.
        copy.output_names = list(model.output_names)
        return copy

    def _tracked(self, layer):
        return layer._self_tracked_trackables

    def ends_of(self, model):
        return model._nested_inputs, model._nested_outputs

    def transfer_variables(self, old, new):
        olds, news = (variables_of(each) + recurrent_states(each) for each in (old, new))
        pairs = list(zip(olds, news, strict=True))
        values = keras.backend.batch_get_value([variable for variable, _ in pairs])
        keras.backend.batch_set_value(
            [(variable, value) for (_, variable), value in zip(pairs, values, strict=True)]
        )
        states = [[each.state for each in generators(layer)] for layer in (old, new)]
        # None where random numbers follow from Keras' global seed.
        for one, other in zip(*states, strict=False):
            other.assign(one)

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
        # Layers of augmentation take None for True.
        archive.add_endpoint("serve", functools.partial(model.__call__, training=False), [specs])
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
        weights_were_written(model)

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

    def reset_names(self):
        keras.backend.reset_uids()

    def _loss_scaled(self, optimizer):
        return keras.mixed_precision.LossScaleOptimizer(optimizer)

    def stop_gradient(self, values):
        return keras.backend.stop_gradient(values)

    def cast(self, values, dtype):
        return keras.backend.cast(values, dtype)

    def warmed_up(self, learning_rate, steps):
        return WarmUp(learning_rate, steps)

    def learning_rate_schedule(self, name, warmup_steps=0, **arguments):
        # In place from the start, all phases of a run share one compiled training step.
        return OverridableSchedule(super().learning_rate_schedule(name, warmup_steps, **arguments))


BACKEND = TfKerasBackend()


def _holds_masks(file: str) -> bool:
    """Tells whether a file of weights is of a wrapped model, also if it cannot be read."""
    try:
        content = file
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        if content is not file or h5py.is_hdf5(file):
            names: list[str] = []
            with h5py.File(content) as opened:
                opened.visit(names.append)
        else:
            names = [name for name, _ in tf.train.list_variables(file)]
    except (OSError, KeyError, ValueError, tf.errors.OpError):
        # Keras says why.
        return True
    return any("prune_low_magnitude" in name or "pruning_step" in name for name in names)


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
