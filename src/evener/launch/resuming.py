"""What a run that goes on takes from its folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..runtime import keeping
from ..runtime.keeping import FINAL, CheckpointError, Head
from ..trace import HeldError, complete, held, part_path, parts, record_path, set_aside
from .options import LaunchError


def to_resume(folder: Path) -> Head:
    """The head of the newest sound checkpoint of the run in ``folder``.

    Raises:
        LaunchError: there is none, its server is alive, or the run is over.
    """
    record = record_path(folder)
    if record.exists() and held(record):
        raise LaunchError(
            f"a server is writing {record}: the run in {folder} goes on already. Stop that one first, or let it be."
        )
    if over(folder):
        raise LaunchError(f"the run in {folder} is complete: there is nothing to resume. Begin another one.")
    try:
        return keeping.newest(folder).head
    except CheckpointError as error:
        raise LaunchError(f"{error}") from None


def begun(folder: Path) -> Head | None:
    """Where the run in ``folder`` stands, to go on from there; ``None``: nothing is there, and it may begin.

    The record of a server that was lost before its first checkpoint is moved out of the way.

    Raises:
        LaunchError: its server is alive, or the run is over.
    """
    record = record_path(folder)
    if checkpointed(folder) or over(folder) or (record.exists() and held(record)):
        return to_resume(folder)
    if record.exists():
        count = sum(1 for _ in folder.glob(f"{record.name}.lost-*"))
        record.rename(folder / f"{record.name}.lost-{count + 1}")
    return None


@contextmanager
def room_for_a_part(folder: Path) -> Iterator[None]:
    """Set the record of the server that was lost aside; if none takes its place, it is put back.

    Raises:
        LaunchError: it is being written, or cannot be moved.
    """
    record, before = record_path(folder), parts(folder)
    try:
        moved = set_aside(folder) > before
    except HeldError as error:
        raise LaunchError(f"{error}") from None
    except OSError as error:
        raise LaunchError(f"the record {record} cannot be set aside: {error.strerror}.") from None
    try:
        yield
    finally:
        if moved and not record.exists():
            part_path(record, before + 1).rename(record)


def checkpointed(folder: Path) -> bool:
    """Whether there is something to go on from."""
    return bool(keeping.listed(folder))


def to_go_on(
    folder: Path, words: Sequence[str], arguments: Sequence[str], more: Sequence[str] = (), untouched: bool = False
) -> str:
    """What to tell the user of a run that was broken off; empty: nothing can go on.

    Args:
        folder: of the run.
        words: the command that began it, as far as its script.
        arguments: of the script.
        more: what the command needs beside the folder.
        untouched: it did not even go on: the same command would be refused again.
    """
    if untouched:
        return f"the run in {folder} is as it was"
    if not checkpointed(folder) or over(folder):
        return ""
    command = [*words, "--resume", str(folder), *more, *(["--", *arguments] if arguments else [])]
    return f"to go on from its last checkpoint: {shlex.join(command)}"


def over(folder: Path) -> bool:
    """Whether the run in ``folder`` came to its end, and left its final weights.

    A server may be lost between the two, or find the disk full: then the run goes on from its newest checkpoint.
    """
    return (folder / FINAL).exists() and complete(record_path(folder))
