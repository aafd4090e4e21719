"""Writes checkpoints in a thread of its own, so that nothing waits for a disk, be it slow, full or gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from .keeping import Keeper
from .sealed import Body

QUIET = 600.0
"""Seconds in which a disk that keeps failing is not complained of again."""

Make = Callable[[], tuple[bytes, Body]]
"""Gives a checkpoint's header, and what writes its body; called in the thread, where it is written, too."""

Written = Callable[[int, Path, float, float], None]
"""Told of each checkpoint that is whole: its number, its file, and what it took: seconds, and CPU seconds."""


class Scribe:
    """Writes one checkpoint at a time.

    Args:
        keeper: of the folder.
        warn: told in words what the user should know; called in the thread.
        clock: seconds; monotonic.
        note: told of what was written; called in the thread.

    Attributes:
        written: number of the newest checkpoint that is whole; 0: none yet.
        cpu_s: CPU seconds that the last one took, whole or not; 0: none yet.
    """

    def __init__(
        self,
        keeper: Keeper,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        note: Written = lambda *_: None,
    ) -> None:
        self.written = 0
        self.cpu_s = 0.0
        self._keeper = keeper
        self._warn = warn
        self._clock = clock
        self._note = note
        self._thread: threading.Thread | None = None
        self._failed = False
        self._complained: float | None = None

    @property
    def busy(self) -> bool:
        """One is being written."""
        return self._thread is not None and self._thread.is_alive()

    def write(self, number: int, make: Make) -> None:
        """Begin to write a checkpoint. Only when not :attr:`busy`."""
        # A daemon: a file system that hangs must not keep the process from ending.
        thread = threading.Thread(target=self._write, args=(number, make), name="evener-checkpoint", daemon=True)
        thread.start()  # first: others may wait for it
        self._thread = thread

    def wait(self, seconds: float) -> bool:
        """Wait for what is being written; whether nothing is any more."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.busy

    def late(self) -> None:
        """A checkpoint is due while another is being written: it is left out."""
        self.complain("a checkpoint was left out: the one before is still being written. The disk is slow, or hangs.")

    def _write(self, number: int, make: Make) -> None:
        began, cpu = time.monotonic(), time.thread_time()
        try:
            path = self._keeper.write(number, *make())
        except Exception as error:
            self._failed = True
            why = error.strerror if isinstance(error, OSError) and error.strerror else f"{error!r}"
            self.complain(
                f"checkpoint {number} could not be written into {self._keeper.folder} ({why}): training goes on, and "
                "those before are kept. Make room there, or the run cannot be resumed from here."
            )
            return
        finally:
            self.cpu_s = time.thread_time() - cpu
        self.written = number
        self._note(number, path, time.monotonic() - began, self.cpu_s)
        if self._failed:
            self._failed, self._complained = False, None
            self._warn(f"checkpoints are written again: number {number} is whole.")

    def complain(self, text: str) -> None:
        """Tell the user, unless that was done lately."""
        now = self._clock()
        if self._complained is None or now - self._complained >= QUIET:
            self._complained = now
            self._warn(text)
