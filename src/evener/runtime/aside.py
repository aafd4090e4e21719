"""Done in order, by a thread of its own: what may block for as long as somebody likes, as printing may."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class Aside:
    """Does what it is given, one after the other. Its thread lasts while there is something to do.

    Args:
        name: of the thread.

    Attributes:
        error: the first that came of what was done, if any; the rest was done all the same.
    """

    def __init__(self, name: str) -> None:
        self.error: Exception | None = None
        self._name = name
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], object]] = deque()
        self._busy = False

    def do(self, action: Callable[[], object]) -> None:
        """Have this done, after all before it. Never blocks."""
        with self._changed:
            self._waiting.append(action)
            if not self._busy:
                self._busy = True
                # A daemon: what blocks for ever must not keep the process from ending.
                threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait until all is done, for so long at most; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, seconds)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._busy = False
                    self._changed.notify_all()
                    return
                action = self._waiting.popleft()
            try:
                action()
            except Exception as error:
                self.error = self.error or error
