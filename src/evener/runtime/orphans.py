"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_SET_PARENT_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def born(parent: int, if_orphaned: signal.Signals) -> Callable[[], None]:
    """What a child does before it becomes its program: on Linux, ask for a signal should ``parent`` die."""

    def prepare() -> None:
        # A shell's background job ignores Ctrl-C, Ray's processes block it, and both hand that down; but SIGINT is how
        # we ask to stop.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        # It asks a server for a checkpoint, and must not end one that is only about to begin.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if _LIBC is not None:
            _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, int(if_orphaned))
            if os.getppid() != parent:  # it died before it could be asked for
                os._exit(1)

    return prepare
