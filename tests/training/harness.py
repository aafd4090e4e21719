"""Runs of real processes: a server and workers of a small script, their outputs, and the record."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest
import torch

from evener.core import commands as c
from evener.runtime.place import Place, PolicyChoice
from evener.trace import Accounting, EndLine, EventLine, Line, LogNote, NoteLine, Tail, check, read, replay

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds after which a run is taken to hang."""


def readable(handle: int, within: float) -> bool:
    """Whether there is something to read, within so many seconds. ``select()`` refuses handles above 1023."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(handle, selectors.EVENT_READ)
        return bool(waiting.select(within))


class Forge:
    """Starts processes that have imported torch already; see ``forge.py``."""

    def __init__(self) -> None:
        self.exits: dict[int, int] = {}
        self._rest = b""
        self._started: list[int] = []
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forge.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **one_thread, "PYTHONPATH": str(HERE.parent)},
        )

    def start(self, script: Path, name: str, arguments: Sequence[str], environment: dict[str, str]) -> int:
        """Start ``script`` in its folder; returns the process id."""
        order = {"script": str(script), "name": name, "arguments": [*arguments], "environment": environment}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({**order, "folder": str(script.parent)}).encode() + b"\n")
        self._process.stdin.flush()
        self.hear(lambda: bool(self._started), PATIENCE)
        return self._started.pop()

    def hear(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Take news of starts and exits until there is enough, or time is up; returns which."""
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        while not enough():
            if not readable(self._process.stdout.fileno(), max(0.0, until - time.monotonic())):
                return False
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, "the forge is gone"
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                match json.loads(line):
                    case ["started", pid]:
                        self._started.append(pid)
                    case ["ended", pid, code]:
                        self.exits[pid] = code
                    case ["ready", threads]:
                        assert threads == 1, "a process with threads must not fork"
        return True

    def close(self) -> None:
        self._process.communicate(timeout=10)


class Run:
    """One run: a script, its server and its workers.

    Args:
        forge: starts the processes.
        folder: theirs; also holds what they leave.
        body: of the script; see ``kit.py`` for what it may use.
        place: what all places have in common.
    """

    def __init__(self, forge: Forge, folder: Path, body: str, place: Place) -> None:
        self.folder = folder
        self.place = place
        self.pids: dict[str, int] = {}
        self.script = folder / "script.py"
        self.script.write_text("from training.kit import *\n" + dedent(body))
        self._forge = forge
        self._gates: dict[str, int] = {}
        self._tail = Tail(folder / "record")
        self._seen: list[Line] = []

    def server(self, *arguments: str, **changes: Any) -> None:
        """Start the server."""
        changes = {"role": "server", "record": str(self.folder / "record"), **changes}
        self._start("server", arguments, msgspec.structs.replace(self.place, **changes))

    def worker(self, index: int, *arguments: str, **changes: Any) -> None:
        """Start a worker; ``changes`` are of its place."""
        self._start(f"worker{index}", arguments, msgspec.structs.replace(self.place, index=index, **changes))

    def alone(self, *arguments: str, name: str = "alone") -> None:
        """Start the script without a launcher; a ``name`` of its own lets several run."""
        self._start(name, arguments, None)

    def _start(self, name: str, arguments: Sequence[str], place: Place | None) -> None:
        environment = place.environment() if place else {"EVENER_PLACE": ""}
        self.pids[name] = self._forge.start(self.script, name, arguments, environment)

    # Gates: pipes that this process keeps open, so that a token is not lost when nobody waits yet -----------

    def gate(self, *names: str) -> None:
        """Make gates, before the processes start."""
        for name in names:
            os.mkfifo(self.folder / name)
            self._gates[name] = os.open(self.folder / name, os.O_RDWR)

    def let(self, gate: str, times: int = 1) -> None:
        """Let so many processes pass."""
        os.write(self._gates[gate], b"." * times)

    def wait_for(self, gate: str) -> None:
        """Wait until a process has said ``let``."""
        assert readable(self._gates[gate], PATIENCE), self.told(f"nobody said {gate}")
        os.read(self._gates[gate], 1)

    def read_anew(self) -> None:
        """The record begins anew: a server has gone on from a checkpoint."""
        self._tail.close()
        self._tail, self._seen = Tail(self.folder / "record"), []

    # Waiting ------------------------------------------------------------------------------------------------

    def wait(self, *names: str, seconds: float = PATIENCE) -> dict[str, int]:
        """Wait for these processes (all, if none is named) to end; returns all exit codes so far by name."""
        wanted = {self.pids[name] for name in names or self.pids}
        ended = self._forge.hear(lambda: wanted <= self._forge.exits.keys(), seconds)
        assert ended, self.told("they do not end")
        return {name: self._forge.exits[pid] for name, pid in self.pids.items() if pid in self._forge.exits}

    def succeed(self) -> None:
        """Wait for all to end, and well."""
        codes = self.wait()
        assert set(codes.values()) == {0}, self.told("not all ended well")

    def wait_line(self, wanted: Callable[[Line], bool], count: int = 1, seconds: float = PATIENCE) -> None:
        """Wait until the record has ``count`` such lines."""
        until = time.monotonic() + seconds
        server = self.pids["server"]
        ended = False
        while True:
            self._seen += self._tail.lines()
            if sum(map(wanted, self._seen)) >= count:
                return
            assert not ended, self.told("the server ended and the record does not say it")
            assert time.monotonic() < until, self.told("the record never says it")
            # A file tells nobody that it grew: look again in a moment, or when its writer ends.
            ended = self._forge.hear(lambda: server in self._forge.exits, 0.02)

    def signal(self, name: str, signum: int) -> None:
        """Send a signal to a process."""
        os.kill(self.pids[name], signum)

    def close(self) -> None:
        """Kill what still runs, and everything it started."""
        for pid in self.pids.values():
            if pid not in self._forge.exits:
                os.killpg(pid, signal.SIGKILL)
        self._forge.hear(lambda: set(self.pids.values()) <= self._forge.exits.keys(), 10)
        self._tail.close()
        for gate in self._gates.values():
            os.close(gate)

    # What they left -----------------------------------------------------------------------------------------

    def out(self, name: str) -> str:
        return self._text(f"{name}.out")

    def err(self, name: str) -> str:
        return self._text(f"{name}.err")

    def _text(self, file: str) -> str:
        path = self.folder / file
        return path.read_text() if path.exists() else ""

    def kept(self, name: str) -> dict[str, Any]:
        """What the script kept for the test."""
        path = self.folder / f"{name}.pt"
        assert path.exists(), self.told(f"{name} kept nothing")
        found: dict[str, Any] = torch.load(path, weights_only=False)
        return found

    def told(self, what: str) -> str:
        """``what``, with all that was printed."""
        codes = {name: self._forge.exits.get(pid) for name, pid in self.pids.items()}
        texts = [f"--- {name}\n{self.out(name)}{self.err(name)}" for name in self.pids]
        last = [str(line)[:300] for line in self.lines()[-12:]] if (self.folder / "record").exists() else []
        return "\n".join([what, str(codes), *texts, "--- record", *last])

    # The record ---------------------------------------------------------------------------------------------

    def lines(self) -> list[Line]:
        return list(read(self.folder / "record"))

    def events(self, kind: type[Any]) -> list[Any]:
        """The record's events of a kind."""
        heard = (line.event for line in self.lines() if isinstance(line, EventLine))
        return [event for event in heard if isinstance(event, kind)]

    def commands(self, kind: type[Any]) -> list[Any]:
        """The record's commands of a kind."""
        said = (command for line in self.lines() if isinstance(line, EventLine) for command in line.commands)
        return [command for command in said if isinstance(command, kind)]

    def logs(self, source: str) -> list[LogNote]:
        notes = (line.note for line in self.lines() if isinstance(line, NoteLine))
        return [note for note in notes if isinstance(note, LogNote) and note.source == source]

    def notes(self, kind: type[Any]) -> list[Any]:
        notes = (line.note for line in self.lines() if isinstance(line, NoteLine))
        return [note for note in notes if isinstance(note, kind)]

    def end(self) -> tuple[bool, str]:
        last = self.lines()[-1]
        assert isinstance(last, EndLine), self.told("the record has no end")
        return last.end.ok, last.end.reason

    def proved(self) -> Accounting:
        """The record proves that each position counted once, and replays; returns the accounts."""
        accounting = check(self.folder / "record")
        assert accounting.counted_once, self.told(str(accounting))
        assert replay(self.folder / "record") is None
        return accounting

    def applied_by(self) -> dict[int, int]:
        """Samples applied, by worker."""
        found: dict[int, int] = {}
        for add in self.commands(c.Accumulate):
            found[add.worker] = found.get(add.worker, 0) + add.samples
        return found


def says(kind: type[Any], worker: int) -> Callable[[Line], bool]:
    """Whether a line has an event of this kind about this worker."""
    return lambda line: isinstance(line, EventLine) and isinstance(line.event, kind) and line.event.worker == worker


def commands(kind: type[Any]) -> Callable[[Line], bool]:
    """Whether a line has a command of this kind."""
    return lambda line: isinstance(line, EventLine) and any(isinstance(one, kind) for one in line.commands)


Launch = Callable[..., Run]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def forge() -> Iterator[Forge]:
    made = Forge()
    yield made
    made.close()


@pytest.fixture
def launch(forge: Forge, tmp_path: Path) -> Iterator[Launch]:
    """Makes runs: ``launch(body, policy="balanced", bound=0)`` starts everybody, ``start=False`` nobody."""
    runs: list[Run] = []

    def make(
        body: str,
        *arguments: str,
        workers: int = 2,
        policy: str = "balanced",
        gates: Sequence[str] = (),
        start: bool = True,
        place: dict[str, Any] | None = None,
        **options: float,
    ) -> Run:
        folder = tmp_path / f"run{len(runs)}"
        folder.mkdir()
        common = Place(
            role="worker",
            address=f"tcp://127.0.0.1:{free_port()}",
            token="secret",
            run=folder.name,
            workers=workers,
            policy=PolicyChoice(policy, dict(options)),
            threads=1,
            device="cpu",
        )
        run = Run(forge, folder, body, msgspec.structs.replace(common, **(place or {})))
        runs.append(run)
        run.gate(*gates)
        if start:
            run.server(*arguments)
            for index in range(workers):
                run.worker(index, *arguments)
        return run

    yield make
    for run in runs:
        run.close()
