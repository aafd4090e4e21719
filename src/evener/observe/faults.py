"""What went wrong in a run, and what became of it, in words."""

from __future__ import annotations

from typing import NamedTuple

from ..core import commands as c
from ..core import events as e
from ..trace import BrokenLine, EndLine, EventLine, HeaderLine, Line, NoteLine, WarningNote
from . import words

MOST = 200
"""Faults kept in words; of further ones, how many of each kind there were."""


class Fault(NamedTuple):
    """At ``t`` s, a thing of this ``kind`` happened; ``worker`` -1: to none in particular."""

    t: float
    kind: str
    worker: int
    text: str


class Faults:
    """Follows a record.

    Attributes:
        kept: the first of them.
        counts: how many there were, by kind.
        broken: number of the first line that could not be read, and why. Of a record that ends within its last line,
            that line.
    """

    def __init__(self) -> None:
        self.kept: list[Fault] = []
        self.counts: dict[str, int] = {}
        self.broken: tuple[int, str] | None = None
        self._here: set[int] = set()
        self._known: set[int] = set()
        self._over = False

    def feed(self, line: Line) -> None:
        """Take the next line."""
        match line:
            case EventLine(t, event, commands) if not self._over:
                self._hear(t, event)
                for command in commands:
                    self._obey(t, command, event)
            case NoteLine(t, WarningNote(text=text)):
                self._add(t, "warning", -1, text)
            case HeaderLine(t, header) if header.resumed is not None:
                self._over = False
                self._here.clear()
                self._known.clear()
                again = f"the server was lost, and the run went on from checkpoint {header.resumed.checkpoint}"
                self._add(t, "resumed", -1, f"{again} (version {header.resumed.standing.version})")
            case EndLine(t, end) if not end.ok:
                self._add(t, "ended", -1, f"the run ended early: {end.reason}")
            case BrokenLine(number, why):
                self.broken = self.broken or (number, why)
            case _:
                pass

    def _hear(self, t: float, event: e.Event) -> None:
        match event:
            case e.Joined(worker):
                if worker in self._known:
                    self._add(t, "came back", worker, f"worker {worker} came back")
                self._known.add(worker)
                self._here.add(worker)
            case e.Left(worker, reason) if worker in self._here:
                self._here.discard(worker)
                self._add(t, "left", worker, f"worker {worker} left: {reason}")
            case _:
                pass

    def _obey(self, t: float, command: c.Command, event: e.Event) -> None:
        match command:
            case c.Discard(worker, _, why, samples, refused) if samples:
                fate = "its samples count as refused" if refused else "its samples were handed out again"
                what = (
                    f"a contribution of worker {worker} ({words.count(samples, 'sample')}) was not used: {why}; {fate}"
                )
                self._add(t, "refused" if refused else "discarded", worker, what)
            case c.SitOut(worker, why):
                text = f"worker {worker} sits out: {why}" if why else f"worker {worker} takes part again"
                self._add(t, "sits out" if why else "takes part", worker, text)
            case c.Warn(_, text):
                self._add(t, "warning", -1, text)
            case c.Returned(ticket, why) if isinstance(event, e.Tick):
                self._add(t, "given up", -1, f"ticket {ticket} was given up and handed out again: {why}")
            case c.Moved(ticket, step):
                self._add(t, "late", -1, f"ticket {ticket} was late and counted for step {step} instead")
            case c.Hold(_, waiting):
                what = words.count(waiting, "snapshot")
                self._add(t, "held", -1, f"the next epoch waited: the script had {what} to take")
            case c.Finish():
                self._over = True
            case _:
                pass

    def _add(self, t: float, kind: str, worker: int, text: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(self.kept) < MOST:
            self.kept.append(Fault(t, kind, worker, text))
