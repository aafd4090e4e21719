"""The lines of a run record, schema 1. ``docs/record.md`` has every field with its unit.

Events and commands are the core's own dataclasses; :mod:`~evener.trace.codec` makes lines of bytes, and bytes of lines.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ..core import commands as c
from ..core import events as e
from ..core.standing import Standing
from ..core.state import Settings

SCHEMA = 1
"""Version of the format. A reader refuses another one; a new field with a default needs no new version."""

FILE = "record.jsonl"
"""Name of the record in a run folder."""


Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""A number that every reader of JSON takes for the same. One beyond is damage, and no count of anything."""


class RecordError(ValueError):
    """A file is no record, or not one that this version reads; the message says what to do.

    Attributes:
        line: the number of the line (from 1) that it is about; ``None``: the whole.
        file: the record, where whoever raised it knew it; else :func:`~evener.trace.reader.naming` adds it.

    >>> str(RecordError("it is damaged", line=7, file=Path("runs/one/record.jsonl")))
    'runs/one/record.jsonl, line 7: it is damaged'
    """

    def __init__(self, what: str, *, line: int | None = None, file: Path | None = None) -> None:
        super().__init__(what)
        self.line = line
        self.file = file

    def __str__(self) -> str:
        where = [str(self.file)] if self.file is not None else []
        if self.line is not None:
            where.append(f"line {self.line}")
        return f"{', '.join(where)}: {self.args[0]}" if where else str(self.args[0])


class PolicyUsed(msgspec.Struct, frozen=True):
    """The policy's name and all its options, defaults included."""

    name: str
    options: dict[str, bool | float | int | str] = {}


class EpochSaid(msgspec.Struct, frozen=True):
    """An epoch that was over, as its ``EndEpoch`` said."""

    epoch: Whole
    version: Whole
    applied: Whole
    declined: Whole
    refused: Whole
    dropped: Whole


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What a server that was lost had left when this part of the record began.

    Attributes:
        part: number of the part in which the checkpoint was taken.
        checkpoint: number of the checkpoint; that part has a note of it.
        standing: of the run: what its parameters contain.
        ended: epochs that were over.
    """

    part: Whole
    checkpoint: Whole
    standing: Standing
    ended: list[EpochSaid] = []


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What was fixed before the run began.

    Attributes:
        kind: ``run``, or ``simulation``: all times are virtual.
        run: the run's id.
        created: when the record was opened, ISO 8601, UTC; empty in a simulation.
        evener: version of the package that wrote it.
        script: the script as it was named.
        settings: the coordinator's.
        policy: the policy's name and options.
        positions: samples per epoch where they were known beforehand.
        parameters: numbers in the model.
        notes: facts about the surroundings, such as the emulated speeds.
        resumed: in a run that goes on from a checkpoint, where it stood.
    """

    schema: Whole = SCHEMA
    kind: str = "run"
    run: str
    created: str
    evener: str
    script: str
    settings: Settings
    policy: PolicyUsed
    positions: Whole | None
    parameters: Whole
    notes: dict[str, Any] = {}
    resumed: Resumed | None = None


class LogNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="log"):
    """What a script logged. A value that is not a finite number is ``None``."""

    epoch: Whole
    version: Whole
    samples: Whole
    at: float
    values: dict[str, float | None]
    source: Literal["server", "workers"] = "server"


class TargetNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="target"):
    """The metric ``name`` reached the wanted ``value`` for the first time, with parameters of time ``at``."""

    name: str
    value: float
    reached: float
    at: float


class WorkerNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="worker"):
    """Who a worker is."""

    worker: Whole
    name: str
    pid: Whole = 0
    host: str = ""
    device: str = ""


class StartNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="start"):
    """How long a process took to take part: from its start to ``prepare`` (imports, and the script's own), its probe.

    ``worker`` -1 is the server; ``launched_s``: from the launcher's start to this line. ``bulk``: how a worker's
    parameters and contributions travel, ``memory`` or ``tcp``, with the codec if packed; both where they differ.
    Where the worker chose whether to pack: a version took ``transfer_s`` without, packing takes ``packing_s``.
    ``channels_last``: whether its convolutions compute in that layout.
    """

    worker: Whole
    imports_s: float
    probe_s: float = 0.0
    launched_s: float = 0.0
    bulk: str = ""
    channels_last: bool = False
    transfer_s: float = 0.0
    packing_s: float = 0.0


class CheckpointNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="checkpoint"):
    """A checkpoint was taken here, of ``version``; training stood still for ``copy_s``. It is written afterwards."""

    number: Whole
    version: Whole
    copy_s: float = 0.0


class KeptNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="kept"):
    """A checkpoint is whole: a file of so many ``bytes``. Writing it took ``seconds``, and ``cpu_s`` CPU seconds."""

    number: Whole
    bytes: Whole
    seconds: float
    cpu_s: float


class WarningNote(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="warning"):
    """Something a person should know, in words."""

    text: str


Note = LogNote | TargetNote | WorkerNote | StartNote | CheckpointNote | KeptNote | WarningNote
NOTES: dict[str, type[Note]] = {
    "log": LogNote,
    "target": TargetNote,
    "worker": WorkerNote,
    "start": StartNote,
    "checkpoint": CheckpointNote,
    "kept": KeptNote,
    "warning": WarningNote,
}


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended. CPU seconds are the processes' own, from the opening of the record to its end.

    ``parameters_sha256`` is that of the final parameters' bytes and then of the running statistics'; equal in runs that
    computed the same.
    """

    ok: bool
    reason: str
    server_cpu_s: float | None = None
    workers_cpu_s: dict[int, float] = {}
    parameters_sha256: str | None = None


# What a reader yields ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class HeaderLine:
    """The first line.

    ``kept``: numbers of this part's checkpoints from which later parts go on, where all parts are read together.
    """

    t: float
    header: Header
    kept: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class EventLine:
    """An event that the coordinator handled at ``t``, and what it answered."""

    t: float
    event: e.Event
    commands: list[c.Command]


@dataclasses.dataclass(frozen=True, slots=True)
class NoteLine:
    """What is worth keeping but decides nothing."""

    t: float
    note: Note


@dataclasses.dataclass(frozen=True, slots=True)
class EndLine:
    """The last line of a record that was closed."""

    t: float
    end: End


@dataclasses.dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that cannot be read. ``truncated``: it is the last one, and its end was never written."""

    number: int
    why: str
    truncated: bool


Line = HeaderLine | EventLine | NoteLine | EndLine | BrokenLine
