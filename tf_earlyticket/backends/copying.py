"""Copies of models, the same for every Keras: of each layer its class, and all that it knows.

Keras' own `clone_model` makes layers anew from their configs. What it leaves out is added here:
vocabularies and statistics, the state of random generators, `trainable` of layers inside layers,
classes of models, and layers that have no config but also no weights.
"""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from itertools import takewhile
from types import FunctionType
from typing import Any

import numpy as np

from tf_earlyticket.backends.layers import (
    called_layers,
    layers_inside,
    own_variables,
    plain_layer,
    variables_of,
)
from tf_earlyticket.errors import InputError

_CANNOT = (TypeError, ValueError, NotImplementedError, AttributeError, KeyError)
_NOT_OWN = {"keras", "tf_keras", "tensorflow", "tf_earlyticket", "numpy", "builtins", "threading"}
# Of a model's class: what its copy has by itself.
_KEPT = {"get_config", "from_config", "build", "inputs", "outputs", "name", "trainable"}


def in_float32(config):
    """Returns the config of a layer or model without 16-bit policies, also of layers inside."""
    if isinstance(config, list):
        return [in_float32(each) for each in config]
    if not isinstance(config, dict):
        return config
    return {
        key: "float32" if key == "dtype" and "float16" in str(value) else in_float32(value)
        for key, value in config.items()
    }


def scope(model):
    """Returns the scope in which variables of a model are made."""
    strategy = getattr(model, "distribute_strategy", None)
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def compute_statistics(layers) -> bool:
    """Lets layers compute again what they keep beside their weights, after these were written.

    Such as the mean and deviation of `Normalization`.

    Returns:
        Whether there were any: compiled functions hold the former ones.
    """
    found = [each for each in layers if hasattr(each, "finalize_state") and variables_of(each)]
    for layer in found:
        layer.finalize_state()
    return bool(found)


def weights_were_written(model) -> None:
    """Brings a model up to date with its weights, after these were written."""
    if not compute_statistics(layers_inside(model)):
        return
    for name in ("train", "test", "predict"):
        # Made anew at once: a `fit` may be under way.
        if getattr(model, f"{name}_function", None) is not None:
            getattr(model, f"make_{name}_function")(force=True)


class Copier:
    """Makes one copy of a model.

    Args:
        backend: Of the model's Keras.
        float32: Whether the copy computes in float32, whatever the model does.
        wrap: What to put a copied layer into: a function of the layer and its copy.
        changes: What changes the config of a layer, by the layer's id: it gets new weights.
    """

    def __init__(
        self,
        backend,
        *,
        float32=False,
        wrap: Callable[[Any, Any], Any] | None = None,
        changes: Mapping[int, Callable[[dict], dict]] | None = None,
    ):
        self._backend, self._float32, self._wrap = backend, float32, wrap
        self._changes = changes or {}
        # By identity: a layer may be shared by a model and another inside it.
        self._copies: dict[int, Any] = {}
        self._unwrapped: dict[int, Any] = {}
        self._called: set[int] = set()
        self._variables: dict[int, Any] = {}
        self._networks: list[tuple[Any, Any]] = []
        self._layers: list[tuple[Any, Any]] = []

    def copy(self, model):
        """Returns the copy, not compiled.

        Raises:
            InputError: If the model or a layer of it cannot be copied.
        """
        self._called = set(map(id, called_layers(model, self._backend.is_network)))
        # What a model's own constructor makes has the policy of that time.
        policy = self._backend.dtype_policy if self._float32 else contextlib.nullcontext
        with scope(model), policy("float32"):
            copy = self._copied(model)
            self._transfer()
        return copy

    def _copied(self, layer):
        if id(layer) not in self._copies:
            plain = plain_layer(layer)
            copy = self._plain(plain)
            wraps = self._wrap and not self._backend.is_network(plain)
            self._copies[id(layer)] = self._wrap(layer, copy) if wraps else copy
        return self._copies[id(layer)]

    def _plain(self, layer):
        """Returns the copy of a layer or network, without what it is put into."""
        if id(layer) not in self._unwrapped:
            network = self._backend.is_network(layer)
            copy = self._network(layer) if network else self._single(layer)
            self._unwrapped[id(layer)] = copy
        return self._unwrapped[id(layer)]

    def _single(self, layer):
        """Returns the copy of a layer, or of a model that is no network of layers."""
        try:
            copy = self._from_config(layer)
        except _CANNOT as error:
            if not _is_bare(layer):
                raise self._refusal(layer, error) from error
            copy = _bare_copy(layer, self._float32)
        self._layers.append((layer, copy))
        return copy

    def _from_config(self, layer):
        config = layer.get_config()
        if self._float32:
            config = in_float32(config)
        if id(layer) in self._changes:
            config = self._changes[id(layer)](config)
        # The kind of random state is chosen when wrapping.
        config.pop("rng_type", None)
        if getattr(layer, "synchronized", False):
            # The batch norm of tf_keras leaves this out of its config.
            config["synchronized"] = True
        # What a config makes of a function forgets its globals.
        config |= {name: value for name, value in _functions(layer).items() if name in config}
        if getattr(layer, "preprocessor", None) is not None and "preprocessor" in config:
            # Of a task of KerasHub: it has no weights, and its config no vocabulary.
            config["preprocessor"] = layer.preprocessor
        with self._backend.trusted(), self._backend.keras.utils.custom_object_scope(_own(layer)):
            copy = type(layer).from_config(config)
        # Before it is called: the shape of its outputs may depend on vocabularies and bins.
        for old, new in zip(layers_inside(layer), layers_inside(copy), strict=False):
            if type(old) is type(new):
                self._keep_settings(old, new)
                vars(new).update(_functions(old))
                _copy_vocabulary(old, new)
                if hasattr(old, "bin_boundaries"):
                    # The config of tf_keras leaves out those that were adapted.
                    new.bin_boundaries = old.bin_boundaries
        if self._backend.is_network(layer):
            # Whose constructor makes the layers that it calls.
            for old, new in zip(layers_inside(layer), layers_inside(copy), strict=False):
                self._unwrapped.setdefault(id(old), new)
        self._share(layer, copy)
        if isinstance(layer, self._backend.keras.Model) and not copy.built:
            copy.build_from_config(layer.get_build_config())
        return copy

    def _keep_settings(self, old, new) -> None:
        """Keeps a layer's name and types, which configs of layers with **kwargs often leave out."""
        if old.name != new.name:
            setattr(new, "_name" if hasattr(new, "_name") else "name", old.name)
        policy = getattr(old, "dtype_policy", None)
        if not self._float32 and getattr(policy, "name", None) != _policy_name(new):
            _set_policy(new, policy)

    def _share(self, old, new) -> None:
        """Gives a copy the copies of layers that its layer has in common with others."""
        self._unwrapped[id(old)] = new
        for name, value in list(vars(old).items()):
            if id(value) in self._called or id(value) in self._unwrapped:
                if value is not old:
                    self._backend.give_layer(new, name, self._plain(value))
            elif hasattr(value, "_flatten_layers") and type(vars(new).get(name)) is type(value):
                self._share(value, vars(new)[name])

    def _check_shared(self, old, new) -> None:
        """Checks that weights which layers have in common are one in the copies, and no others'."""
        for one, other in zip(variables_of(old), variables_of(new), strict=False):
            if one is other or self._variables.setdefault(id(one), other) is not other:
                instead = self._backend.instead if self._backend.prunes_in_place else ""
                raise InputError(
                    f"Layer {old.name!r} of type {type(old).__name__} cannot be copied: it has "
                    f"weights of another layer. Expected that layer as its attribute{instead}."
                )

    def _refusal(self, layer, error: Exception | str) -> InputError:
        kind = "Model" if isinstance(layer, self._backend.keras.Model) else "Layer"
        reason = " ".join(str(error).split()).rstrip(".")
        return InputError(
            f"{kind} {layer.name!r} of type {type(layer).__name__} cannot be copied: {reason}. "
            f"Expected get_config() to return what its constructor takes{self._backend.instead}."
        )

    def _network(self, model):
        """Returns the copy of a functional or sequential model, as its own class where it can."""
        keras, own = self._backend.keras, _own_classes(model)
        constructors = [kind.__init__ for kind in own if "__init__" in vars(kind)]
        lost = {name for kind in own for name in vars(kind) if hasattr(keras.Model, name)} - _KEPT
        lost = sorted(name for name in lost if name == "__call__" or not name.startswith("__"))
        takes_network, options = _arguments(constructors)
        if lost and constructors and not takes_network:
            # It makes its layers itself.
            if not self._backend.prunes_in_place:
                raise self._refusal(
                    model, f"a copy made of its layers would lose its own {', '.join(lost)}"
                )
            return self._single(model)
        try:
            copy = self._backend.copy_network(model, self._copied)
            if not constructors:
                copy.__class__ = type(model)
            elif takes_network:
                copy = self._constructed(model, copy, options)
        except InputError:
            raise
        except _CANNOT as error:
            raise self._refusal(model, error) from error
        self._networks.append((model, copy))
        return copy

    def _constructed(self, model, copy, options: set[str]):
        config = model.get_config() if options else {}
        untold = sorted(options - set(config))
        if untold:
            raise ValueError(f"its get_config() does not give {', '.join(untold)}")
        given = {name: config[name] for name in options}
        return type(model)(*self._backend.ends_of(copy), name=model.name, **given)

    def _transfer(self) -> None:
        # A model before what is inside, which follows it unless it says otherwise.
        for old, new in reversed(self._networks):
            new.trainable = old.trainable
        for old, new in self._layers:
            olds, news = layers_inside(old), layers_inside(new)
            if [type(layer) for layer in olds] != [type(layer) for layer in news]:
                raise self._refusal(old, "its copy has other layers inside")
            self._check_shared(old, new)
            for one, other in zip(olds, news, strict=True):
                if getattr(one, "trainable", None) != getattr(other, "trainable", None):
                    other.trainable = one.trainable
            if self._changes and _shapes(old) != _shapes(new):
                # New weights: of a changed layer, or of one that takes what a changed one gives.
                continue
            try:
                self._backend.transfer_variables(old, new)
            except ValueError as error:
                raise self._refusal(old, error) from error
            compute_statistics(news)
        for old, new in self._networks:
            for one, other in zip(own_variables(old), own_variables(new), strict=True):
                other.assign(one.numpy())


def _shapes(layer) -> list[tuple]:
    return [tuple(variable.shape) for variable in variables_of(layer)]


def _own_classes(model) -> list[type]:
    """Returns the classes of a model before those of Keras."""
    return list(
        takewhile(
            lambda kind: _root(kind) not in ("keras", "tf_keras"),
            type(model).__mro__,
        )
    )


def _arguments(constructors) -> tuple[bool, set[str]]:
    """Returns whether constructors take a network as its inputs and outputs, and what else."""
    found = [list(inspect.signature(each).parameters.values())[1:] for each in constructors]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [{each.name for each in each_found if each.kind not in kinds} for each_found in found]
    if not found:
        return True, set()
    passes_all = any(each.kind == kinds[0] for each in found[0])
    return passes_all or {"inputs", "outputs"} <= named[0], set().union(*named) - _KEPT


def _own(layer) -> dict[str, Any]:
    """Returns the user's classes and functions that a layer is made of, by name."""
    values = [v for each in layers_inside(layer) for v in (each, *vars(each).values())]
    kinds = [each if isinstance(each, FunctionType) else type(each) for each in values]
    return {kind.__name__: kind for kind in kinds if _root(kind) not in _NOT_OWN}


def _root(kind) -> str:
    return (kind.__module__ or "").split(".")[0]


def _functions(layer) -> dict[str, FunctionType]:
    """Returns the user's functions that a layer holds, not those that stand for its methods."""
    return {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, FunctionType)
        and _root(value) not in _NOT_OWN
        and not hasattr(type(layer), name)
    }


def _copy_vocabulary(old, new) -> None:
    """Gives a lookup layer the vocabulary of another, with the frequencies of its words."""
    if not hasattr(old, "lookup_table") or not old.vocabulary_size():
        return
    words = old.get_vocabulary()
    if len(words) > len(new.get_vocabulary()) or words != new.get_vocabulary():
        weights = getattr(old, "idf_weights_const", None)
        # Padded beyond its words.
        weights = None if weights is None else np.asarray(weights)[: len(words)]
        new.set_vocabulary(words, weights)


def _is_bare(layer) -> bool:
    """Tells whether a layer has no weights, seeds or layers: only what its constructor made."""
    inside = layers_inside(layer)
    return len(inside) == 1 and not getattr(layer, "variables", None)


def _bare_copy(layer, float32: bool):
    copy = object.__new__(type(layer))
    state = dict(getattr(layer, "__getstate__", lambda: vars(layer))())
    for name, value in state.items():
        # Calls and losses are of each layer by itself, whatever else they share.
        if "bound_nodes" in name:
            state[name] = []
        elif type(value) in (list, dict, set):
            state[name] = type(value)(value)
    getattr(copy, "__setstate__", vars(copy).update)(state)
    if float32 and "float16" in (_policy_name(layer) or ""):
        _set_policy(copy, "float32")
    return copy


def _policy_name(layer) -> str | None:
    return getattr(getattr(layer, "dtype_policy", None), "name", None)


def _set_policy(layer, policy) -> None:
    if hasattr(layer, "_set_dtype_policy"):
        layer._set_dtype_policy(policy)
    else:
        layer.dtype_policy = policy
