"""A network of the user's own, from a file that Keras saved: the start of fine-tuning."""

import importlib
import json
import zipfile
from pathlib import Path

from tf_earlyticket import checks
from tf_earlyticket.errors import InputError
from tf_earlyticket.models.editing import with_weight_decay
from tf_earlyticket.models.resnet import Network

ENDINGS = (".keras", ".h5")


def check_file(path: str | Path, framework: str) -> None:
    """Checks what can be told of a file without importing Keras.

    Raises:
        InputError: If it is not there, is no file of Keras, or of the other Keras.
    """
    path = Path(path).expanduser()
    if not path.is_file() or path.suffix not in ENDINGS:
        raise checks.refuse("file", str(path), f"a file {' or '.join(ENDINGS)} of a saved network")
    if path.suffix != ".keras":
        return
    try:
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise checks.refuse("file", str(path), f"a whole file of Keras ({error})") from None
    made_by = "keras" if str(version).startswith("3") else "tf_keras"
    if made_by != framework:
        expected = f"{made_by!r}: {path} was saved by Keras {version}"
        raise checks.refuse("keras", framework, expected)


def load_network(
    path: str | Path,
    input_shape: tuple[int, int, int],
    num_classes: int,
    weight_decay: float,
    framework: str,
) -> Network:
    """Returns the network of a file, with its weights, that gives logits of a number of classes.

    A classifier (a dense layer, or the convolution of one place that MobileNets have) for another
    number of classes is replaced by a new one; a softmax at the end is left out.

    Args:
        path: A `.keras` or `.h5` file.
        input_shape: (height, width, channels) of what it is to take.
        num_classes: Number of logits.
        weight_decay: In the paper's form, see `resnet.resnet20`, of kernels without a regularizer.
        framework: "tf_keras" or "keras" (Keras 3).

    Raises:
        InputError: If the file cannot be read, or the network does not fit the data.

    Example:
        >>> model = load_network("mine.keras", (32, 32, 3), 10, 0.0, "tf_keras")
    """
    check_file(path, framework)
    path, keras = Path(path).expanduser(), importlib.import_module(framework)
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:
        # Whatever the file and its layers raise.
        reason = " ".join(str(error).split())
        raise InputError(
            f"file={str(path)!r}: the network cannot be loaded ({type(error).__name__}: "
            f"{reason:.300}); classes of your own have to be registered with Keras in a file given "
            "by --extensions."
        ) from error
    with checks.prefixed(f"file={str(path)!r}: "):
        _check_ends(model, input_shape)
        model = _with_logits(model, num_classes, keras)
        return with_weight_decay(model, weight_decay)


def _check_ends(model: Network, input_shape: tuple[int, int, int]) -> None:
    inputs, outputs = (getattr(model, ends, None) or [] for ends in ("inputs", "outputs"))
    if len(inputs) != 1 or len(outputs) != 1:
        found = f"{len(inputs)} and {len(outputs)}"
        raise checks.refuse("inputs and outputs", found, "a functional network with one of each")
    taken = tuple(inputs[0].shape[1:])
    if len(taken) != 3 or any(a not in (None, b) for a, b in zip(taken, input_shape, strict=True)):
        size = f"; try config.data.image_size={taken[0]}" if len(taken) == 3 and taken[0] else ""
        expected = f"{input_shape}, the shape of the data's pictures{size}"
        raise checks.refuse("its input", taken, expected)
    if len(outputs[0].shape) != 2:
        raise checks.refuse("its output", tuple(outputs[0].shape), "[batch, classes]")


def _with_logits(model: Network, num_classes: int, keras) -> Network:
    """Returns the network without a softmax at its end, and with so many outputs."""
    output = model.outputs[0]
    layer, classes = _maker(output), int(output.shape[-1])
    # One that changes the type of the logits alone stays.
    end = layer if _activation(layer) == "linear" and not layer.weights else None
    if isinstance(layer, (keras.layers.Softmax, keras.layers.Activation)):
        if _activation(layer) not in ("linear", "softmax"):
            raise checks.refuse("its last activation", _activation(layer), "softmax or none")
        output = layer.input
        layer = _maker(output)
    flat = None
    if isinstance(layer, (keras.layers.Flatten, keras.layers.Reshape)):
        before = _maker(layer.input)
        if tuple(layer.input.shape[1:]) == (1, 1, classes) and _is_dense_there(before, keras):
            layer, flat = before, layer
    dense = flat is not None or isinstance(layer, keras.layers.Dense)
    if dense and _activation(layer) not in ("linear", "softmax"):
        raise checks.refuse("its last activation", _activation(layer), "softmax or none")
    if not dense and _activation(_innermost(layer)) == "softmax":
        expected = "one that gives logits, or a softmax layer of its own behind them"
        raise checks.refuse("its last layer", layer.name, expected)
    if classes == num_classes and not (dense and _activation(layer) == "softmax"):
        whole = output is model.outputs[0] or end is not None
        return model if whole else keras.Model(model.inputs[0], output, name=model.name)
    if not dense:
        expected = f"a Dense layer, to give {num_classes} classes instead of {classes}"
        raise checks.refuse("its last layer", type(layer).__name__, expected)
    size = "units" if flat is None else "filters"
    config = {**layer.get_config(), size: num_classes, "activation": "linear"}
    classifier = type(layer).from_config(config)
    output = classifier(layer.input)
    if flat is not None:
        output = keras.layers.Flatten(name=flat.name)(output)
    if end is not None:
        output = end(output)
    network = keras.Model(model.inputs[0], output, name=model.name)
    if classes == num_classes:
        classifier.set_weights(layer.get_weights())
    return network


def _is_dense_there(layer, keras) -> bool:
    """Tells whether a layer, of whose output there is one place, is a dense one in all but name.

    So MobileNets end.
    """
    of_one_place = isinstance(layer, keras.layers.Conv2D) and set(layer.kernel_size) == {1}
    return of_one_place and layer.groups == 1


def _maker(output):
    history = output._keras_history
    return getattr(history, "operation", None) or history.layer


def _innermost(layer):
    """Returns what makes the output of a layer that may be a model."""
    while getattr(layer, "outputs", None):
        layer = _maker(layer.outputs[0])
    return layer


def _activation(layer) -> str:
    """Returns the name of a layer's, or an operation's, activation."""
    # tf_keras has one class for all operations.
    default = (getattr(layer, "symbol", None) or type(layer).__name__).rpartition(".")[2].lower()
    return getattr(getattr(layer, "activation", None), "__name__", default)
