"""The processes of one run: start them, forward what they print, end them. None is ever left behind."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from ..runtime.orphans import born
from . import _output
from .screen import Screen

GRACE = 0.5
"""Seconds to read the rest of a dead process's output, should some process of its own still hold the pipe."""

REFRESH = 0.25
"""Seconds between two refreshes of the screen."""

ROUND = 0.1
"""Seconds that one round of attention may wait."""

Steps = Sequence[tuple[float, signal.Signals]]


@dataclass(slots=True, eq=False)
class Child:
    """A process of the run, leader of a process group of its own.

    Attributes:
        name: what messages call it.
        prefix: put before each line of its output.
        asked: it got a signal from us, so how it ended says nothing about it.
        struck: it was killed because a fault script says so.
        last: what it wrote last to stderr, as shown: a line, or a traceback.
        code: its exit code, minus the signal's number when a signal ended it; ``None`` while it lives.
    """

    name: str
    prefix: str
    process: subprocess.Popen[bytes]
    asked: bool = False
    struck: bool = False
    last: str = ""
    code: int | None = None
    exited: float | None = None
    streams: dict[IO[bytes], _output.Lines] = field(default_factory=dict)
    ending: list[tuple[float, signal.Signals]] = field(default_factory=list)

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.code is None:
            return "is running"
        if self.code < 0:
            return f"was ended by {signal.Signals(-self.code).name}"
        return f"ended with exit code {self.code}"


class Crew:
    """Some processes, and a screen for what they print. A context manager: at its end all of them are gone.

    Args:
        screen: where output goes.
        clock: seconds; monotonic.
    """

    def __init__(self, screen: Screen, clock: Callable[[], float] = time.monotonic) -> None:
        self.screen = screen
        self.clock = clock
        self.children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._next_refresh = 0.0

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._selector.close()

    @property
    def alive(self) -> list[Child]:
        """The processes that have not ended."""
        return [child for child in self.children if child.code is None]

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        prefix: str = "",
        if_orphaned: signal.Signals = signal.SIGKILL,
    ) -> Child:
        """Start a process in a session of its own, so that a terminal's Ctrl-C reaches this launcher alone.

        Args:
            name: what messages call it.
            command: the program and its arguments.
            environment: all of its environment.
            prefix: put before each line of its output.
            if_orphaned: what it gets, on Linux, should this process die without a chance to end it.
        """
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=born(os.getpid(), if_orphaned),
        )
        child = Child(name, prefix, process)
        self.children.append(child)
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            child.streams[stream] = _output.Lines()
            self._selector.register(stream, selectors.EVENT_READ, (child, stream))
        return child

    # Attention ----------------------------------------------------------------------------------------------

    def attend(self, wait: float = ROUND) -> list[Child]:
        """One round: forward output, send signals that are due, refresh the screen.

        Args:
            wait: seconds, at most, to wait for something to happen.

        Returns:
            The processes found to have ended, each once, all of its output shown.
        """
        for key, _ in self._selector.select(wait):
            child, stream = key.data
            self._read(child, stream)
        now = self.clock()
        ended = [child for child in self.alive if self._look_after(child, now)]
        if now >= self._next_refresh:
            self._next_refresh = now + REFRESH
            self.screen.tick()
        return ended

    def _look_after(self, child: Child, now: float) -> bool:
        for stream, lines in child.streams.items():
            self._show(child, stream, lines.tick(now))
        if child.exited is None:
            while child.ending and child.ending[0][0] <= now:
                child.asked = True
                send(child, child.ending.pop(0)[1])
                send(child, signal.SIGCONT)  # who is stopped hears nothing
            if not _has_exited(child.process):
                return False
            child.exited = now
            # Not reaped yet, so its id still names its group and nobody else's: end what it has left behind.
            send(child, signal.SIGKILL)
        if child.streams and now - child.exited < GRACE:
            return False
        self._finish(child)
        return True

    def _read(self, child: Child, stream: IO[bytes]) -> bool:
        """Forward what there is; whether there may be more."""
        try:
            data = os.read(stream.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        if data:
            self._show(child, stream, child.streams[stream].feed(data, self.clock()))
        else:
            self._close(child, stream)
        return bool(data)

    def _close(self, child: Child, stream: IO[bytes]) -> None:
        self._selector.unregister(stream)
        self._show(child, stream, child.streams.pop(stream).end())
        stream.close()

    def _show(self, child: Child, stream: IO[bytes], blocks: list[str]) -> None:
        if blocks and stream is child.process.stderr:
            child.last = blocks[-1]
        for block in blocks:
            if not (child.asked and _output.only_interrupted(block)):
                self.screen.show(_output.prefixed(child.prefix, block), stream is child.process.stderr)

    def _finish(self, child: Child) -> None:
        for stream in list(child.streams):
            while self._read(child, stream):
                pass
            if stream in child.streams:  # something that left the group still holds the other end
                self._close(child, stream)
        child.code = child.process.wait()

    # Ending -------------------------------------------------------------------------------------------------

    def end(self, child: Child, steps: Steps) -> None:
        """End a process by signals, each sent so many seconds from now unless it has ended by then."""
        now = self.clock()
        child.ending = [(now + delay, signum) for delay, signum in steps]

    def kill(self) -> None:
        """End all processes at once, with everything that they have started. May be called more than once."""
        for child in self.alive:
            child.asked = True
            send(child, signal.SIGKILL)
        for child in self.alive:
            self._finish(child)


def send(child: Child, signum: signal.Signals) -> None:
    """Send a signal: a request to the process, which tells its own; anything harder to its whole group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if signum in (signal.SIGINT, signal.SIGUSR1):
            os.kill(child.process.pid, signum)  # not send_signal(), which might reap it
        else:
            os.killpg(child.process.pid, signum)


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None  # macOS before Python 3.13
