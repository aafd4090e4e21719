"""Checkpoint files: written whole or not at all, checked, chosen and let go. What is in them is bytes here.

A file is written under a temporary name, synced, renamed, and its folder synced: whatever kills the writer, the files
that have a checkpoint's name are whole. Its layout: a magic line; the length of the header (8 bytes, little endian);
the header (JSON); the body; the SHA-256 of all that. So it is written in one go, without a second copy in memory.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ..core.standing import Standing
from ..core.state import Settings
from ..trace import EpochSaid
from .place import Place
from .protocol import Entry

SCHEMA = 1
"""Version of the header and of what is in the body."""

KEEP = 3
"""How many sound checkpoints stay."""

MAGIC = b"evener checkpoint\n"
LENGTH = 8
FRONT = len(MAGIC) + LENGTH
DIGEST = hashlib.sha256().digest_size

PIECE = 1 << 22
"""Bytes written, or read, at once."""

NAME = re.compile(r"checkpoint-(\d{6,})\.evener")


class Out(Protocol):
    """Takes a body, in order: a file as far as who writes one is concerned."""

    def write(self, data: Any, /) -> int:
        """Take these bytes; how many."""

    def flush(self) -> None:
        """Nothing is kept back."""


Body = Callable[[Out], object]
"""Writes a checkpoint's body."""


class CheckpointError(Exception):
    """There is nothing to go on from, or not with this; the message says what happened, what is valid, what to do."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known of a checkpoint without its tensors.

    Attributes:
        evener: version of the package that wrote it.
        number: of the checkpoint in its run.
        created: ISO 8601, UTC.
        place: the server's: run id, token, address, policy and what else the run was started with.
        settings: the coordinator's.
        entries: of the model.
        positions: samples of an epoch.
        data: fingerprint of the data set.
        standing: where the run stood.
        ended: the epochs that were over.
        part: of the record that the server was writing, from 1.
        epoch: the one that the script on the server was in.
        targets: metrics that have not reached their target yet.
    """

    schema: int = SCHEMA
    evener: str
    number: int
    created: str
    place: Place
    settings: Settings
    entries: list[Entry]
    positions: int
    data: str
    standing: Standing
    ended: list[EpochSaid]
    part: int
    epoch: int
    targets: dict[str, float]


class _Version(msgspec.Struct):
    schema: int
    evener: str = "?"


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds: its newest sound checkpoint, and why each newer one is not (by file)."""

    path: Path
    head: Head
    unsound: tuple[str, ...] = ()


class Files:
    """The few things that are done with files, so that tests can let each of them fail."""

    def open(self, path: Path) -> int:
        """A new file that only its owner reads: it holds the run's token."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o600)

    def write(self, fd: int, data: memoryview) -> int:
        """Write some of it; how much."""
        return os.write(fd, data)

    def sync(self, fd: int) -> None:
        """Until it is on the disk."""
        os.fsync(fd)

    def close(self, fd: int) -> None:
        """Close it."""
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Give it its name, at once."""
        os.replace(old, new)

    def sync_folder(self, folder: Path) -> None:
        """Until the name is on the disk, too."""
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """It is not needed any more."""
        path.unlink(missing_ok=True)


class Keeper:
    """Writes checkpoints into a folder and lets the old ones go.

    Args:
        folder: made if need be.
        keep: how many sound ones stay.
        files: does it.
    """

    def __init__(self, folder: Path, keep: int = KEEP, files: Files | None = None) -> None:
        self.folder = folder
        self._keep = keep
        self._files = files or Files()
        self._sound: list[Path] | None = None

    def next_number(self) -> int:
        """A number above those of all files there, sound or not."""
        return max((number for number, _ in _listed(self.folder)), default=0) + 1

    def write(self, number: int, head: bytes, body: Body) -> Path:
        """Write a checkpoint; then let go of those that are too many, never of a sound one before.

        Raises:
            OSError: it cannot be written. Those that were there still are.
            Exception: of ``body``; likewise.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._sound is None:
            # Before ours is there: what is found sound now may be let go later.
            self._sound = [path for _, path in _listed(self.folder) if not _flaw(path)]
            for left in self.folder.glob("checkpoint-*.part"):
                self._files.remove(left)
        path = self.folder / f"checkpoint-{number:06}.evener"
        coming = path.with_suffix(".part")
        try:
            self._write(coming, head, body)
            self._files.rename(coming, path)
        except Exception:
            self._files.remove(coming)
            raise
        self._files.sync_folder(self.folder)
        self._sound.append(path)
        while len(self._sound) > self._keep:
            self._files.remove(self._sound[0])
            self._sound.pop(0)
        return path

    def _write(self, path: Path, head: bytes, body: Body) -> None:
        files = self._files
        fd = files.open(path)
        try:
            out = _Out(files, fd)
            out.write(MAGIC + len(head).to_bytes(LENGTH, "little") + head)
            body(out)
            out.write(out.digest())
            files.sync(fd)
        finally:
            files.close(fd)


class _Out:
    """Writes into a file, and adds the digest up meanwhile."""

    def __init__(self, files: Files, fd: int) -> None:
        self._files = files
        self._fd = fd
        self._sum = hashlib.sha256()

    def write(self, data: Any, /) -> int:
        """Write all of it."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        # Piece by piece, so that what is added up is written while it is in the cache. Other threads run during both.
        while rest:
            piece, rest = rest[:PIECE], rest[PIECE:]
            self._sum.update(piece)
            while piece:
                piece = piece[self._files.write(self._fd, piece) :]
        return size

    def flush(self) -> None:
        """Nothing is kept back."""

    def digest(self) -> bytes:
        """Of all that was written."""
        return self._sum.digest()


# Reading ----------------------------------------------------------------------------------------------------


def newest(folder: Path) -> Found:
    """The newest sound checkpoint in a run's folder.

    Raises:
        CheckpointError: there is none.
    """
    unsound: list[str] = []
    listed = _listed(folder)
    for _, path in reversed(listed):
        flaw = _flaw(path)
        if not flaw:
            return Found(path, read_head(path), tuple(unsound))
        unsound.append(f"{path.name}: {flaw}")
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder of a run, so there is nothing to resume: name one")
    if not listed:
        raise CheckpointError(
            f"{folder} holds no checkpoint, so there is nothing to resume. Name the folder of a run that kept some "
            "(evener run does, unless --checkpoint-every is 0)."
        )
    raise CheckpointError(f"no checkpoint in {folder} is sound: {'; '.join(unsound)}")


def read_head(path: Path) -> Head:
    """A sound checkpoint's header.

    Raises:
        CheckpointError: it is of another version of evener, or no header.
    """
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        data = file.read(int.from_bytes(file.read(LENGTH), "little"))
    try:
        version = msgspec.json.decode(data, type=_Version)
        here = metadata.version("evener")
        if version.schema != SCHEMA or version.evener != here:
            raise CheckpointError(
                f"{path} was written by evener {version.evener} (schema {version.schema}), this is evener {here} "
                f"(schema {SCHEMA}): a run goes on with the version it began with, so install evener {version.evener}"
            )
        return msgspec.json.decode(data, type=Head)
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{path} is no checkpoint that this version reads: {error}") from error


def read_body(path: Path) -> bytes:
    """A checkpoint's body.

    Raises:
        CheckpointError: the file is not sound.
    """
    if flaw := _flaw(path):
        raise CheckpointError(f"{path}: {flaw}")
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        file.seek(FRONT + int.from_bytes(file.read(LENGTH), "little"))
        return file.read()[:-DIGEST]


def encode(head: Head) -> bytes:
    """A header's bytes."""
    return msgspec.json.encode(head)


def _listed(folder: Path) -> list[tuple[int, Path]]:
    """The files that have a checkpoint's name, oldest first."""
    try:
        found = [(match, path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    except OSError:
        return []
    return sorted((int(match[1]), path) for match, path in found)


def _flaw(path: Path) -> str:
    """Why a file is no sound checkpoint, in words; empty if it is one."""
    try:
        with path.open("rb") as file:
            front = file.read(FRONT)
            if front[: len(MAGIC)] != MAGIC:
                return "it does not begin as a checkpoint does"
            rest = os.fstat(file.fileno()).st_size - FRONT - DIGEST
            if rest < int.from_bytes(front[len(MAGIC) :], "little"):
                return "it is cut short"
            digest = hashlib.sha256(front)
            while rest and (piece := file.read(min(PIECE, rest))):
                digest.update(piece)
                rest -= len(piece)
            said = file.read()
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "" if digest.digest() == said else "its checksum is wrong: it is damaged, or cut short"
