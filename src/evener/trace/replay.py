"""Replay: the recorded events, fed to a fresh coordinator, must bring the recorded commands."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from .policies import rebuild
from .reader import as_lines, naming
from .schema import BrokenLine, End, EndLine, EventLine, Header, HeaderLine, Line, RecordError


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event that was answered differently; ``number`` counts events from 1, ``line`` the record's lines."""

    number: int
    line: int
    t: float
    event: e.Event
    recorded: list[c.Command]
    replayed: list[c.Command]

    def __str__(self) -> str:
        at = next(
            (i for i, (a, b) in enumerate(zip(self.recorded, self.replayed, strict=False)) if a != b),
            min(len(self.recorded), len(self.replayed)),
        )
        was, now = (str(said[at]) if at < len(said) else "nothing" for said in (self.recorded, self.replayed))
        return (
            f"line {self.line}, event {self.number} at {self.t:.6f} s, {self.event}: as command {at + 1} "
            f"the record says {was}, the replay {now}"
        )


class Replay:
    """The incremental form of :func:`replay`: feed it lines until there is a difference.

    Attributes:
        events, commands: how many were fed, and how many were the same.
        seconds: of the record, up to the last event.
        difference: the first one, if any.
        header, end: the record's, if it has them.
        broken: the number of a last line that was cut short.
    """

    def __init__(self) -> None:
        self.events = self.commands = 0
        self.seconds = 0.0
        self.difference: Difference | None = None
        self.header: Header | None = None
        self.end: End | None = None
        self.broken: int | None = None
        self._line = 0
        self._coordinator: Coordinator | None = None

    def feed(self, line: Line) -> bool:
        """Take the next line; whether all agrees so far.

        Raises:
            RecordError: as :func:`replay` does.
        """
        self._line += 1
        match line:
            case HeaderLine(_, header):
                self.header = header
                self._coordinator = _fresh(header)
            case EventLine(t, event, recorded):
                self._compare(t, event, recorded)
            case BrokenLine(number, why, truncated):
                if not truncated:
                    raise RecordError(
                        f"it cannot be read ({why}), and what follows depends on it: replay it as it was written",
                        line=number,
                    )
                self.broken = number
            case EndLine(_, end):
                self.end = end
            case _:
                pass
        return self.difference is None

    def _compare(self, t: float, event: e.Event, recorded: list[c.Command]) -> None:
        if self._coordinator is None:
            raise RecordError("a record cannot be replayed without its header", line=self._line)
        self.events += 1
        self.seconds = t
        try:
            replayed = self._coordinator.handle(event, t)
        except Exception as error:  # the core trusts who drives it, and this record may have been through anything
            raise RecordError(
                f"the core cannot take {event} here ({error!r}): lines are missing, in another order, or damaged, or "
                "the core has a fault; evener.trace.check() tells which",
                line=self._line,
            ) from error
        if replayed == recorded:
            self.commands += len(recorded)
        else:
            self.difference = Difference(self.events, self._line, t, event, recorded, replayed)


def _fresh(header: Header) -> Coordinator:
    """The coordinator of the recorded run, before its first event."""
    policy = rebuild(header.policy)
    try:
        return Coordinator(header.settings, policy, header.resumed.standing if header.resumed else None)
    except ValueError as error:
        raise RecordError(f"the record's settings do not fit this version: {error}", line=1) from error


def replay(record: str | os.PathLike[str] | Iterable[Line]) -> Difference | None:
    """Feed a recorded run to a fresh coordinator; the first difference, or ``None`` if there is none.

    A record that was cut short is replayed as far as it goes.

    Raises:
        RecordError: it has no header, a line in its middle cannot be read, or its policy is unknown here.
    """
    return replayed(record).difference


def replayed(record: str | os.PathLike[str] | Iterable[Line]) -> Replay:
    """As :func:`replay`, with the account of what was fed."""
    again = Replay()
    with naming(record):
        for line in as_lines(record):
            if not again.feed(line):
                break
    return again
