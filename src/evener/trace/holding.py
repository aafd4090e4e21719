"""Is somebody writing this record? Its writer holds a lock on it for as long as its process lives.

A process id would not do: ids are used again, mean nothing on another host or in another container, and a simulated
run's record holds nothing of the real world. A lock is gone with its process, however that ended.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows: there nobody can tell
    fcntl = None  # type: ignore[assignment]


def hold(file: BinaryIO) -> None:
    """Hold an open record until it is closed, or this process and those that it forked have ended."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks: nobody can tell, and the run goes on
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def hold_or_fail(file: BinaryIO) -> bool:
    """As :func:`hold`; false: another process holds it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def held(record: Path) -> bool | None:
    """Whether a process is writing ``record``; ``None``: that cannot be told here.

    To be asked when its header can be read: the writer holds it from before that on, and meets no other lock then.
    """
    if fcntl is None:
        return None
    try:
        with record.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False
