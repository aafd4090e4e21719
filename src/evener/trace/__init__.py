"""The run record: every event and command of a run with its time, in one file that proves what happened.

``docs/record.md`` describes the format. Written by :class:`Writer`; read by :func:`read`, with all parts of a run that
was resumed by :func:`whole`, or, while it grows, by :class:`Tail`; checked by :func:`check`, which trusts nothing but
the record, and by :func:`replay`.
"""

from .accounting import Accounting, EpochAccount
from .checker import Checker, check
from .ends import complete
from .holding import held
from .limit import Limit, Rates, read_limit, write_limit
from .parts import HeldError, part_path, parts, set_aside
from .policies import describe, rebuild
from .reader import Tail, naming, read
from .replay import Difference, Replay, replay, replayed
from .schema import (
    FILE,
    SCHEMA,
    BrokenLine,
    CheckpointNote,
    End,
    EndLine,
    EpochSaid,
    EventLine,
    Header,
    HeaderLine,
    KeptNote,
    Line,
    LogNote,
    Note,
    NoteLine,
    PolicyUsed,
    RecordError,
    Resumed,
    StartNote,
    TargetNote,
    WarningNote,
    WorkerNote,
)
from .whole import Clock, before, whole
from .writer import Writer, record_path

__all__ = [
    "FILE",
    "SCHEMA",
    "Accounting",
    "BrokenLine",
    "Checker",
    "CheckpointNote",
    "Clock",
    "Difference",
    "End",
    "EndLine",
    "EpochAccount",
    "EpochSaid",
    "EventLine",
    "Header",
    "HeaderLine",
    "HeldError",
    "KeptNote",
    "Limit",
    "Line",
    "LogNote",
    "Note",
    "NoteLine",
    "PolicyUsed",
    "Rates",
    "RecordError",
    "Replay",
    "Resumed",
    "StartNote",
    "Tail",
    "TargetNote",
    "WarningNote",
    "WorkerNote",
    "Writer",
    "before",
    "check",
    "complete",
    "describe",
    "held",
    "naming",
    "part_path",
    "parts",
    "read",
    "read_limit",
    "rebuild",
    "record_path",
    "replay",
    "replayed",
    "set_aside",
    "whole",
    "write_limit",
]
