"""What runs in Ray's processes: ``evener serve`` and ``evener join``, and the keys between them. Ray does the rest."""

from __future__ import annotations

import os
import signal
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..runtime import keys
from ._signals import Signals
from .ending import RunResult
from .hosts import JoinOptions, ServeOptions, join, serve
from .options import LaunchError
from .resuming import checkpointed, to_resume
from .screen import Plain

DOOR = "door"
"""The concurrency group in which the server's actor answers while it serves."""

WAIT = 600.0
"""Seconds that a worker waits for the server to listen: its script may have a data set to load first."""

KILLED = 128
"""Exit codes above it name the signal that ended a process."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run is told. Nothing of it is secret.

    Attributes:
        address: ``HOST:PORT`` of the server.
        key: the server's public key, by which a worker knows it.
        folder: the server's keys; a path on its machine, and of no use elsewhere.
        script: the path of the script on every node; relative: to the folder that Ray has brought there.
        arguments: the script's.
    """

    address: str
    key: bytes
    folder: Path
    script: Path
    arguments: tuple[str, ...]


class Server:
    """The actor that serves. Its methods run in threads, which hear no signals."""

    def __init__(self) -> None:
        self._signals = Signals()

    def __repr__(self) -> str:
        return "server"  # Ray puts it before each line that comes from here

    def serve(self, options: ServeOptions) -> RunResult:
        """Serve until the end of the run; where one was lost before, be it this one, from the newest checkpoint.

        Ray calls it again then, in a new process. A script that a signal has ended takes this process with it.
        """
        assert options.record is not None
        if checkpointed(options.record):
            options = replace(options, resume=to_resume(options.record))
        result = serve(options, _Silent(), self._signals)
        if result.code > KILLED and not self._signals.received and checkpointed(result.folder):
            os._exit(1)
        return result

    def admit(self, folder: Path, name: str, public: bytes) -> None:
        """Let a worker take part with this key, and no longer with the one that its predecessor had."""
        keys.allow(folder, name, public)

    def stop(self) -> None:
        """End the run, as Ctrl-C does where the server has a terminal."""
        self._signals.received.append(signal.SIGINT)


class Worker:
    """An actor that works. Ray makes it anew, on whatever node has room, when it or its node is lost.

    Args:
        name: of its key.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def work(self, server: Any, job: Job) -> int:
        """Work until the end of the run; returns the script's exit code.

        Each life of a worker makes a key of its own and hands out the public part. A script that a signal has
        ended takes this process with it: then it is Ray's to start another.

        Raises:
            LaunchError: it cannot work here; another try would not help.
        """
        import ray

        script = job.script.absolute()
        if not script.is_file():
            raise LaunchError(
                f"there is no {script} on this node. Each node needs the script and its data: by a shared "
                "folder, an image that has them, or 'ray job submit --working-dir FOLDER'."
            )
        with tempfile.TemporaryDirectory(prefix="evener-") as own:
            folder = Path(own) / self._name
            public = keys.make_worker(folder, self._name, job.key)
            door = server.admit.options(concurrency_group=DOOR)
            ray.get(door.remote(job.folder, self._name, public))
            options = JoinOptions(address=job.address, script=script, keys=folder, arguments=job.arguments, wait=WAIT)
            code = join(options)
        if code > KILLED:
            os._exit(1)
        return code


class _Silent(Plain):
    """Who is served is told by the run's record; what went wrong, by the result."""

    def note(self, text: str) -> None:
        """Say nothing."""
