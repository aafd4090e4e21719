"""How a run ends, be it here, on several machines or on Ray: who gets how long, and what is said of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from ..trace import record_path
from .crew import Child, Steps
from .resuming import checkpointed

WORKERS_FAREWELL = 10.0
"""Seconds that workers get to end by themselves once the server has."""

LAST_WORD = 2.0
"""Seconds that the server gets, after the last worker is gone, to write that the run is over."""

# The server is asked first: it tells the workers and closes the record. All of this fits into three seconds.
STOP_SERVER: Steps = ((0.0, signal.SIGINT), (2.1, signal.SIGTERM), (2.4, signal.SIGKILL))
STOP_WORKER: Steps = ((0.4, signal.SIGINT), (1.5, signal.SIGTERM), (1.8, signal.SIGKILL))
STOP_NOW: Steps = ((0.0, signal.SIGINT), (1.0, signal.SIGTERM), (1.4, signal.SIGKILL))

# Who ends a machine gives notice: time for the server's last checkpoint.
LEAVE_SERVER: Steps = ((0.0, signal.SIGINT), (22.0, signal.SIGTERM), (22.3, signal.SIGKILL))

# Nobody is waiting at a keyboard: the server may finish what it is doing.
CLOSE_SERVER: Steps = ((0.0, signal.SIGINT), (10.0, signal.SIGTERM), (12.0, signal.SIGKILL))
FAREWELL: Steps = tuple((WORKERS_FAREWELL + delay, signum) for delay, signum in STOP_NOW)

NEVER_JOINED = (
    "{script} ended without calling evener.join() and session.prepare(...), so every process ran it alone "
    "and nothing was shared. Call session = evener.join(), then "
    "model, optimizer, loader = session.prepare(model, optimizer, loader), and train in "
    "'for epoch in session.epochs(n):'."
)


def to_stop_a_server(folder: Path, asked: signal.Signals) -> Steps:
    """How a server ends that the signal ``asked`` to: after a last checkpoint, if it takes any; not for Ctrl-C."""
    return LEAVE_SERVER if asked != signal.SIGINT and checkpointed(folder) else STOP_SERVER


def see_above(child: Child) -> str:
    """Where to look for why a process failed, if it said so; empty: it was killed, or did not fail."""
    return " What it printed is above." if (child.code or 0) > 0 else ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run went.

    Attributes:
        code: exit code: 0; 1 when some process failed; 2 when the script never took part; 128 + the number
            of the signal that ended the run.
        run: the run's id.
        folder: where its record is.
        problems: what went wrong, in words; already shown.
        began: the server wrote a record; one that is there may be of the run that was to go on.
    """

    code: int
    run: str
    folder: Path
    problems: tuple[str, ...] = ()
    began: bool = True

    @property
    def record(self) -> Path | None:
        """The run's record, if the server wrote one."""
        path = record_path(self.folder)
        return path if self.began and path.exists() else None
