"""Files between the driver's machine and a node that does not share its file system, piece by piece.

A file has the same path on both: a trial's config, and what its training state is known by, speak of paths. The shelf
stands where the driver runs, and gives and takes nothing outside the run directory and the study's own input files. A
`Carrier` stands beside a worker. What either writes gets its name only once it is whole and flushed.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweep.errors import MachineError, RunError

PIECE_BYTES = 16 * 2**20
"""Most that is in memory of a file at a time, at either end."""
HASHED_BYTES = 2**30
"""Size from which a file is taken for the same where its size is: a model's weights are not read to be compared."""
SENT = ".sent-here"
"""Marks a run directory on a node as a copy, which may be removed."""
HALF = ".half"
"""End of the name of what is not whole yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file."""

    path: Path
    size: int
    sha256: str | None = None
    """Fingerprint of its bytes; none where it is too large to be read for that."""


class Files(Protocol):
    """A shelf, here or on another machine."""

    def inputs(self) -> Sequence[Entry]:
        """The study's input files."""

    def under(self, directory: Path) -> Sequence[Entry]:
        """Files of a directory within the run directory; none where there is no such directory."""

    def read(self, path: Path, offset: int) -> bytes:
        """A piece of a file; empty at its end."""

    def write(self, path: Path, token: str, offset: int, piece: bytes) -> None:
        """Put a piece of a file by, under a token of the writer's."""

    def finish(self, path: Path, token: str) -> None:
        """Give the file that was put by its name."""

    def replace(self, directory: Path, keep: Sequence[Path]) -> None:
        """Remove all files of a directory within the run directory but for these."""


class Shelf:
    """Files of the driver's machine that a node may have, and the run directory that it may write to."""

    def __init__(self, run: Path, inputs: Sequence[Path]) -> None:
        """`inputs` are files, or directories of which every file is one."""
        self._run = run.resolve()
        self._inputs = tuple(_entry(path) for given in inputs for path in _files(given))
        self._allowed = frozenset(entry.path for entry in self._inputs)

    def inputs(self) -> Sequence[Entry]:
        """The study's input files."""
        return self._inputs

    def under(self, directory: Path) -> Sequence[Entry]:
        """Files of a directory within the run directory."""
        self._own(directory)
        return [Entry(path, path.stat().st_size) for path in _files(directory)]

    def read(self, path: Path, offset: int) -> bytes:
        """A piece of a file."""
        if path not in self._allowed:
            self._own(path)
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(PIECE_BYTES)

    def write(self, path: Path, token: str, offset: int, piece: bytes) -> None:
        """Put a piece of a file by."""
        self._own(path)
        put(path, token, offset, piece)

    def finish(self, path: Path, token: str) -> None:
        """Give a file its name."""
        self._own(path)
        name(path, token)

    def replace(self, directory: Path, keep: Sequence[Path]) -> None:
        """Remove what a trial's directory had before, but for these; what a lost node left half-written too."""
        self._own(directory)
        for path in (*_files(directory), *directory.rglob(f"*{HALF}")):
            if path not in keep:
                path.unlink(missing_ok=True)

    def _own(self, path: Path) -> None:
        """Refuse what is outside the run directory, whatever links are on the way."""
        if not path.resolve().is_relative_to(self._run):
            raise RunError(f"{path}: a node asked for a file outside the run directory {self._run}.")


class Carrier:
    """Brings a trial's files to a node and back."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._states: dict[Path, int] = {}

    def fetch_inputs(self) -> list[Path]:
        """Have the study's input files here; gives those that were not. Raises MachineError where one is another."""
        fetched = []
        for entry in self._files.inputs():
            if not entry.path.exists():
                self._fetch(entry)
                fetched.append(entry.path)
            elif (here := _entry(entry.path)) != entry:
                how = "another size" if here.size != entry.size else "other contents"
                raise MachineError(f"{entry.path} has {how} on this node than where the study was started.")
        return fetched

    def settle_in(self, run: Path) -> None:
        """Make the run directory here, where it is not the driver's own. Raises MachineError where it is somebody's."""
        mark = run / SENT
        if run.is_dir() and any(run.iterdir()) and not mark.exists():
            raise MachineError(
                f"{run} is there on this node, but it is not the directory of that path where the study was started. "
                "Share it, or remove it here."
            )
        try:
            run.mkdir(parents=True, exist_ok=True)
            mark.touch()
        except OSError as error:
            raise MachineError(f"{run} cannot be made on this node: {error.strerror}.") from error

    def move_out(self, run: Path) -> None:
        """Remove the run directory here, where it was made by `settle_in`."""
        if (run / SENT).exists():
            shutil.rmtree(run, ignore_errors=True)

    def fetch(self, directory: Path) -> None:
        """Have a trial's directory here as the driver has it."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for entry in self._files.under(directory):
            self._fetch(entry)

    def copy(self, directory: Path) -> None:
        """Bring all of a directory to the driver, and keep it here."""
        for path in _files(directory):
            self._bring(path)

    def bring(self, directory: Path) -> None:
        """Bring a trial's directory to the driver, and remove it here."""
        found = _files(directory)
        self._files.replace(directory, [*found, directory / "config.yaml"])
        for path in found:
            self._bring(path)
        shutil.rmtree(directory, ignore_errors=True)

    def bring_if_new(self, path: Path) -> None:
        """Bring one file that is only ever replaced whole, where it has been since the last time."""
        try:
            at = path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if self._states.get(path) != at:
            self._bring(path)
            self._states[path] = at

    def _fetch(self, entry: Entry) -> None:
        token, offset = uuid.uuid4().hex, 0
        try:
            entry.path.parent.mkdir(parents=True, exist_ok=True)
            while piece := self._files.read(entry.path, offset):
                put(entry.path, token, offset, piece)
                offset += len(piece)
            if offset == 0:
                put(entry.path, token, 0, b"")
            name(entry.path, token)
        except OSError as error:
            reason = error.strerror or str(error)
            raise MachineError(
                f"{entry.path} cannot be written on this node: {reason}. Share the file system of the run directory "
                "and the data among the nodes, or run the study from a directory that can be made on all of them."
            ) from error

    def _bring(self, path: Path) -> None:
        token, offset = uuid.uuid4().hex, 0
        with path.open("rb") as stream:
            while (piece := stream.read(PIECE_BYTES)) or offset == 0:
                self._files.write(path, token, offset, piece)
                offset += len(piece)
                if not piece:
                    break
        self._files.finish(path, token)


def put(path: Path, token: str, offset: int, piece: bytes) -> None:
    """Write a piece of a file under a name that nobody reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _half(path, token).open("r+b" if offset else "wb") as stream:
        stream.seek(offset)
        stream.write(piece)


def name(path: Path, token: str) -> None:
    """Flush a file that is whole, and give it its name."""
    half = _half(path, token)
    with half.open("rb") as stream:
        os.fsync(stream.fileno())
    half.replace(path)


def _half(path: Path, token: str) -> Path:
    if not token.isalnum():
        raise RunError(f"{token!r}: not the token of a file that is being written.")
    return path.with_name(f".{path.name}.{token}{HALF}")


def _files(path: Path) -> list[Path]:
    """A file itself, or all files of a directory, without links and what is half-written."""
    if path.is_file():
        return [path]
    found: Iterable[Path] = sorted(path.rglob("*")) if path.is_dir() else ()
    return [one for one in found if one.is_file() and not one.is_symlink() and one.suffix not in {HALF, ".tmp"}]


def _entry(path: Path) -> Entry:
    size = path.stat().st_size
    if size >= HASHED_BYTES:
        return Entry(path, size)
    with path.open("rb") as stream:
        return Entry(path, size, hashlib.file_digest(stream, "sha256").hexdigest())
