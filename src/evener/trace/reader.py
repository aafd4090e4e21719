"""Read a run record: whole, or as it grows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from .codec import decode_line
from .parts import part_path, parts
from .schema import SCHEMA, BrokenLine, HeaderLine, Line, RecordError, Whole
from .writer import record_path

LONGEST = 1 << 24
"""Bytes within which a header ends: a file whose first line is longer is something else."""

CHUNK = 1 << 20
"""Bytes that are read at once."""


def read(path: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of a record, in order.

    A line that cannot be read is a :class:`~evener.trace.schema.BrokenLine`; the last one of a run that was
    killed may be ``truncated``, which is no fault of the others.

    Args:
        path: a run folder or the record file.

    Raises:
        RecordError: there is no record at ``path``, or none that this version reads.
    """
    file = record_path(path)
    stream = _open(file)
    if stream is None:
        raise RecordError(
            f"there is no record at {file}: name a run folder (one that holds {file.name}) or the file itself"
        )
    with stream:
        # Whatever file it is: this much of it is read before it is known to be a record.
        raw = stream.readline(LONGEST)
        if not raw:
            raise RecordError(f"{file} is empty: the run ended before it began")
        yield _line(raw, 1, file)
        for number, raw in enumerate(stream, 2):
            yield _line(raw, number, file)


def as_lines(record: str | os.PathLike[str] | Iterable[Line]) -> Iterable[Line]:
    """``record`` itself if it is lines already, else what :func:`read` yields."""
    return read(record) if isinstance(record, str | os.PathLike) else record


@contextmanager
def naming(record: str | os.PathLike[str] | Iterable[Line]) -> Iterator[None]:
    """Meanwhile, a :class:`RecordError` about a line says which file's, if ``record`` is one."""
    try:
        yield
    except RecordError as error:
        if error.file is None and error.line is not None and isinstance(record, str | os.PathLike):
            error.file = record_path(record)
        raise


class Tail:
    """Follows a record that is being written, into its next part where another server goes on with the run.

    Args:
        path: a run folder or the record file; it need not exist yet.

    Attributes:
        count: lines so far.

    Example:
        >>> Tail("not/there/yet").lines()
        []
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = record_path(path)
        self._file: BinaryIO | None = None
        self._rest = b""
        self._number = 0
        self.count = 0

    def lines(self) -> list[Line]:
        """The lines that became complete since the last call.

        Raises:
            RecordError: the file is no record that this version reads.
        """
        return list(self.stream())

    def stream(self) -> Iterator[Line]:
        """As :meth:`lines`, one by one: of a long record they need not be in memory together.

        Raises:
            RecordError: the file is no record that this version reads.
        """
        while True:
            if self._file is None:
                self._file = _open(self.path)
            following = self._following()  # first: what is read after that is all there is
            while self._file is not None and (data := self._file.read(CHUNK)):
                *complete, self._rest = (self._rest + data).split(b"\n")
                if self._number == 0 and not complete and len(self._rest) >= LONGEST:
                    complete = [self._rest]
                for raw in complete:
                    self._number += 1
                    self.count += 1
                    yield _line(raw + b"\n", self._number, self.path)
            if following is None:
                return
            self.close()
            self._file = _open(following)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._rest, self._number = b"", 0

    def _following(self) -> Path | None:
        """The file of the next part, if the one that is read was set aside and there is one."""
        if self._file is None:
            return None
        ours = os.fstat(self._file.fileno())
        try:
            if os.path.samestat(os.stat(self.path), ours):
                return None
            for number in range(parts(self.path), 0, -1):
                if os.path.samestat(os.stat(part_path(self.path, number)), ours):
                    following = part_path(self.path, number + 1)
                    return following if following.exists() else self.path
        except OSError:
            return None  # it is being set aside at the moment
        return self.path


def _open(file: Path) -> BinaryIO | None:
    """Open a record to read; ``None``: there is none."""
    try:
        return file.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(
            f"{file} cannot be read: {error.strerror}. Is it the record of a run, and yours to read?"
        ) from None


def _line(raw: bytes, number: int, file: Path) -> Line:
    line = decode_line(raw, number)
    if number == 1:
        _check_header(line, raw, file)
    elif isinstance(line, HeaderLine):
        return BrokenLine(number, "it is a second header", truncated=False)
    return line


def _check_header(line: Line, raw: bytes, file: Path) -> None:
    if isinstance(line, BrokenLine) and line.truncated and len(raw) < LONGEST:
        raise RecordError(f"{file} ends within its first line: the run ended before it began")
    version = line.header if isinstance(line, HeaderLine) else _version(raw)
    if version is not None and version.schema != SCHEMA:
        raise RecordError(
            f"{file} has schema {version.schema}, written by evener {version.evener}; this version"
            f" reads schema {SCHEMA}: read it with the version that wrote it"
        )
    if not isinstance(line, HeaderLine):
        why = f" ({line.why})" if isinstance(line, BrokenLine) else ""
        raise RecordError(
            f"{file} is no record of a run: its first line is no header{why}. Name a run's folder, or a record as it"
            " was written"
        )
    settings = line.header.settings
    for name, least in (("batch", 1), ("epochs", 0), ("workers", 0), ("micro_batch", 0)):
        value = getattr(settings, name)
        if not least <= value <= 2**53:
            raise RecordError(
                f"no run has {name} {value}: the header is damaged, take a copy that is not", line=1, file=file
            )


class _Version(msgspec.Struct):
    schema: Whole
    evener: str = "?"


class _FirstLine(msgspec.Struct):
    header: _Version


def _version(raw: bytes) -> _Version | None:
    """What wrote a header that may be of another shape than ours; ``None``: it is none."""
    try:
        return msgspec.json.decode(raw, type=_FirstLine).header
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
