"""Replay: the recorded events, fed to a fresh coordinator, must bring the recorded commands."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from .policies import rebuild
from .reader import as_lines
from .schema import BrokenLine, EventLine, HeaderLine, Line, RecordError


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event that was answered differently; ``number`` counts events from 1."""

    number: int
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
        return f"event {self.number} at {self.t:.6f} s, {self.event}: the record says {was}, the replay {now}"


def replay(record: str | os.PathLike[str] | Iterable[Line]) -> Difference | None:
    """Feed a recorded run to a fresh coordinator; the first difference, or ``None`` if there is none.

    A record that was cut short is replayed as far as it goes.

    Raises:
        RecordError: it has no header, a line in its middle cannot be read, or its policy is unknown here.
    """
    coordinator: Coordinator | None = None
    number = 0
    for line in as_lines(record):
        match line:
            case HeaderLine(_, header):
                coordinator = Coordinator(header.settings, rebuild(header.policy))
            case EventLine(t, event, recorded):
                if coordinator is None:
                    raise RecordError("a record cannot be replayed without its header")
                number += 1
                replayed = coordinator.handle(event, t)
                if replayed != recorded:
                    return Difference(number, t, event, recorded, replayed)
            case BrokenLine(at, why, truncated) if not truncated:
                raise RecordError(f"the record cannot be replayed: line {at} cannot be read ({why})")
            case _:
                pass
    return None
