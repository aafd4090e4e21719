"""Read a run record: whole, or as it grows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .schema import SCHEMA, BrokenLine, HeaderLine, Line, RecordError, decode_line
from .writer import record_path


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
    try:
        stream = file.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(
            f"there is no record at {file}: name a run folder (one that holds {file.name}) or the file itself"
        ) from None
    with stream:
        number = 0
        for number, raw in enumerate(stream, 1):
            line = decode_line(raw, number)
            if number == 1:
                _check_header(line, file)
            yield line
    if number == 0:
        raise RecordError(f"{file} is empty: the run ended before it began")


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
    """Follows a record that is being written.

    Args:
        path: a run folder or the record file; it need not exist yet.

    Example:
        >>> Tail("not/there/yet").lines()
        []
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = record_path(path)
        self._file: BinaryIO | None = None
        self._rest = b""
        self._number = 0

    def lines(self) -> list[Line]:
        """The lines that became complete since the last call.

        Raises:
            RecordError: the file is no record that this version reads.
        """
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except (FileNotFoundError, NotADirectoryError):
                return []
        *complete, self._rest = (self._rest + self._file.read()).split(b"\n")
        lines = []
        for raw in complete:
            self._number += 1
            line = decode_line(raw + b"\n", self._number)
            if self._number == 1:
                _check_header(line, self.path)
            lines.append(line)
        return lines

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _check_header(line: Line, file: Path) -> None:
    if isinstance(line, BrokenLine) and line.truncated:
        raise RecordError(f"{file} ends within its first line: the run ended before it began")
    if not isinstance(line, HeaderLine):
        why = f" ({line.why})" if isinstance(line, BrokenLine) else ""
        raise RecordError(f"{file} is no record of a run: its first line is no header{why}")
    if line.header.schema != SCHEMA:
        raise RecordError(
            f"{file} has schema {line.header.schema}, written by evener {line.header.evener}; this version"
            f" reads schema {SCHEMA}: read it with the version that wrote it"
        )
