"""Which of several workers this process is, as TF_CONFIG says; imports no TensorFlow."""

import json
import os

from tf_earlyticket.errors import InputError

_EXPECTED = (
    'expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
)


def is_chief(strategy: str) -> bool:
    """Returns whether this process writes the files of a run.

    With strategy "multi_worker" that is the task of type "chief", or else worker 0; every process
    of another strategy does.

    Raises:
        InputError: If TF_CONFIG is of another form than TensorFlow's.
    """
    if strategy != "multi_worker" or not os.environ.get("TF_CONFIG"):
        return True
    try:
        given = json.loads(os.environ["TF_CONFIG"])
        workers, task = given["cluster"]["worker"], given["task"]
        kind, index = task["type"], task["index"]
        if kind == "chief" or (isinstance(index, int) and 0 <= index < len(workers)):
            return kind == "chief" or (index == 0 and "chief" not in given["cluster"])
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"TF_CONFIG={os.environ['TF_CONFIG']}: {_EXPECTED}.")
