"""Who may take part at this moment: the folder of allowed keys, read in a thread of its own.

The disk that it lies on may be slow, or hang: neither training nor the handshakes of who is known wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .keys import ALLOWED, KeysError, ServerKeys

EVERY = 0.5
"""Seconds from one look at the folder to the next."""

PATIENCE = 2.0
"""Seconds that a handshake waits for a look that began after it did; then the one before counts."""

HANGS, QUIET = 10.0, 600.0
"""Seconds that a look may take before the user is told, and between two times that he is."""

SETTLED = 10.0
"""Seconds for which the folder has been read again before he is told: it may come and go."""


class Allowed:
    """Whose keys are in the folder.

    Args:
        keys: of the server.
        clock: seconds, of no certain beginning.

    Attributes:
        known: public key → name, as of the last look that told. Replaced, never changed.

    Raises:
        KeysError: the folder cannot be read.
    """

    def __init__(self, keys: ServerKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self.known = keys.allowed()
        self._keys = keys
        self._clock = clock
        self._change = threading.Condition()
        self._asked = self._done = 0
        self._began: float | None = None  # the look that is under way
        self._why = ""
        self._told: float | None = None
        self._well: float | None = None  # since when it is read again, while the user believes that it is not
        self._closed = False
        # A daemon: a disk that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name="evener-allowed", daemon=True).start()

    def look(self) -> dict[str, str]:
        """Who is allowed now; as far as was known before, where the disk does not say so in :data:`PATIENCE` s."""
        with self._change:
            self._asked += 1
            number, now = self._asked, self._clock()
            self._change.notify_all()
            left = PATIENCE - (now - self._began if self._began is not None else 0.0)
            self._change.wait_for(lambda: self._done >= number or self._closed, max(0.0, left))
            return self.known

    def trouble(self) -> str:
        """What the user must be told, if anything. To be asked every second or so."""
        with self._change:
            now, why = self._clock(), self._why
            if self._began is not None and now - self._began >= HANGS:
                why = f"{self._keys.folder / ALLOWED} cannot be read: the disk is slow, or hangs."
            if not why:
                if self._told is None:
                    return ""
                self._well = now if self._well is None else self._well
                if now - self._well < SETTLED:
                    return ""
                self._told = self._well = None
                return f"{self._keys.folder / ALLOWED} is read again."
            self._well = None
            if self._told is not None and now - self._told < QUIET:
                return ""
            self._told = now
            return f"{why} Who was allowed still is; no key is let in or taken back until it is read again."

    def close(self) -> None:
        """Look no more."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._asked > self._done, EVERY)
                if self._closed:
                    return
                number, self._began = self._asked, self._clock()
            try:
                found, why = self._keys.allowed(), ""
            except KeysError as error:
                found, why = self.known, str(error)
            with self._change:
                self.known, self._why, self._done, self._began = found, why, number, None
                self._change.notify_all()
