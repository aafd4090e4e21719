"""The server of a job that torchrun, Slurm or the like has started: a child of the process with rank 0."""

from __future__ import annotations

import atexit
import errno
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from . import addresses
from .engines import PORT, EngineError, Task
from .orphans import born

OPTIONS = "EVENER_SERVE"
"""Variable: further options of ``evener serve``, as in a shell."""

LEAVE = 28.0
"""Seconds that a server gets to end: time for a last checkpoint, and less than torchrun gives (30)."""

TELL = 5.0
"""Seconds that may be taken to tell that the run is over."""

FREED = 25.0
"""Seconds to wait, in a job that was begun anew, until the server of before has let its port go."""


class Hosting:
    """``evener serve`` beside this process, for as long as it lives.

    If the server fails, so does this process. If this process ends well, it waits for the server. If it fails, or is
    told to end, so is the server, which ends first: the next one needs its port, and goes on from its checkpoint.

    Args:
        task: this process's.
        keys: the server's folder of keys.
        workers: how many to expect.
        script: path and arguments.
        over: is called, in a thread, when the server has ended well.

    Raises:
        EngineError: it cannot listen there.
        addresses.AddressError: nobody knows the leader's host.
    """

    def __init__(
        self, task: Task, keys: Path, workers: int, script: Sequence[str], over: Callable[[], None] = lambda: None
    ) -> None:
        listen = task.listen
        _wait_for_port(listen, FREED if task.restart else 0.0)
        own = ["--listen", listen, "--keys", str(keys), "--workers", str(workers), *_room(task)]
        words = [script[0], *own, *shlex.split(os.environ.get(OPTIONS, "")), "--", *script[1:]]
        self._ending, self._over = False, over
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evener", "serve", *words],
            # Other processes of the job print to the same terminal: no panel that is drawn over and over.
            env={**os.environ, "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            # torchrun signals this process's whole group; the server is told once, and by this process.
            start_new_session=True,
            preexec_fn=born(os.getpid(), signal.SIGTERM),
        )
        atexit.register(self._end)
        if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._told)
        self._usual, sys.excepthook = sys.excepthook, self._failed
        self._watching = threading.Thread(target=self._watch, name="evener-hosting", daemon=True)
        self._watching.start()

    def _watch(self) -> None:
        code = self._process.wait()
        if code and not self._ending:
            _flush()
            os._exit(abs(code))  # from a thread nothing else ends the main one; the server's words are above
        if not code:
            self._over()

    def _told(self, signum: int, frame: FrameType | None) -> None:
        self._stop()
        raise SystemExit(128 + signum)

    def _failed(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._stop()
        self._usual(kind, error, trace)

    def _stop(self) -> None:
        if not self._ending:
            self._ending = True
            self._process.terminate()

    def _end(self) -> None:
        """At exit: the server ends first."""
        try:
            code = self._process.wait(LEAVE if self._ending else None)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return
        if code and not self._ending:
            _flush()
            os._exit(abs(code))
        self._watching.join(TELL)


def _room(task: Task) -> list[str]:
    """Where the run's folder is: under the job's name, if no other job has it. Then a restart goes on with it."""
    return ["--record", str(Path("runs") / task.job), "--go-on"] if task.unique else []


def folder(task: Task) -> str:
    """The run's folder, as far as a process of the job can know it; empty: it cannot."""
    words = [] if task.elsewhere else [*_room(task), *shlex.split(os.environ.get(OPTIONS, ""))]
    chosen = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--record"]
    return str(Path(chosen[-1]).resolve()) if chosen else ""


def _wait_for_port(listen: str, seconds: float) -> None:
    """Raise unless a server can listen there, or could within so many seconds."""
    host, port = addresses.split(listen)
    until = time.monotonic() + seconds
    while True:
        try:
            addresses.try_listening(host, port)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise EngineError(
                    f"the server of this job cannot listen on {listen}: {error.strerror or error}. Does this job "
                    f"have a server already, or another job the same port? Set {PORT} to another in all its processes."
                ) from None
        time.sleep(0.2)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
