"""Signals as something to look at, rather than something that happens in the middle of anything."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

AGAIN = 5.0
"""Seconds within which one SIGTERM after another says nothing new: Linux tells the child of a process that was killed
once for each thread that this had, and nobody asked twice."""

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, the signals that ask this process to end are noted in ``received`` and do nothing else.

    SIGTERM after SIGTERM counts once, unless it is :data:`AGAIN` s later.

    Outside the main thread no handlers can be set; there it notes nothing.

    Attributes:
        wanted: how often SIGUSR1 asked for a checkpoint.
    """

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self.wanted = 0
        self._last: float | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for signum in _HEARD:
                # A program under nohup is to outlive its terminal.
                if not (signum == signal.SIGHUP and signal.getsignal(signum) == signal.SIG_IGN):
                    self._before[signum] = signal.signal(signum, self._hear)
            self._before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._want)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        now, last = time.monotonic(), self._last
        if signum == signal.SIGTERM:
            self._last = now
            if last is not None and now - last < AGAIN:
                return
        self.received.append(signal.Signals(signum))

    def _want(self, signum: int, frame: FrameType | None) -> None:
        self.wanted += 1

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ended because of the first of them; 0 if there was none."""
        return 128 + self.received[0] if self.received else 0
