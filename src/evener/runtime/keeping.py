"""What a run's folder keeps beside its record: checkpoints, written, chosen and let go; and the final weights.

A checkpoint is a file that is whole or not there (:mod:`~evener.runtime.sealed`). Its header is JSON, what is in its
body is bytes here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from ..core.standing import Standing
from ..core.state import Settings
from ..trace import EpochSaid
from . import sealed
from .place import KEEP, Place
from .protocol import Entry
from .sealed import Body, Files

SCHEMA = 1
"""Version of the header and of what is in the body."""


NAME = re.compile(r"checkpoint-(\d{6,})\.evener")

FINAL = "final.pt"
"""Name of the final weights, the last thing that a run leaves."""


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
        return max((number for number, _ in listed(self.folder)), default=0) + 1

    def write(self, number: int, head: bytes, body: Body) -> Path:
        """Write a checkpoint; then let go of those that are too many, never of a sound one before.

        Raises:
            OSError: it cannot be written. Those that were there still are.
            Exception: of ``body``; likewise.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._sound is None:
            # Before ours is there: what is found sound now may be let go later.
            self._sound = [path for _, path in listed(self.folder) if not sealed.flaw(path)]
            for left in self.folder.glob(f"checkpoint-*{sealed.PART}"):
                self._files.remove(left)
        path = self.folder / f"checkpoint-{number:06}.evener"
        sealed.write(path, head, body, self._files)
        self._sound.append(path)
        while len(self._sound) > self._keep:
            self._files.remove(self._sound[0])
            self._sound.pop(0)
        return path


# Reading ----------------------------------------------------------------------------------------------------


def newest(folder: Path) -> Found:
    """The newest sound checkpoint in a run's folder.

    Raises:
        CheckpointError: there is none.
    """
    unsound: list[str] = []
    there = listed(folder)
    for _, path in reversed(there):
        if not (flaw := sealed.flaw(path)):
            return Found(path, read_head(path), tuple(unsound))
        unsound.append(f"{path.name}: {flaw}")
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder of a run, so there is nothing to resume: name one")
    if not there:
        raise CheckpointError(
            f"{folder} holds no checkpoint, so there is nothing to resume. Name the folder of a run that kept some "
            "(evener run does, unless --checkpoint-every is 0)."
        )
    raise CheckpointError(
        f"no checkpoint in {folder} is sound: {'; '.join(unsound)}. Put a copy of one into its place, if there is any, "
        "or begin another run."
    )


def read_head(path: Path) -> Head:
    """A sound checkpoint's header.

    Raises:
        CheckpointError: it is of another version of evener, or no header.
    """
    data = sealed.read_head(path)
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
    if flaw := sealed.flaw(path):
        raise CheckpointError(f"{path}: {flaw}")
    return sealed.read_body(path)


def encode(head: Head) -> bytes:
    """A header's bytes."""
    return msgspec.json.encode(head)


def listed(folder: Path) -> list[tuple[int, Path]]:
    """The files that have a checkpoint's name, oldest first."""
    try:
        found = [(match, path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    except OSError:
        return []
    return sorted((int(match[1]), path) for match, path in found)
