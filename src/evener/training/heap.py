"""Memory that was freed, kept for the next micro-batch.

glibc gives what lies free at the end of its heap back to the system, and takes large blocks from the system one by one.
Micro-batches of changing size make it do so again and again, and every page that comes back is cleared and mapped anew:
some hundred page faults in each forward pass, which cost a small CNN a tenth of its speed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

MMAP_THRESHOLD = 32 * 2**20
"""Bytes from which a block comes from the system directly; glibc takes no more than this."""

KEPT = 2**30
"""Bytes of free memory that stay with the process, at most."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names of glibc's ``mallopt``."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell glibc's ``malloc`` to keep up to :data:`KEPT` bytes that are free; returns whether it does.

    Nothing is done where the user has set up ``malloc`` already (``MALLOC_…_`` or ``GLIBC_TUNABLES``), and where it is
    not glibc's.
    """
    chosen = any(name.startswith("MALLOC_") and name.endswith("_") for name in environment)
    if chosen or "glibc.malloc" in environment.get("GLIBC_TUNABLES", "") or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, KEPT))
