"""The files of a run, named in one place, and who may write them."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock

from tf_earlyticket import checks
from tf_earlyticket.config import Config, config_from_dict, flatten
from tf_earlyticket.deploy.artefacts import EXPORTED
from tf_earlyticket.errors import InputError
from tf_earlyticket.files import make_directory, read_json, sha256, write_json


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
        self.teacher = self.checkpoints / "teacher.safetensors"
        self.ticket = self.workdir / "ticket"
        self.saved_model = self.ticket / "saved_model"
        self.checksums = self.workdir / "checksums.json"
        # Of a family: a run for each goal.
        self.tickets = self.workdir / "tickets"

    @property
    def writes(self) -> bool:
        """Whether this process writes where the run is read."""
        return self.saved is self

    def result(self, phase: str) -> Path:
        """Where a phase leaves its result."""
        return self.checkpoints / phase / "result.json"

    def directory(self, phase: str) -> Path:
        """Where the checkpoints of a phase go."""
        return self.checkpoints / phase

    def others_than(self, hashes: Mapping[str, str]) -> list[Path]:
        """Returns the files, named from `workdir`, that are gone or have another hash."""
        found = []
        for name, stated in hashes.items():
            try:
                same = sha256(self.workdir / name) == stated
            except InputError:
                same = False
            if not same:
                found.append(self.workdir / name)
        return found

    def outcome(self) -> list[Path]:
        """Returns the files that are made from the phases of a run, but for `report.json`."""
        ticket = [path for path in self.ticket.rglob("*") if path.is_file()]
        exported = self.ticket / EXPORTED
        return [
            *(self.report_html, self.metrics, self.weight_statistics),
            *sorted(self.figures.rglob("*.png")),
            *sorted(path for path in ticket if not path.is_relative_to(exported)),
        ]

    def check(self, config: Config) -> None:
        """Checks that the directory is new, empty, or holds a run of this config.

        Raises:
            InputError: If it cannot be written, or holds another run or other files, or the ticket
                that the run begins with.
        """
        own = self.ticket.resolve()
        if config.ticket is not None and Path(config.ticket).resolve() == own:
            expected = "a ticket outside of the --workdir, whose own it would be replaced by"
            raise checks.refuse("config.ticket", config.ticket, expected)
        checks.plain_path("--workdir", self.workdir)
        for folder in (
            *(self.checkpoints, self.figures, self.tensorboard, self.ticket, self.tickets),
        ):
            if folder.exists() and not folder.is_dir():
                expected = f"a directory of an earlier run, got a file {folder.name!r} in it"
                raise checks.refuse("--workdir", str(self.workdir), expected)
        if self.config.exists():
            self._check_config(config)
        elif os.path.lexists(self.workdir):
            with self._writable():
                there = [path for path in self.workdir.iterdir() if not path.name.startswith(".")]
            if there:
                raise InputError(
                    f"--workdir={self.workdir}: it holds files but no config.json; expected an "
                    "empty directory or one of an earlier run."
                )

    def claim(self, config: Config) -> None:
        """Creates the directory, writes `config.json`, or checks that it holds this config.

        A process that writes elsewhere only checks.

        Raises:
            InputError: As `check`.
        """
        self.saved.check(config)
        if not self.writes:
            return
        with self._writable():
            make_directory(self.workdir)
            with tempfile.TemporaryFile(dir=self.workdir):
                pass
        if not self.config.exists():
            write_json(self.config, config.to_dict())
        self._check_config(config)

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"--workdir={self.workdir}: cannot be written ({error.strerror}); expected a "
                "directory that can be created and written."
            ) from error

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
