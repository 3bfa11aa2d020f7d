"""Which rule keeps a TFLite file from sparse inference by XNNPACK on ARM and in browsers.

XNNPACK turns a part of a float network into its sparse layout where all of these hold:

1.  The part begins with a 3x3 convolution of stride 2 over 3 channels, padded by 1 on each side.
2.  Then come only convolutions of 1x1 with stride 1, depthwise ones of 3x3 or 5x5 with as much
    padding on each side, additions, multiplications and functions of single values.
3.  It ends with the mean over the picture.
4.  More than two thirds of the weights of its 1x1 convolutions are zero.

Else zeros are multiplied like other numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tf_earlyticket.errors import InputError

_SINGLE_VALUES = (
    *("ABS", "CEIL", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "NEG"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "ROUND", "RSQRT", "SQRT", "SQUARE", "TANH"),
)
_SHARE_OF_ZEROS = 2 / 3


@dataclass(frozen=True)
class Operation:
    """An operation of a network, as far as the rules ask.

    Attributes:
        kind: As TFLite names it, as "CONV_2D".
        name: Of what it makes.
        inputs: Numbers of the operations whose results it takes; -1 for the network's input.
        kernel: Height and width of a convolution's kernel.
        stride: Of a convolution; the larger of both.
        channels: What a convolution reads.
        padding: Zeros at top, bottom, left and right; None where TFLite decides at run time.
        zeros: Weights of a convolution that are zero.
        weights: All of them.
        whole_picture: Whether it is a mean over height and width.
    """

    kind: str
    name: str
    inputs: tuple[int, ...] = ()
    kernel: tuple[int, int] = (0, 0)
    stride: int = 1
    channels: int = 0
    padding: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    zeros: int = 0
    weights: int = 0
    whole_picture: bool = False


def broken_rules(operations: Sequence[Operation]) -> list[str]:
    """Returns in words which rules keep a network from sparse inference; none if it is sparse.

    Args:
        operations: In the order in which they are computed.

    Example:
        >>> broken_rules([Operation("FULLY_CONNECTED", "logits", (-1,))])
        ['rule 1: there is no convolution']
    """
    begins = [number for number, found in enumerate(operations) if _begins(found)]
    if not begins:
        first = next((found for found in operations if found.kind == "CONV_2D"), None)
        if first is None:
            return ["rule 1: there is no convolution"]
        return [
            f"rule 1: the first convolution, {first.name}, is {_in_words(first)}: expected 3x3, "
            "stride 2, 3 channels, padding 1 on each side (in Keras ZeroPadding2D(1), then "
            "padding='valid')"
        ]
    inside, broken, ended = set(begins), [], False
    for number, found in enumerate(operations):
        if number in inside or not inside & set(found.inputs):
            continue
        if found.kind == "MEAN" and found.whole_picture:
            ended = True
        elif _may_follow(found) and inside.issuperset(found.inputs):
            inside.add(number)
        else:
            broken.append(f"rule 2: {found.name} is {_in_words(found)}")
    if not broken and not ended:
        broken.append("rule 3: no mean over the picture follows")
    ones = [operations[n] for n in sorted(inside) if operations[n].kernel == (1, 1)]
    zeros, weights = sum(one.zeros for one in ones), sum(one.weights for one in ones)
    if zeros <= _SHARE_OF_ZEROS * weights:
        broken.append(
            f"rule 4: {zeros:,} of {weights:,} weights of 1x1 convolutions are zero: expected more "
            "than two thirds"
        )
    return broken


def _begins(found: Operation) -> bool:
    wanted = ((3, 3), 2, 3, (1, 1, 1, 1))
    return (
        found.kind == "CONV_2D"
        and (found.kernel, found.stride, found.channels, found.padding) == wanted
    )


def _may_follow(found: Operation) -> bool:
    if found.kind == "CONV_2D":
        return (found.kernel, found.stride, found.padding) == ((1, 1), 1, (0, 0, 0, 0))
    if found.kind == "DEPTHWISE_CONV_2D":
        return found.kernel in ((3, 3), (5, 5)) and found.padding == (found.kernel[0] // 2,) * 4
    return found.kind in ("ADD", "MUL", *_SINGLE_VALUES)


def _in_words(found: Operation) -> str:
    if found.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return found.kind
    padding = "chosen by its size" if found.padding is None else " ".join(map(str, found.padding))
    height, width = found.kernel
    return (
        f"{found.kind} {height}x{width}, stride {found.stride}, {found.channels} channels, padding "
        f"{padding}"
    )


def read_operations(path: Path) -> list[Operation]:
    """Returns the operations of a TFLite file of float weights.

    Raises:
        InputError: If it is no TFLite file, or its convolutions are not of float numbers.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    data = path.read_bytes() if path.is_file() else b""
    if data[4:8] != b"TFL3":
        raise InputError(f"PATH={str(path)!r}: expected a TFLite file of float weights.")
    return list(_operations(flatbuffer_utils.read_model_from_bytearray(bytearray(data)), path))


def _operations(model, path: Path) -> Iterator[Operation]:
    from tensorflow.lite.python import schema_py_generated as schema

    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items()}
    types = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}
    tensors, made = model.subgraphs[0].tensors, {}
    # By the tensor that is made: decoded weights, and zeros around a picture, which XNNPACK takes
    # into the convolution that reads them.
    decoded, padded = {}, {}

    def stored(tensor: int, kind: type) -> np.ndarray | None:
        data = model.buffers[tensors[tensor].buffer].data
        return None if data is None or not len(data) else np.frombuffer(bytes(data), kind)

    def convolution(operator, source: int, pad: tuple[int, ...]) -> dict:
        number = operator.inputs[1]
        weights = tensors[decoded.get(number, number)]
        if weights.type not in types:
            raise InputError(
                f"PATH={str(path)!r} has weights of integers, which XNNPACK never runs sparse: "
                "expected a file of float weights."
            )
        kept = np.count_nonzero(stored(decoded.get(number, number), types[weights.type]))
        height, width = (int(n) for n in tensors[number].shape[1:3])
        options, padding = operator.builtinOptions, pad
        stride = max(options.strideH, options.strideW)
        if options.padding == schema.Padding.SAME:
            # As many zeros on each side of odd kernels, if every place is visited.
            padding = (height // 2,) * 2 + (width // 2,) * 2 if stride == 1 else None
        total = int(np.prod(tensors[number].shape))
        return {
            "kernel": (height, width),
            "stride": stride,
            "channels": int(tensors[source].shape[3]),
            "padding": padding,
            "zeros": total - int(kept),
            "weights": total,
        }

    for operator in model.subgraphs[0].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        source, output = operator.inputs[0], operator.outputs[0]
        if kind in ("DENSIFY", "DEQUANTIZE") and stored(source, np.uint8) is not None:
            decoded[output] = source
            continue
        if kind == "PAD":
            pad = stored(operator.inputs[1], np.int32).reshape(-1, 2)
            padded[output] = source, tuple(int(n) for n in pad[1:3].ravel())
            continue
        details = {}
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            details = convolution(operator, *padded.get(source, (source, (0, 0, 0, 0))))
        elif kind == "MEAN":
            axes = stored(operator.inputs[1], np.int32)
            details = {"whole_picture": sorted(axes.tolist()) == [1, 2]}
        inputs = (
            made.get(padded[number][0] if number in padded else number, -1)
            for number in operator.inputs
            if number >= 0 and number not in decoded and stored(number, np.uint8) is None
        )
        name = tensors[output].name.decode(errors="replace")
        found = Operation(kind, name, tuple(inputs), **details)
        made[output] = len(made)
        yield found
