"""All parts of a record as one: in order, on one clock."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from .parts import part_path, parts
from .reader import naming, read
from .schema import BrokenLine, HeaderLine, Line, LogNote, NoteLine, RecordError, TargetNote
from .writer import record_path


class Clock:
    """Puts the lines of a record's parts, fed in order, on one clock: a part begins when the one before was lost.

    The time from there to the next part's beginning is in no record, and is left out.
    """

    def __init__(self) -> None:
        self._offset = 0.0
        self._last = 0.0

    def __call__(self, line: Line) -> Line:
        """The line at its time since the run began."""
        if isinstance(line, BrokenLine):
            return line
        if isinstance(line, HeaderLine):
            self._offset = self._last
        if self._offset:
            line = replace(line, t=line.t + self._offset)
            if isinstance(line, NoteLine) and isinstance(line.note, LogNote | TargetNote):
                line = replace(line, note=msgspec.structs.replace(line.note, at=line.note.at + self._offset))
        self._last = max(self._last, line.t)
        return line


def whole(record: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of all parts of a run's record, in order, on one clock; of a run that was never resumed, those of it.

    Each part has its header, which names the checkpoints from which later parts went on.

    Args:
        record: a run folder or the record file.

    Raises:
        RecordError: there is no record, or a part of it is none that this version reads.
    """
    newest = record_path(record)
    paths = _before(newest)
    clock = Clock()
    kept: dict[int, list[int]] = {}
    for path in (*paths.values(), newest):
        with naming(path):
            first = next(read(path))
        if isinstance(first, HeaderLine) and (resumed := first.header.resumed) is not None:
            kept.setdefault(resumed.part, []).append(resumed.checkpoint)
    for line in _lines({**paths, 0: newest}, kept):
        yield clock(line)


def before(record: str | os.PathLike[str]) -> Iterator[Line]:
    """The lines of the parts before the newest, each with its own times."""
    return _lines(_before(record_path(record)), {})


def _before(newest: Path) -> dict[int, Path]:
    """Number and file of each part before the newest, but of those whose server was lost before it wrote a line."""
    found = {}
    for number in range(1, parts(newest) + 1):
        path = part_path(newest, number)
        try:
            next(read(path))
        except RecordError:
            continue
        found[number] = path
    return found


def _lines(paths: Mapping[int, Path], kept: Mapping[int, list[int]]) -> Iterator[Line]:
    for number, path in paths.items():
        for line in read(path):
            yield replace(line, kept=tuple(kept.get(number, ()))) if isinstance(line, HeaderLine) else line
