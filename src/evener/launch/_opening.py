"""How every run begins: checked first, then a name and a folder, and from there on signals are only noted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..trace import record_path
from . import folders
from ._signals import Signals
from .behind import Behind
from .crew import Crew
from .screen import Plain, Screen


class Asked(Protocol):
    """What a run is asked to be."""

    @property
    def record(self) -> Path | None:
        """Folder for its record."""

    def check(self) -> None:
        """Find out what can be found out before anything is started."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A run that may start its processes: its name, its folder, and what it is shown on."""

    name: str
    folder: Path
    screen: Screen
    signals: Signals

    @contextmanager
    def crew(self) -> Iterator[Crew]:
        """Its processes; meanwhile the screen follows what they write into the record."""
        self.screen.follow(record_path(self.folder))
        try:
            with Crew(self.screen) as crew:
                yield crew
        finally:
            self.screen.unfollow()


@contextmanager
def opened(asked: Asked, screen: Screen | None, name: str = "", signals: Signals | None = None) -> Iterator[Opened]:
    """Check, and make the folder; ``screen`` is by default one that shows output as the processes print it.

    ``name`` is that of a run that has one already, ``signals`` what may ask it to end beside this process's own.

    Raises:
        LaunchError: the run cannot be started; nothing was.
    """
    asked.check()
    name = name or folders.new_run_id()
    with signals or Signals() as signals:
        behind = Behind(screen or Plain(), lambda: len(signals.received))
        try:
            yield Opened(name, folders.make(name, asked.record).resolve(), behind, signals)
        finally:
            behind.finish()
