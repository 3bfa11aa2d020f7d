"""The back end of Keras 3, which computes with TensorFlow or JAX."""

import contextlib
import functools
import io
import itertools
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tf_earlyticket.backends.base import Backend, kept_object
from tf_earlyticket.backends.copying import Copier, weights_were_written
from tf_earlyticket.backends.keras3.compat import BACKEND as COMPUTES_WITH
from tf_earlyticket.backends.keras3.compat import (
    Functional,
    SafeModeScope,
    get_input_signature,
    keras,
    reset_uids,
)
from tf_earlyticket.backends.keras3.devices import data_parallel
from tf_earlyticket.backends.keras3.masks import WarmUp
from tf_earlyticket.backends.keras3.pruned_model import Keras3PrunedModel
from tf_earlyticket.backends.layer_kinds import kind_of, last_inside
from tf_earlyticket.backends.layers import layers_inside, recurrent_states
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import read_npz, replacing
from tf_earlyticket.pruning.schedule import EarlyTicketSchedule
from tf_earlyticket.pruning.updates import resolve_update

logger = logging.getLogger(__name__)
# Of a SavedModel, of variables.
_COLLECTIONS = ("variables", "trainable_variables", "non_trainable_variables")
# A process has one backend, so another one does it.
_SAVE_BY_TENSORFLOW = f"""
import functools, sys, keras
from keras.src.export.export_utils import get_input_signature
model = keras.saving.load_model(sys.argv[1], compile=False)
inputs = getattr(model, "_inputs_struct", None)
one = isinstance(inputs, (list, tuple)) and len(inputs) == 1
call = functools.partial(type(model).__call__, model, training=False)
object.__setattr__(model, "__call__", call)
archive = keras.export.ExportArchive()
signature = [inputs[0]] if one else get_input_signature(model)
archive.track_and_add_endpoint("serve", model, signature)
for name in {_COLLECTIONS}:
    archive.add_variable_collection(name, [each.value for each in getattr(model, name)])
archive.write_out(sys.argv[2], verbose=False)
"""


class Keras3Backend(Backend):
    """Models whose weights a constraint masks; the masks are variables of the optimizer."""

    framework = "keras"
    keras = keras
    computes_with = COMPUTES_WITH
    command_prefix = f"KERAS_BACKEND={COMPUTES_WITH} "
    schedule_class = EarlyTicketSchedule
    # The epoch in progress is finished before a termination.
    starts_within_epochs = shortens_calls = False
    prunes_in_place = True
    instead = ", or wrap_for_pruning(copy=False)"
    state_index, state_others = ".npz", ".npz.tmp"

    def pruned(self, model):
        kept = kept_object(model)
        if kept is None:
            inside = [each.name for each in layers_inside(model) if kept_object(each) is not None]
            advice = "expected a model returned by wrap_for_pruning in this process"
            if inside:
                advice = (
                    f"only its part {inside[0]!r} is. Give wrap_for_pruning the model that is "
                    "trained, with copy=False if it cannot be copied"
                )
            raise InputError(f"The {type(model).__name__} model is not wrapped: {advice}.")
        return kept

    def _check_model(self, model):
        if kept_object(model) is not None:
            raise InputError(
                f"Model {model.name!r} is wrapped for pruning already: expected a plain model."
            )
        if not model.built or not model.weights:
            raise InputError(
                f"Model {model.name!r} is not built: give its first layer an input shape, or call "
                "it on a batch."
            )

    def _output_layers(self, model, layers):
        if getattr(model, "outputs", None):
            return super()._output_layers(model, layers)
        return _last_called(model, layers.values())

    def _wrapped(self, model, schedule, chosen, criterion, update, copy):
        pruned = Copier(self).copy(model) if copy else model
        weights = self.prunable_weights(pruned, chosen)
        updated = resolve_update(update)
        Keras3PrunedModel(pruned, weights, schedule, criterion, updated, in_place=not copy)
        return pruned

    def exportable(self, model):
        try:
            return super().exportable(model)
        except InputError as error:
            if not kept_object(model).in_place:
                raise
            logger.info("the model is exported as it trained, not in float32: %s", error)
            return model

    def trusted(self):
        return SafeModeScope(False)

    def is_network(self, layer):
        return isinstance(layer, (keras.Sequential, Functional))

    def copy_network(self, model, copied):
        # Not by clone_model: it compiles the copy, and forgets that an input is sparse.
        if isinstance(model, keras.Sequential):
            given, first = model.inputs[0], model._layers[0]
            stateful = any(getattr(layer, "stateful", False) for layer in model.layers)
            # Built by a call: for any number of examples, not only for as many.
            shape = given.shape if stateful else (None, *given.shape[1:])
            inputs = _input_like(given, shape, first)
            return keras.Sequential([inputs, *map(copied, model.layers)], name=model.name)
        inputs = keras.tree.map_structure(
            lambda given: _input_like(given, given.shape, given._keras_history.operation),
            model._inputs_struct,
        )
        outputs = model._run_through_graph(inputs, operation_fn=copied)
        return Functional(inputs, outputs, name=model.name)

    def _tracked(self, layer):
        return layer._layers

    def _forget(self, owner, layer):
        owner._tracker.untrack(layer)

    def ends_of(self, model):
        return model._inputs_struct, model._outputs_struct

    def transfer_variables(self, old, new):
        if not isinstance(old, keras.layers.Layer):
            return
        for one, other in zip(old.variables, new.variables, strict=True):
            # Through NumPy: JAX gives buffers away.
            other.assign(keras.ops.convert_to_numpy(one.value))
            if one.trainable != other.trainable:
                other.trainable = one.trainable
        for one, other in zip(recurrent_states(old), recurrent_states(new), strict=True):
            other.assign(keras.ops.convert_to_numpy(one.value))

    def _inputs_as_given(self, model):
        nested = getattr(model, "_inputs_struct", None)
        return getattr(model, "inputs", None) if nested is None else nested

    def save_model(self, model, directory: Path) -> None:
        # What JAX itself would write is compiled for the kind of device that trained, and cannot
        # be converted to TFLite.
        if self.computes_with != "tensorflow" and _save_by_tensorflow(model, directory):
            return
        # Keras prints the list of everything it captured.
        with contextlib.redirect_stdout(io.StringIO()), _in_use(model):
            inputs = self.inputs_of(model)
            signature = get_input_signature(model) if inputs is None else [inputs]
            # Not by model.export: Keras' own variables and TensorFlow's inside them would both be
            # written, each weight twice.
            archive = keras.export.ExportArchive()
            archive.track_and_add_endpoint("serve", model, signature)
            for name in _COLLECTIONS if self.computes_with == "tensorflow" else ():
                archive.add_variable_collection(name, [v.value for v in getattr(model, name)])
            archive.write_out(str(directory))

    def write_state(self, model, path):
        values = [keras.ops.convert_to_numpy(variable.value) for variable in _state(model)]
        # In float32, which NumPy can write: bfloat16 values all fit into it.
        values = [v.astype(np.float32) if v.dtype.kind == "V" else v for v in values]
        target = path.with_name(path.name + self.state_index)
        with replacing(target) as temporary, open(temporary, "wb") as file:
            np.savez(file, **dict(zip(_state_names(model), values, strict=True)))

    def read_state(self, model, path):
        found = read_npz(path.with_name(path.name + self.state_index))
        variables, names = _state(model), _state_names(model)
        # Earlier versions told variables apart by their places alone.
        if all(name.startswith("arr_") for name in found):
            names = list(found)
        there = [(name, value.shape) for name, value in found.items()]
        here = [(n, tuple(v.shape)) for n, v in itertools.zip_longest(names, variables)]
        for one, other in itertools.zip_longest(there, here):
            if one != other:
                raise ValueError(
                    f"it is not of this model and optimizer: it holds {one}, expected {other}"
                )
        for variable, value in zip(variables, found.values(), strict=True):
            variable.assign(value)
        weights_were_written(model)

    def devices(self, strategy, tpu=None):
        if self.computes_with == "jax":
            return data_parallel(strategy)
        return super().devices(strategy, tpu)

    @contextlib.contextmanager
    def dtype_policy(self, name):
        former = keras.config.dtype_policy()
        keras.config.set_dtype_policy(name)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(former)

    def reset_names(self):
        reset_uids()

    def _loss_scaled(self, optimizer):
        return keras.optimizers.LossScaleOptimizer(optimizer)

    def stop_gradient(self, values):
        return keras.ops.stop_gradient(values)

    def cast(self, values, dtype):
        return keras.ops.cast(values, dtype)

    def warmed_up(self, learning_rate, steps):
        return WarmUp(learning_rate, steps)


@contextlib.contextmanager
def _in_use(model):
    """Makes calls those of use, not of training: layers of augmentation take None for True."""
    call = functools.partial(type(model).__call__, model, training=False)
    # Past Keras' tracking. Its export looks the method up in the model itself.
    object.__setattr__(model, "__call__", call)
    try:
        yield
    finally:
        vars(model).pop("__call__")


def _input_like(given, shape, layer):
    """Returns a symbolic input like another."""
    return keras.Input(
        batch_shape=shape,
        dtype=given.dtype,
        sparse=given.sparse,
        name=getattr(layer, "name", None),
        optional=getattr(layer, "optional", False),
    )


def _state(model) -> list:
    """Returns the variables of model, optimizer and masks, in the order of the file."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    masks = kept_object(model).state.variables()
    found = [*model.variables, *model.optimizer.variables]
    ours = {id(variable) for variable in masks}
    return [variable for variable in found if id(variable) not in ours] + masks


def _state_names(model) -> list[str]:
    """Returns the names of the variables in a file of the state: their places and paths.

    Without numbers, which depend on how many layers and optimizers the process made before.
    """
    paths = [re.sub(r"_?\d+", "", variable.path) for variable in _state(model)]
    return [f"{place} {path}" for place, path in enumerate(paths)]


def _last_called(model, layers) -> set[int]:
    """Returns the ids of the layers with a kernel that a subclassed model calls last.

    Where its `call` cannot be followed, that is the last one in model order.
    """
    layers = list(layers)
    order = {id(layer): place for place, layer in enumerate(layers) if kind_of(layer).default}
    # Those inside one may not be called themselves: fast code of recurrent layers reads cells.
    last = {id(layer): last_inside(layer, order) for layer in layers}
    holders = [layer for layer in layers if last[id(layer)]]
    called = holders[-1:]
    try:
        with _watched(holders, called):
            shapes = model.get_build_config()["input_shape"]
            keras.backend.compute_output_spec(
                model, keras.tree.map_shape_structure(keras.KerasTensor, shapes)
            )
    except Exception as error:
        logger.debug("the calls of %s cannot be followed: %s", model.name, error)
    return last[id(called[-1])] if called else set()


@contextlib.contextmanager
def _watched(layers, called: list):
    """Notes each call of one of the layers."""

    def watch(layer):
        call = layer.call

        def watched(*arguments, **options):
            called.append(layer)
            return call(*arguments, **options)

        object.__setattr__(layer, "call", watched)

    try:
        for layer in layers:
            watch(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("call", None)


def _save_by_tensorflow(model, directory: Path) -> bool:
    """Writes a SavedModel of TensorFlow's own operations, which run on every device.

    Returns:
        Whether that was possible: layers of the user's own have to be registered with Keras in a
        module that the other process imports too, which is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        try:
            model.save(file, include_optimizer=False)
            done = subprocess.run(
                [sys.executable, "-c", _SAVE_BY_TENSORFLOW, str(file), str(directory)],
                env={**os.environ, "KERAS_BACKEND": "tensorflow"},
                capture_output=True,
                text=True,
            )
            reason = (
                done.returncode and (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            )
        except (NotImplementedError, TypeError, ValueError) as error:
            # A layer without a config.
            reason = " ".join(str(error).split())
    if reason:
        logger.warning(
            "TensorFlow cannot rebuild the model (%.200s): the SavedModel is written by its own "
            "backend, for this kind of device, and cannot be converted to TFLite.",
            reason,
        )
    return not reason


BACKEND = Keras3Backend()
