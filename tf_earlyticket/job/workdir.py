"""The files of a run, named in one place, and who may write them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock

from tf_earlyticket import checks
from tf_earlyticket.config import Config, config_from_dict, flatten
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import make_directory, read_json, write_json


class RunPaths:
    """Names of the files of a run.

    Of several workers only the chief writes to `workdir`. The others read the state of the run
    there, and write to an `output` of their own: saving a checkpoint takes all workers.

    Args:
        workdir: Directory of one run.
        output: Where this process writes instead; None: in `workdir`.

    Attributes:
        workdir: Where this process writes; so for all other names.
        saved: The names where the run is read.
    """

    def __init__(self, workdir: str | os.PathLike, output: str | os.PathLike | None = None):
        self.saved = self if output is None else RunPaths(workdir)
        self.workdir = Path(workdir if output is None else output)
        self.config = self.workdir / "config.json"
        self.flags = self.workdir / "flags.txt"
        self.metrics = self.workdir / "metrics.csv"
        self.weight_statistics = self.workdir / "weight_statistics.json"
        self.report = self.workdir / "report.json"
        self.report_html = self.workdir / "report.html"
        self.figures = self.workdir / "figures"
        self.tensorboard = self.workdir / "tensorboard"
        self.checkpoints = self.workdir / "checkpoints"
        self.rewind_weights = self.checkpoints / "rewind_weights.safetensors"
        self.ticket = self.workdir / "ticket"
        self.saved_model = self.ticket / "saved_model"

    @property
    def writes(self) -> bool:
        """Whether this process writes where the run is read."""
        return self.saved is self

    def result(self, phase: str) -> Path:
        """Where a phase leaves its result."""
        return self.checkpoints / phase / "result.json"

    def claim(self, config: Config) -> None:
        """Creates the directory and writes `config.json`, or checks that it holds this config.

        A process that writes elsewhere only checks.

        Raises:
            InputError: If the directory cannot be written, or holds another run or other files.
        """
        if not self.writes:
            if self.saved.config.exists():
                self.saved._check_config(config)
            return
        try:
            make_directory(self.workdir)
            with tempfile.TemporaryFile(dir=self.workdir):
                pass
        except OSError as error:
            raise InputError(
                f"--workdir={self.workdir}: cannot be written ({error.strerror}); expected a "
                "directory that can be created and written."
            ) from error
        if not self.config.exists():
            if any(not path.name.startswith(".") for path in self.workdir.iterdir()):
                raise InputError(
                    f"--workdir={self.workdir}: it holds files but no config.json; expected an "
                    "empty directory or one of an earlier run."
                )
            write_json(self.config, config.to_dict())
        self._check_config(config)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out of the run within a `with` block, if this one writes there.

        Raises:
            InputError: If another process is at work in it.
        """
        if not self.writes:
            yield
            return
        lock = filelock.FileLock(self.workdir / ".lock", timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise InputError(
                f"--workdir={self.workdir}: another process is at work in it; expected another "
                "directory, or the end of that one."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _check_config(self, config: Config) -> None:
        try:
            there = read_json(self.config)
            if not isinstance(there, dict):
                raise InputError("it is no mapping")
        except InputError as error:
            raise InputError(
                f"--workdir={self.workdir}: its config.json cannot be read; expected an empty "
                "directory or one of an earlier run."
            ) from error
        with checks.prefixed(f"--workdir={self.workdir} holds a run of another config: "):
            # Fields that came after the run was started had their defaults in it.
            present = flatten(config_from_dict(there).to_dict())
        wanted = flatten(config.to_dict())
        for name in {**wanted, **present}:
            if present.get(name) != wanted.get(name):
                raise InputError(
                    f"--workdir={self.workdir} holds a run of another config ({name} is "
                    f"{present.get(name)!r} there, {wanted.get(name)!r} here); expected an empty "
                    "directory or the same config."
                )
