"""Files that are whole or not there: a header and a body, with a checksum that tells whether they are damaged.

A file is written under a temporary name, synced, renamed, and its folder synced: whatever kills the writer, what has
its name is whole. Its layout: a magic line; the length of the header (8 bytes, little endian); the header; the body;
the SHA-256 of all that. So it is written in one go, without a second copy in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

MAGIC = b"evener checkpoint\n"
LENGTH = 8
FRONT = len(MAGIC) + LENGTH
DIGEST = hashlib.sha256().digest_size

PIECE = 1 << 22
"""Bytes written, or read, at once."""

PART = ".part"
"""In place of a file's suffix while it is being written."""


class Out(Protocol):
    """Takes a body, in order: a file as far as who writes one is concerned."""

    def write(self, data: Any, /) -> int:
        """Take these bytes; how many."""

    def flush(self) -> None:
        """Nothing is kept back."""


Body = Callable[[Out], object]
"""Writes a file's body."""


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


def write(path: Path, head: bytes, body: Body, files: Files) -> None:
    """Write a file, in place of one that may be there.

    Raises:
        OSError: it cannot be written. What was there still is.
        Exception: of ``body``; likewise.
    """
    coming = path.with_suffix(PART)
    try:
        _write(coming, head, body, files)
        files.rename(coming, path)
    except Exception:
        files.remove(coming)
        raise
    files.sync_folder(path.parent)


def _write(path: Path, head: bytes, body: Body, files: Files) -> None:
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


def read_head(path: Path) -> bytes:
    """A sound file's header."""
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        return file.read(int.from_bytes(file.read(LENGTH), "little"))


def read_body(path: Path) -> bytes:
    """A sound file's body."""
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        file.seek(FRONT + int.from_bytes(file.read(LENGTH), "little"))
        return file.read()[:-DIGEST]


def flaw(path: Path) -> str:
    """Why a file is not sound, in words; empty if it is."""
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
