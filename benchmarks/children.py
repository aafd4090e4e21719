"""Processes that do not outlive this one, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_SET_PARENT_DEATH_SIGNAL = 1


def dies_with_us(signum: signal.Signals, first: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """What a child does before it becomes its program: ask the kernel for ``signum`` at this process's death.

    Args:
        signum: what it gets.
        first: what else it does.
    """
    us = os.getpid()
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_SET_PARENT_DEATH_SIGNAL, int(signum))
        if os.getppid() != us:  # we died before it could be asked for
            os._exit(1)
        first()

    return prepare
