"""A screen that may stop taking anything, a paused terminal or a pipe that nobody reads, and holds up no process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..runtime.aside import Aside
from .screen import Screen

KEPT = 1 << 20
"""Characters that wait to be shown; when there are more, who prints waits for who reads."""

STUCK = 2.0
"""Seconds without anything being taken from which on nobody waits: what comes then is left out."""

LOOK = 0.2
"""Seconds between two looks whether the user still wants to wait."""


class Behind:
    """Shows on ``screen`` what it is told to, in a thread of its own: who tells goes on reading the run's processes.

    These would stop as soon as their pipes are full, in the middle of training, and with them all who wait for them.
    A reader that is slow is waited for, as ever; one that takes nothing is not.

    Args:
        screen: where output goes.
        asked: how often the user has asked this process to end.
    """

    def __init__(self, screen: Screen, asked: Callable[[], int] = lambda: 0) -> None:
        self._screen = screen
        self._asked = asked
        self._aside = Aside("evener-screen")
        self._room = threading.Condition()
        self._size = 0
        self._taken = 0.0
        self._left_out = 0
        self._to_tick = False

    def show(self, text: str, error: bool) -> None:
        """Show output of a process."""
        self._put(len(text), partial(self._screen.show, text, error))

    def note(self, text: str) -> None:
        """Show a message."""
        self._put(len(text), partial(self._screen.note, text))

    def follow(self, record: Path) -> None:
        """Read the run's progress from ``record``."""
        self._aside.do(partial(self._screen.follow, record))

    def unfollow(self) -> None:
        """The run has ended; until it is shown."""
        self._aside.do(self._screen.unfollow)
        self.finish()

    def tick(self) -> None:
        """Refresh, unless that is still to be done."""
        self._raise()
        if not self._to_tick:
            self._to_tick = True
            self._aside.do(self._tick)

    def finish(self) -> None:
        """Wait until all is shown, or the user asks (again) to end."""
        before = self._asked()
        while not self._aside.wait(LOOK) and self._asked() == before:
            pass
        self._raise()

    def _tick(self) -> None:
        self._to_tick = False  # first: what happens from here on may not be seen
        self._screen.tick()

    def _put(self, size: int, show: Callable[[], None]) -> None:
        self._raise()
        with self._room:
            if not self._size:
                self._taken = time.monotonic()
            while self._size > KEPT:
                if time.monotonic() - self._taken > STUCK:
                    self._left_out += 1
                    return
                self._room.wait(LOOK)
            self._size += size
            missing, self._left_out = self._left_out, 0
        if missing:
            self._aside.do(partial(self._screen.note, f"{missing} lines are left out here: nobody took them."))
        self._aside.do(partial(self._shown, size, show))

    def _shown(self, size: int, show: Callable[[], None]) -> None:
        try:
            show()
        finally:
            with self._room:
                self._size -= size
                self._taken = time.monotonic()
                self._room.notify()

    def _raise(self) -> None:
        """What went wrong with showing is for who tells, as it would be without a thread."""
        if self._aside.error is not None:
            raise self._aside.error
