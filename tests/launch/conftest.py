"""Stand-in scripts: what a script's processes look like to a launcher, without torch."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evener.core.standing import Standing
from evener.core.state import Settings
from evener.runtime import keeping
from evener.runtime.keeping import Head, Keeper
from evener.runtime.place import Place, PolicyChoice

PRELUDE = """
import json, os, signal, socket, subprocess, sys, time
place = json.loads(os.environ["EVENER_PLACE"])
role, index = place["role"], place.get("index", -1)
server, worker = role == "server", role == "worker"

def record(line='{"t":0.0}'):
    with open(os.path.join(place["record"], "record.jsonl"), "a") as file:
        file.write(line + "\\n")

def listen():
    # As a server does that waits for workers.
    host, _, port = place["address"].removeprefix("tcp://").rpartition(":")
    return socket.create_server((host, int(port)))

def for_ever():
    door = listen() if server else None
    while True:
        signal.pause()

def wait_for(name):
    # A pipe beside the script: one process opens it to read, another to write, and both go on.
    open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name)).read()

def let(name):
    open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), "w").close()

"""

FINISHED = '{"t":1.0,"event":{"type":"Tick"},"commands":[{"type":"Finish","reason":"complete","ok":true}]}'

Script = Callable[[str], Path]

PLACE = Place(
    "server",
    "tcp://127.0.0.1:45123",
    "token of the run",
    "the-run",
    workers=2,
    policy=PolicyChoice("stale", {"bound": 2}),
)


def keep(folder: Path, number: int = 1, **changes: Any) -> None:
    """Leave a checkpoint as a server would."""
    head = Head(
        evener=keeping.metadata.version("evener"),
        number=number,
        created="",
        place=PLACE,
        settings=Settings(batch=32, epochs=1),
        entries=[],
        positions=64,
        data="",
        standing=Standing(version=7),
        ended=[],
        part=1,
        epoch=0,
        targets={},
    )
    Keeper(folder).write(number, keeping.encode(msgspec.structs.replace(head, **changes)), lambda out: None)


class Kept:
    """A screen that keeps what it is shown."""

    def __init__(self) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self.notes: list[str] = []
        self.followed: list[Path] = []
        self.ticks = 0
        self.ended = False

    def show(self, text: str, error: bool) -> None:
        (self.err if error else self.out).append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def follow(self, record: Path) -> None:
        self.followed.append(record)

    def unfollow(self) -> None:
        self.ended = True

    def tick(self) -> None:
        self.ticks += 1


@pytest.fixture
def screen() -> Kept:
    return Kept()


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Makes a script of the given body; its run happens in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def make(body: str) -> Path:
        path = tmp_path / "script.py"
        path.write_text(PRELUDE + body)
        return path

    return make


class Launcher:
    """A launcher as a process of its own, to be interrupted and killed."""

    def __init__(self, script: Path, *arguments: str) -> None:
        command = [sys.executable, "-c", "import sys; from evener.cli import main; sys.exit(main())"]
        self.process = subprocess.Popen(
            [*command, "run", str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=script.parent,
            text=True,
            # Where the tests run under nohup this would be ignored, and rightly so.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.pids: list[int] = []

    def wait_for_pids(self, count: int) -> None:
        """Read ``pid N`` lines until so many processes have said who they are."""
        assert self.process.stdout is not None
        while len(self.pids) < count:
            line = self.process.stdout.readline()
            assert line, "the launcher ended early"
            if "pid " in line:
                self.pids.append(int(line.split("pid ")[1]))

    def end(self, signum: int) -> tuple[int, float, str]:
        """Send a signal; the exit code, the seconds it took to end, and what it said on standard error."""
        began = time.monotonic()
        self.process.send_signal(signum)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, time.monotonic() - began, err

    def survivors(self, within: float = 5.0) -> list[int]:
        """Which of the processes live on; those that are about to end get a moment."""
        return [pid for pid in self.pids if not gone(pid, within)]


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process, of whomever, has ended or does so within so many seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(handle, selectors.EVENT_READ)
            return bool(waiting.select(within))
    finally:
        os.close(handle)


@pytest.fixture
def launcher(script: Script) -> Iterator[Callable[..., Launcher]]:
    """Starts ``evener run`` on a script of the given body."""
    started: list[Launcher] = []

    def start(body: str, *arguments: str) -> Launcher:
        started.append(Launcher(script(body), *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def place_in(line: str) -> dict[str, object]:
    """The place that a stand-in printed."""
    found: dict[str, object] = json.loads(line[line.index("{") :])
    return found
