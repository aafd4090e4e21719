"""The parts of a record: each server that went on from a checkpoint began one of its own.

The newest part is ``record.jsonl``; those before it are ``record-1.jsonl``, ``record-2.jsonl``, …, in order.
"""

from __future__ import annotations

import os
from pathlib import Path

from .holding import hold_or_fail
from .writer import record_path


class HeldError(Exception):
    """Somebody is writing this record."""


def part_path(record: Path, number: int) -> Path:
    """Where part ``number`` (from 1) of ``record`` is once there is a newer one.

    >>> part_path(Path("runs/one/record.jsonl"), 2).as_posix()
    'runs/one/record-2.jsonl'
    """
    return record.with_name(f"{record.stem}-{number}{record.suffix}")


def parts(path: str | os.PathLike[str]) -> int:
    """How many parts there are before the newest."""
    record, count = record_path(path), 0
    while part_path(record, count + 1).exists():
        count += 1
    return count


def set_aside(path: str | os.PathLike[str]) -> int:
    """Make room for the next part of a record whose server was lost; returns how many parts there are before it.

    Raises:
        HeldError: its server is not lost: it holds the record.
        OSError: the file cannot be moved.
    """
    record, count = record_path(path), parts(path)
    if not record.exists():
        return count
    with record.open("rb") as file:
        if not hold_or_fail(file):
            raise HeldError(
                f"{record} is being written: a server of this run is alive. Stop it first, or let it go on alone."
            )
        record.rename(part_path(record, count + 1))
    return count + 1
